#include "ops/gather.h"

#include <fmt/format.h>

#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// The leading dimensions two operands share, merged into `shape`.
Status merge_batch(Shape& shape, const Shape& x, const Shape& indices, int batch,
                   std::string_view op) {
  for (int i = 0; i < batch; ++i) {
    const auto d = merge_dims(x[i], indices[i]);
    if (!d)
      return invalid_argument(fmt::format("{}: batch dimensions of {} and {} differ", op,
                                          x.to_string(), indices.to_string()));
    shape.dims().push_back(*d);
  }
  return {};
}

}  // namespace

Result<TensorTypes> Gather::infer(const InferContext& context) const {
  TRY(require_tensors(context, "gather"));
  TRY(require_indices(context, 1, "gather", "indices"));
  const Shape& x = context.shape(0);
  const Shape& indices = context.shape(1);
  TensorType out{context.dtype(0), Shape::unranked()};
  if (!x.ranked() || !indices.ranked()) return TensorTypes{out};
  const int a = TRY(normalize_axes(std::span(&axis, 1), x.rank(), "gather"))[0];
  const int64_t given = batch_dims < 0 ? batch_dims + indices.rank() : batch_dims;
  if (given < 0 || given > a || given > indices.rank())
    return invalid_argument(fmt::format("gather: batch_dims {} does not fit axis {} and indices {}",
                                        batch_dims, axis, indices.to_string()));
  const int batch = static_cast<int>(given);
  out.shape = Shape();
  auto& dims = out.shape.dims();
  TRY(merge_batch(out.shape, x, indices, batch, "gather"));
  for (int i = batch; i < a; ++i) dims.push_back(x[i]);
  for (int i = batch; i < indices.rank(); ++i) dims.push_back(indices[i]);
  for (int i = a + 1; i < x.rank(); ++i) dims.push_back(x[i]);
  return TensorTypes{out};
}

std::optional<SymInts> Gather::infer_ints(const InferContext& context) const {
  const auto ints = small_ints(context, 0);
  const auto indices = small_ints(context, 1);
  if (!ints || !indices || context.shape(0).rank() != 1) return std::nullopt;
  SymInts picked;
  for (const SymInt& s : *indices) {
    picked.emplace_back();
    if (!s.value) continue;
    const auto i = wrap_index(*s.value, static_cast<int64_t>(ints->size()), "gather");
    if (!i.ok()) return std::nullopt;
    picked.back() = (*ints)[static_cast<size_t>(*i)];
  }
  return picked;
}

Status Gather::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const Tensor& indices = context.in(1);
  const int a = TRY(normalize_axis(axis, x.rank()));
  const int batch = static_cast<int>(batch_dims < 0 ? batch_dims + indices.rank() : batch_dims);
  const int64_t batches = product(x.dims(), 0, batch), outer = product(x.dims(), batch, a),
                size = x.dim(a), inner = product(x.dims(), a + 1, x.rank()),
                count = product(indices.dims(), batch, indices.rank());
  std::vector<int64_t> places(static_cast<size_t>(count));
  int64_t to = 0;
  for (int64_t b = 0; b < batches; ++b) {
    for (int64_t i = 0; i < count; ++i)
      places[static_cast<size_t>(i)] =
          TRY(wrap_index(indices.int_at(b * count + i), size, "gather"));
    for (int64_t o = 0; o < outer; ++o)
      for (const int64_t place : places) {
        copy_elements(context.out(0), to, x, ((b * outer + o) * size + place) * inner, inner);
        to += inner;
      }
  }
  return {};
}

