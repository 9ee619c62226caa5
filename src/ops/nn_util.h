// What the neural-network ops share: operand checks, window geometry, element access in double.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

#include "ops/op.h"
#include "tensor/visit.h"

namespace tenon::nn {

// Attributes and dimensions beyond this are damage; below it, products of two do not overflow.
constexpr int64_t kMaxExtent = int64_t{1} << 30;

inline int64_t at_or(const std::vector<int64_t>& values, size_t i, int64_t fallback) {
  return i < values.size() ? values[i] : fallback;
}

// The product of counts, each at least 0; the largest number where it overflows.
inline int64_t operations(std::initializer_list<int64_t> counts) {
  int64_t n = 1;
  for (const int64_t c : counts)
    if (__builtin_mul_overflow(n, c, &n)) return std::numeric_limits<int64_t>::max();
  return n;
}

// All elements of a real or boolean tensor.
inline std::vector<double> reals(const Tensor& t) {
  std::vector<double> values(static_cast<size_t>(t.elements()));
  for (int64_t i = 0; i < t.elements(); ++i) values[static_cast<size_t>(i)] = t.real_at(i);
  return values;
}

// The nearest value of T: rounds to even and saturates for integers.
template <typename T>
T from_real(double v) {
  if constexpr (std::is_integral_v<T>) {
    if (std::isnan(v)) return T{};
    v = std::nearbyint(v);
    if (v <= static_cast<double>(std::numeric_limits<T>::min()))
      return std::numeric_limits<T>::min();
    if (v >= static_cast<double>(std::numeric_limits<T>::max()))
      return std::numeric_limits<T>::max();
    return static_cast<T>(v);
  } else {
    return T(static_cast<Arithmetic<T>>(v));
  }
}

inline void store_reals(Tensor& t, const std::vector<double>& values) {
  visit_real(t.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* out = t.mutable_data<T>();
    for (size_t i = 0; i < values.size(); ++i) out[i] = from_real<T>(values[i]);
  });
}

// Whether weights of type `w` can be multiplied by `x`: they are of its type, or of 16 bits and
// stand for the f32 numbers that they are.
inline bool takes_weights(DType x, DType w) {
  return is_float(x) && (x == w || (x == DType::f32 && is_float(w) && dtype_size(w) == 2));
}

// The type of a product's result: `wanted`, or that of x where it is none. Error: one that only
// products of 16-bit numbers have is wanted of others.
inline Result<DType> product_type(DType x, DType wanted, std::string_view op) {
  if (wanted == DType::none || wanted == x) return x;
  if (wanted == DType::f32 && is_float(x) && dtype_size(x) == 2) return wanted;
  return invalid_argument(fmt::format("{}: the result of {} is of that type{}, not {}", op,
                                      dtype_name(x), dtype_size(x) == 2 ? " or f32" : "",
                                      dtype_name(wanted)));
}

// Operand 0 is a float tensor.
inline Status expect_float(const InferContext& context, std::string_view op) {
  if (context.type(0).is_list || !is_float(context.dtype(0)))
    return invalid_argument(
        fmt::format("{} needs a floating-point input, not {}", op, context.type(0).to_string()));
  return {};
}

// The operands present among `operands` have the type of operand 0, or are f32 beside a 16-bit
// input where `wider` allows it.
inline Status expect_same_dtype(const InferContext& context, std::string_view op,
                                std::initializer_list<int> operands, bool wider = false) {
  for (const int i : operands) {
    if (!context.has(i) || context.dtype(i) == context.dtype(0)) continue;
    if (wider && context.dtype(i) == DType::f32) continue;
    return invalid_argument(fmt::format("{}: operand {} is {}, but the input is {}", op, i,
                                        context.type(i).to_string(), context.type(0).to_string()));
  }
  return {};
}

inline Status expect_rank(const InferContext& context, std::string_view op, int operand, int low,
                          int high = -1) {
  const Shape& s = context.shape(operand);
  if (high < 0) high = low;
  if (!s.ranked() || (s.rank() >= low && s.rank() <= high)) return {};
  return invalid_argument(
      fmt::format("{}: operand {} must have {}, but its shape is {}", op, operand,
                  low == high ? fmt::format("rank {}", low) : fmt::format("rank {} or more", low),
                  s.to_string()));
}
constexpr int kAnyRank = 1 << 20;

