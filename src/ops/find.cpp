#include "ops/find.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string_view>
#include <unordered_map>

#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {
namespace {

bool is_zero(const Tensor& x, int64_t i) {
  if (x.dtype() == DType::string) return x.data<std::string>()[i].empty();
  if (x.dtype() == DType::c64) return x.data<std::complex<float>>()[i] == 0.0f;
  if (x.dtype() == DType::c128) return x.data<std::complex<double>>()[i] == 0.0;
  return is_float(x.dtype()) ? x.real_at(i) == 0.0 : x.int_at(i) == 0;
}

// The places of the elements that are not 0, ascending. Eight bytes of zeros are passed at once.
std::vector<int64_t> non_zero_places(const Tensor& x) {
  std::vector<int64_t> places;
  const int64_t n = x.elements();
  const auto step = x.dtype() == DType::string
                        ? int64_t{1}
                        : std::max<int64_t>(1, 8 / static_cast<int64_t>(dtype_size(x.dtype())));
  const auto* bytes = static_cast<const char*>(x.raw());
  const auto all_bits_zero = [&](int64_t i) {
    uint64_t bits;
    std::memcpy(&bits, bytes + i * (8 / step), 8);
    return bits == 0;
  };
  for (int64_t i = 0; i < n;) {
    if (step > 1 && i + step <= n && all_bits_zero(i)) {
      i += step;
      continue;
    }
    for (const int64_t end = std::min(n, i + step); i < end; ++i)
      if (!is_zero(x, i)) places.push_back(i);
  }
  return places;
}

// The element's bytes, or its text: equal elements have equal keys.
std::string_view key_of(const Tensor& x, int64_t i) {
  if (x.dtype() == DType::string) return x.data<std::string>()[i];
  const size_t size = dtype_size(x.dtype());
  return {static_cast<const char*>(x.raw()) + static_cast<size_t>(i) * size, size};
}

int compare(const Tensor& x, int64_t a, int64_t b) {
  if (x.dtype() == DType::string) return x.data<std::string>()[a].compare(x.data<std::string>()[b]);
  if (is_float(x.dtype())) {
    const double p = x.real_at(a), q = x.real_at(b);
    // NaN after all numbers, so that this is an order.
    if (std::isnan(p) || std::isnan(q)) return std::isnan(p) - std::isnan(q);
    return (p > q) - (p < q);
  }
  if (x.dtype() == DType::u64) {
    const uint64_t p = x.data<uint64_t>()[a], q = x.data<uint64_t>()[b];
    return (p > q) - (p < q);
  }
  const int64_t p = x.int_at(a), q = x.int_at(b);
  return (p > q) - (p < q);
}

}  // namespace

Result<TensorTypes> NonZero::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  const Shape& x = context.shape(0);
  return TensorTypes{
      {DType::i64, Shape{x.ranked() ? Dim(x.rank()) : Dim::unknown(), Dim::unknown()}}};
}

Status NonZero::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  std::vector<int64_t> places = non_zero_places(x);
  const auto n = static_cast<int64_t>(places.size());
  const int64_t dims[] = {x.rank(), n};
  TRY(context.allocate(0, DType::i64, dims));
  int64_t* const y = context.out(0).mutable_data<int64_t>();
  // The last dimension first, whose size leaves the place among the rows. The order of the places
  // makes most rows the row before.
  for (int d = x.rank() - 1; d >= 0; --d) {
    int64_t row = 0;
    for (int64_t i = 0; i < n; ++i) {
      int64_t& place = places[static_cast<size_t>(i)];
      if (place - row * x.dim(d) >= x.dim(d)) row = place / x.dim(d);
      y[d * n + i] = place - row * x.dim(d);
      place = row;
    }
  }
  return {};
}

Result<TensorTypes> Unique::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (axis.size() > 1) return invalid_argument("unique takes one axis or none");
  const TensorType& x = context.type(0);
  if (sorted && is_complex(x.dtype)) return invalid_argument("unique cannot sort complex numbers");
  TensorType y{x.dtype, Shape::unknown_dims(1)};
  const TensorType found{DType::i64, Shape::unknown_dims(1)};
  TensorType inverse{DType::i64, Shape{product_of(x.shape)}};
  if (!axis.empty()) {
    y.shape = x.shape;
    inverse.shape = Shape::unknown_dims(1);
    if (x.shape.ranked()) {
      const int a = TRY(normalize_axes(axis, x.shape.rank(), name))[0];
      inverse.shape = Shape{x.shape[a]};
      y.shape[a] = Dim::unknown();
    }
  }
  return TensorTypes{y, found, inverse, found};
}