Result<TensorTypes> GatherNd::infer(const InferContext& context) const {
  TRY(require_tensors(context, "gather_nd"));
  TRY(require_indices(context, 1, "gather_nd", "indices"));
  const Shape& x = context.shape(0);
  const Shape& indices = context.shape(1);
  TensorType out{context.dtype(0), Shape::unranked()};
  if (!x.ranked() || !indices.ranked()) return TensorTypes{out};
  if (indices.rank() < 1 || batch_dims < 0 || batch_dims >= indices.rank() || batch_dims > x.rank())
    return invalid_argument(fmt::format("gather_nd: indices {} do not fit {} with batch_dims {}",
                                        indices.to_string(), x.to_string(), batch_dims));
  const Dim depth = indices[indices.rank() - 1];
  if (!depth.known()) return TensorTypes{out};
  const int batch = static_cast<int>(batch_dims);
  if (depth.size() > x.rank() - batch)
    return invalid_argument(fmt::format("gather_nd: an index of {} entries is too deep for {}",
                                        depth.size(), x.to_string()));
  out.shape = Shape();
  TRY(merge_batch(out.shape, x, indices, batch, "gather_nd"));
  for (int i = batch; i + 1 < indices.rank(); ++i) out.shape.dims().push_back(indices[i]);
  for (int i = batch + static_cast<int>(depth.size()); i < x.rank(); ++i)
    out.shape.dims().push_back(x[i]);
  return TensorTypes{out};
}

Status GatherNd::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const Tensor& indices = context.in(1);
  const int batch = static_cast<int>(batch_dims), last = indices.rank() - 1;
  const int depth = static_cast<int>(indices.dim(last));
  const int64_t batches = product(x.dims(), 0, batch), row = product(x.dims(), batch, x.rank()),
                inner = product(x.dims(), batch + depth, x.rank()),
                count = product(indices.dims(), batch, last);
  int64_t at = 0;
  for (int64_t b = 0; b < batches; ++b)
    for (int64_t i = 0; i < count; ++i) {
      int64_t place = 0;
      for (int k = 0; k < depth; ++k) {
        const int64_t size = x.dim(batch + k);
        place = place * size + TRY(wrap_index(indices.int_at(at * depth + k), size, "gather_nd"));
      }
      copy_elements(context.out(0), at * inner, x, b * row + place * inner, inner);
      ++at;
    }
  return {};
}

Result<TensorTypes> GatherElements::infer(const InferContext& context) const {
  TRY(require_tensors(context, "gather_elements"));
  TRY(require_indices(context, 1, "gather_elements", "indices"));
  const Shape& x = context.shape(0);
  const Shape& indices = context.shape(1);
  TensorType out{context.dtype(0), indices};
  if (!x.ranked() || !indices.ranked()) return TensorTypes{out};
  bool fits = x.rank() == indices.rank();
  const int a = TRY(normalize_axes(std::span(&axis, 1), x.rank(), "gather_elements"))[0];
  for (int i = 0; i < x.rank() && fits; ++i)
    fits = i == a || !x[i].known() || !indices[i].known() || indices[i].size() <= x[i].size();
  if (!fits)
    return invalid_argument(fmt::format("gather_elements: indices {} do not fit {}",
                                        indices.to_string(), x.to_string()));
  return TensorTypes{out};
}

Status GatherElements::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const Tensor& indices = context.in(1);
  const int a = TRY(normalize_axis(axis, x.rank()));
  const auto strides = row_major_strides(x.dims());
  for (int64_t i = 0; i < indices.elements(); ++i) {
    int64_t rest = i, place = 0;
    for (int d = x.rank() - 1; d >= 0; --d) {
      int64_t at = rest % indices.dim(d);
      rest /= indices.dim(d);
      if (d == a) at = TRY(wrap_index(indices.int_at(i), x.dim(d), "gather_elements"));
      place += at * strides[static_cast<size_t>(d)];
    }
    copy_elements(context.out(0), i, x, place, 1);
  }
  return {};
}

constinit const OpDef Gather::def = define<Gather>();
constinit const OpDef GatherNd::def = define<GatherNd>();
constinit const OpDef GatherElements::def = define<GatherElements>();
OpDefs gather_ops() {
  return {&Gather::def, &GatherNd::def, &GatherElements::def};
}

}  // namespace tenon