// Dimension `axis` of the operand is `expected`, as far as both are known.
inline Status expect_dim(const InferContext& context, std::string_view op, int operand, int axis,
                         Dim expected, std::string_view what) {
  if (!context.has(operand)) return {};
  const Shape& s = context.shape(operand);
  if (!s.ranked()) return {};
  if (axis >= s.rank())
    return invalid_argument(fmt::format("{}: operand {} {} lacks dimension {} ({})", op, operand,
                                        s.to_string(), axis, what));
  if (s[axis].known() && expected.known() && s[axis] != expected)
    return invalid_argument(fmt::format("{}: dimension {} of operand {} {} must be {} ({})", op,
                                        axis, operand, s.to_string(), expected.size(), what));
  return {};
}

// Operand i is a vector of `length` elements.
inline Status expect_vector(const InferContext& context, std::string_view op, int i, Dim length,
                            std::string_view what) {
  if (!context.has(i)) return {};
  TRY(expect_rank(context, op, i, 1));
  return expect_dim(context, op, i, 0, length, what);
}

// The first known of two dimensions that must agree.
inline Dim known_of(Dim a, Dim b) {
  return a.known() || !b.known() ? a : b;
}

inline Status expect_scalar(const InferContext& context, std::string_view op, int i) {
  if (!context.has(i)) return {};
  const auto n = context.shape(i).elements();
  if (context.shape(i).ranked() && (context.shape(i).rank() > 1 || (n && *n != 1)))
    return invalid_argument(fmt::format("{}: operand {} must be a scalar, but its shape is {}", op,
                                        i, context.shape(i).to_string()));
  return {};
}

// Checks the attributes of a window over `spatial` dimensions.
inline Status check_window(std::string_view op, size_t spatial, const std::vector<int64_t>& strides,
                           const std::vector<int64_t>& pads,
                           const std::vector<int64_t>& dilations) {
  for (const auto* list : {&strides, &dilations}) {
    if (!list->empty() && list->size() != spatial)
      return invalid_argument(
          fmt::format("{} needs {} strides and dilations, one per spatial dimension, not {}", op,
                      spatial, list->size()));
    for (const int64_t v : *list)
      if (v < 1 || v > kMaxExtent)
        return invalid_argument(
            fmt::format("{}: strides and dilations must be positive, not {}", op, v));
  }
  if (!pads.empty() && pads.size() != 2 * spatial)
    return invalid_argument(
        fmt::format("{} needs {} pads (begins, then ends), not {}", op, 2 * spatial, pads.size()));
  for (const int64_t v : pads)
    if (v < -kMaxExtent || v > kMaxExtent)
      return invalid_argument(fmt::format("{}: a pad of {} is out of range", op, v));
  return {};
}

// Checks that the known dimensions [begin, end) of an operand are no damage.
inline Status check_extents(const InferContext& context, std::string_view op, int operand,
                            int begin, int end) {
  const Shape& shape = context.shape(operand);
  for (int a = begin; shape.ranked() && a < end; ++a)
    if (shape[a].known() && shape[a].size() > kMaxExtent)
      return invalid_argument(
          fmt::format("{}: operand {} of {} is too large", op, operand, shape.to_string()));
  return {};
}

// Row-major strides of `dims` seen as broadcast to `out` (0 where it repeats).
inline std::vector<int64_t> broadcast_strides(const std::vector<int64_t>& dims,
                                              const std::vector<int64_t>& out) {
  std::vector<int64_t> strides(out.size(), 0);
  int64_t step = 1;
  for (size_t i = 0; i < dims.size() && i < out.size(); ++i) {
    const int64_t d = dims[dims.size() - 1 - i];
    if (d != 1) strides[out.size() - 1 - i] = step;
    step *= d;
  }
  return strides;
}

// The offset of row-major element `index` of `dims` under other strides.
inline int64_t offset_of(int64_t index, const std::vector<int64_t>& dims,
                         const std::vector<int64_t>& strides) {
  int64_t offset = 0;
  for (size_t i = dims.size(); i-- > 0;) {
    offset += index % dims[i] * strides[i];
    index /= dims[i];
  }
  return offset;
}

// Operand i can be broadcast to `out` without growing it.
inline Status expect_broadcastable(const InferContext& context, std::string_view op, int i,
                                   const Shape& out) {
  if (!context.has(i)) return {};
  const Shape& s = context.shape(i);
  if (!s.ranked() || !out.ranked()) return {};
  bool fits = s.rank() <= out.rank();
  for (int k = 0; fits && k < s.rank(); ++k) {
    const Dim d = s[s.rank() - 1 - k], o = out[out.rank() - 1 - k];
    fits = !d.known() || !o.known() || d.size() == 1 || d == o;
  }
  if (fits) return {};
  return invalid_argument(fmt::format("{}: operand {} {} cannot be broadcast to {}", op, i,
                                      s.to_string(), out.to_string()));
}

}  // namespace tenon::nn