Status Unique::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const int a = axis.empty() ? 0 : TRY(normalize_axis(axis[0], x.rank()));
  const int64_t outer = axis.empty() ? 1 : product(x.dims(), 0, a);
  const int64_t n = axis.empty() ? x.elements() : x.dim(a);
  const int64_t inner = axis.empty() ? 1 : product(x.dims(), a + 1, x.rank());
  const int64_t run = outer * inner;
  // Element k of slice i.
  const auto place = [&](int64_t i, int64_t k) { return (k / inner * n + i) * inner + k % inner; };
  // Keys of one element are where it is, longer ones in `joined`.
  std::vector<std::string> joined(run == 1 ? 0 : static_cast<size_t>(n));
  std::unordered_map<std::string_view, int64_t> seen;
  std::vector<int64_t> first, inverse, counts;
  inverse.reserve(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < run && run != 1; ++k) {
      std::string& key = joined[static_cast<size_t>(i)];
      const std::string_view part = key_of(x, place(i, k));
      if (x.dtype() == DType::string) key += std::to_string(part.size()) + ':';
      key += part;
    }
    const std::string_view key =
        run == 1 ? key_of(x, place(i, 0)) : std::string_view(joined[static_cast<size_t>(i)]);
    const auto [it, fresh] = seen.try_emplace(key, static_cast<int64_t>(first.size()));
    if (fresh) first.push_back(i), counts.push_back(0);
    inverse.push_back(it->second);
    ++counts[static_cast<size_t>(it->second)];
  }
  std::vector<int64_t> order(first.size());
  std::iota(order.begin(), order.end(), 0);
  if (sorted)
    std::stable_sort(order.begin(), order.end(), [&](int64_t p, int64_t q) {
      for (int64_t k = 0; k < run; ++k) {
        const int c = compare(x, place(first[static_cast<size_t>(p)], k),
                              place(first[static_cast<size_t>(q)], k));
        if (c != 0) return c < 0;
      }
      return false;
    });
  std::vector<int64_t> rank(order.size()), sorted_first, sorted_counts;
  for (size_t i = 0; i < order.size(); ++i) {
    const auto from = static_cast<size_t>(order[i]);
    rank[from] = static_cast<int64_t>(i);
    sorted_first.push_back(first[from]);
    sorted_counts.push_back(counts[from]);
  }
  for (int64_t& i : inverse) i = rank[static_cast<size_t>(i)];
  const auto found = static_cast<int64_t>(order.size());
  std::vector<int64_t> dims{found};
  if (!axis.empty()) dims = x.dims(), dims[static_cast<size_t>(a)] = found;
  TRY(context.allocate(0, x.dtype(), dims));
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < found; ++i)
      copy_elements(context.out(0), (o * found + i) * inner, x,
                    (o * n + sorted_first[static_cast<size_t>(i)]) * inner, inner);
  const std::vector<int64_t>* extras[] = {&sorted_first, &inverse, &sorted_counts};
  for (int i = 0; i < 3 && i + 1 < context.outputs(); ++i) {
    const Tensor values = Tensor::vector(*extras[i]);
    Tensor& out = context.out(i + 1);
    if (out.defined() && out.dims() == values.dims())
      copy_elements(out, 0, values, 0, values.elements());
    else
      out = values;
  }
  return {};
}

Result<TensorTypes> Bucketize::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (!is_float(context.dtype(0)) && !is_int(context.dtype(0)))
    return invalid_argument("bucketize needs numbers, not " + context.type(0).to_string());
  if (!std::is_sorted(boundaries.begin(), boundaries.end()))
    return invalid_argument("bucketize: the boundaries must ascend");
  return TensorTypes{{DType::i32, context.shape(0)}};
}

Status Bucketize::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  int32_t* y = context.out(0).mutable_data<int32_t>();
  for (int64_t i = 0; i < x.elements(); ++i)
    y[i] = static_cast<int32_t>(
        std::upper_bound(boundaries.begin(), boundaries.end(), x.real_at(i)) - boundaries.begin());
  return {};
}

Result<TensorTypes> InvertPermutation::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(require_indices(context, 0, name, "a permutation", 1));
  return TensorTypes{context.type(0)};
}

Status InvertPermutation::eval(EvalContext& context) const {
  const auto x = context.in(0).to_ints();
  const auto n = static_cast<int64_t>(x.size());
  std::vector<int64_t> inverse(x.size(), -1);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t to = x[static_cast<size_t>(i)];
    if (to < 0 || to >= n || inverse[static_cast<size_t>(to)] >= 0)
      return invalid_argument(
          fmt::format("invert_permutation: [{}] is no permutation", fmt::join(x, ",")));
    inverse[static_cast<size_t>(to)] = i;
  }
  Tensor& y = context.out(0);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t v = inverse[static_cast<size_t>(i)];
    if (y.dtype() == DType::i32)
      y.mutable_data<int32_t>()[i] = static_cast<int32_t>(v);
    else
      y.mutable_data<int64_t>()[i] = v;
  }
  return {};
}

Result<TensorTypes> TableFind::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.dtype(0) != context.dtype(1) || context.dtype(2) != context.dtype(3))
    return invalid_argument(
        fmt::format("table_find: query {} and keys {}, values {} and default {} must agree in type",
                    context.type(0).to_string(), context.type(1).to_string(),
                    context.type(2).to_string(), context.type(3).to_string()));
  const auto keys = context.shape(1).elements(), values = context.shape(2).elements(),
             otherwise = context.shape(3).elements();
  if ((keys && values && *keys != *values) || (otherwise && *otherwise != 1))
    return invalid_argument("table_find needs a value for each key and one default");
  return TensorTypes{{context.dtype(2), context.shape(0)}};
}

Status TableFind::eval(EvalContext& context) const {
  const Tensor& query = context.in(0);
  const Tensor& keys = context.in(1);
  std::unordered_map<std::string_view, int64_t> table;
  for (int64_t i = 0; i < keys.elements(); ++i) table.emplace(key_of(keys, i), i);
  for (int64_t i = 0; i < query.elements(); ++i) {
    const auto it = table.find(key_of(query, i));
    const bool found = it != table.end();
    copy_elements(context.out(0), i, context.in(found ? 2 : 3), found ? it->second : 0, 1);
  }
  return {};
}

constinit const OpDef NonZero::def = define<NonZero>();
constinit const OpDef Unique::def = define<Unique>();
constinit const OpDef Bucketize::def = define<Bucketize>();
constinit const OpDef InvertPermutation::def = define<InvertPermutation>();
constinit const OpDef TableFind::def = define<TableFind>();
OpDefs find_ops() {
  return {&NonZero::def, &Unique::def, &Bucketize::def, &InvertPermutation::def, &TableFind::def};
}

}  // namespace tenon
