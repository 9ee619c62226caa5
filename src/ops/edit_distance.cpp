#include "ops/edit_distance.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "ops/movement.h"
#include "ops/registry.h"
#include "ops/sparse_rows.h"

namespace tenon {
namespace {

bool same_element(const Tensor& a, int64_t i, const Tensor& b, int64_t j) {
  if (a.dtype() == DType::string) return a.data<std::string>()[i] == b.data<std::string>()[j];
  const auto size = static_cast<int64_t>(dtype_size(a.dtype()));
  return std::memcmp(static_cast<const char*>(a.raw()) + i * size,
                     static_cast<const char*>(b.raw()) + j * size, static_cast<size_t>(size)) == 0;
}

// Wagner and Fischer's table, a row at a time.
int64_t distance(const Tensor& a, const std::vector<int64_t>& x, const Tensor& b,
                 const std::vector<int64_t>& y) {
  std::vector<int64_t> row(y.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < x.size(); ++i) {
    int64_t corner = row[0]++;
    for (size_t j = 0; j < y.size(); ++j) {
      const int64_t exchanged = corner + (same_element(a, x[i], b, y[j]) ? 0 : 1);
      corner = row[j + 1];
      row[j + 1] = std::min(exchanged, std::min(row[j], corner) + 1);
    }
  }
  return row.back();
}

}  // namespace

Result<TensorTypes> EditDistance::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(expect_sparse(context, name, 0));
  TRY(expect_sparse(context, name, 3));
  if (context.dtype(1) != context.dtype(4))
    return invalid_argument("edit_distance: both tensors must hold values of one type");
  const Shape& size = context.shape(2);
  if (!size.ranked() || !size[0].known() || size[0].size() < 1)
    return TensorTypes{{DType::f32, Shape::unranked()}};
  if (size[0].size() > 64) return invalid_argument("edit_distance: too many dimensions");
  return TensorTypes{{DType::f32, Shape::unknown_dims(static_cast<int>(size[0].size()) - 1)}};
}

Status EditDistance::eval(EvalContext& context) const {
  std::vector<int64_t> dims = TRY(sparse_size(context, name, 0));
  const auto other = TRY(sparse_size(context, name, 3));
  if (dims.size() != other.size())
    return invalid_argument("edit_distance: both tensors must have the same rank");
  for (size_t i = 0; i < dims.size(); ++i) dims[i] = std::max(dims[i], other[i]);
  dims.pop_back();
  TRY(checked_elements(dims, sizeof(float)));
  auto hypothesis = TRY(sparse_rows(context, name, 0, dims));
  auto truth = TRY(sparse_rows(context, name, 3, dims));
  context.out(0) = TRY(Tensor::zeros(DType::f32, dims));
  auto* out = context.out(0).mutable_data<float>();
  const std::vector<int64_t> none;
  const auto set = [&](int64_t row, const std::vector<int64_t>& x, const std::vector<int64_t>& y) {
    const auto d = static_cast<float>(distance(context.in(1), x, context.in(4), y));
    out[row] = !normalize || d == 0 ? d
               : y.empty()          ? std::numeric_limits<float>::infinity()
                                    : d / static_cast<float>(y.size());
  };
  for (const auto& [row, x] : hypothesis.rows) {
    const auto it = truth.rows.find(row);
    set(row, x, it == truth.rows.end() ? none : it->second);
  }
  for (const auto& [row, y] : truth.rows)
    if (!hypothesis.rows.contains(row)) set(row, none, y);
  return {};
}

constinit const OpDef EditDistance::def = define<EditDistance>();
OpDefs edit_distance_ops() {
  return {&EditDistance::def};
}

}  // namespace tenon
