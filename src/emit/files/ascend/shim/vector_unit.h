// Of the host shim of Ascend C: what the vector unit computes.
#pragma once

#include "tensors.h"

namespace AscendC {

// ---- The vector unit: n elements, one beside the other
// --------------------------------------------

namespace detail {

using shim::is_real;
using shim::narrow;
template <typename T>
using Wide = typename std::conditional<is_real<T>, float, int64_t>::type;

template <typename T>
void aligned(const LocalTensor<T>& t) {
  if (reinterpret_cast<uintptr_t>(t.GetPhyAddr()) % 32 != 0)
    shim::fail("an operand of the vector unit is not at a block of 32 bytes");
}

template <typename T, typename F>
void unary(const LocalTensor<T>& d, const LocalTensor<T>& a, int64_t n, F f) {
  aligned(d), aligned(a);
  T* to = d.at(0, n);
  const T* x = a.at(0, n);
  for (int64_t i = 0; i < n; ++i) to[i] = narrow<T>(f(static_cast<Wide<T>>(x[i])));
}
template <typename T, typename F>
void binary(const LocalTensor<T>& d, const LocalTensor<T>& a, const LocalTensor<T>& b, int64_t n,
            F f) {
  aligned(d), aligned(a), aligned(b);
  T* to = d.at(0, n);
  const T *x = a.at(0, n), *y = b.at(0, n);
  for (int64_t i = 0; i < n; ++i)
    to[i] = narrow<T>(f(static_cast<Wide<T>>(x[i]), static_cast<Wide<T>>(y[i])));
}
template <typename S, typename F>
void reduce(const LocalTensor<S>& d, const LocalTensor<S>& a, int64_t mask, int64_t repeats,
            int64_t to_stride, int64_t from_stride, F f) {
  aligned(a);
  for (int64_t r = 0; r < repeats; ++r) {
    const S* x = a.at(r * from_stride * (32 / static_cast<int64_t>(sizeof(S))), mask);
    float lanes[8];
    float result = static_cast<float>(x[0]);
    if (mask >= 8) {  // lanes first, as the vector unit does
      for (int64_t l = 0; l < 8; ++l) lanes[l] = static_cast<float>(x[l]);
      for (int64_t i = 8; i < mask; ++i) lanes[i % 8] = f(lanes[i % 8], static_cast<float>(x[i]));
      for (int64_t half_lanes = 4; half_lanes > 0; half_lanes /= 2)
        for (int64_t l = 0; l < half_lanes; ++l) lanes[l] = f(lanes[l], lanes[l + half_lanes]);
      result = lanes[0];
    } else {
      for (int64_t i = 1; i < mask; ++i) result = f(result, static_cast<float>(x[i]));
    }
    *d.at(r * to_stride, 1) = static_cast<S>(result);
  }
}

inline float rounded(float x, RoundMode mode) {
  switch (mode) {
    case RoundMode::CAST_FLOOR:
      return std::floor(x);
    case RoundMode::CAST_CEIL:
      return std::ceil(x);
    case RoundMode::CAST_TRUNC:
      return std::trunc(x);
    case RoundMode::CAST_ROUND:
      return std::round(x);
    default:
      return std::nearbyint(x);
  }
}

}  // namespace detail

#define SHIM_UNARY(Name, expression)                                       \
  template <typename T>                                                    \
  void Name(const LocalTensor<T>& d, const LocalTensor<T>& a, int64_t n) { \
    detail::unary(d, a, n, [](auto x) { return expression; });             \
  }
SHIM_UNARY(Exp, std::exp(x))
SHIM_UNARY(Ln, std::log(x))
SHIM_UNARY(Sqrt, std::sqrt(x))
SHIM_UNARY(Rsqrt, 1 / std::sqrt(x))
SHIM_UNARY(Reciprocal, 1 / x)
SHIM_UNARY(Abs, std::abs(x))
SHIM_UNARY(Relu, x > 0 || x != x ? x : decltype(x){0})

#define SHIM_BINARY(Name, expression)                                                  \
  template <typename T>                                                                \
  void Name(const LocalTensor<T>& d, const LocalTensor<T>& a, const LocalTensor<T>& b, \
            int64_t n) {                                                               \
    detail::binary(d, a, b, n, [](auto x, auto y) { return expression; });             \
  }
#define SHIM_SCALAR(Name, expression)                                                \
  template <typename T>                                                              \
  void Name(const LocalTensor<T>& d, const LocalTensor<T>& a, T scalar, int64_t n) { \
    const auto y = static_cast<detail::Wide<T>>(scalar);                             \
    detail::unary(d, a, n, [y](auto x) { return expression; });                      \
  }
SHIM_BINARY(Add, x + y)
SHIM_BINARY(Sub, x - y)
SHIM_BINARY(Mul, x* y)
SHIM_BINARY(Div, x / y)
SHIM_BINARY(Max, x > y || x != x ? x : y)
SHIM_BINARY(Min, x < y || x != x ? x : y)
SHIM_SCALAR(Adds, x + y)
SHIM_SCALAR(Muls, x* y)
SHIM_SCALAR(Maxs, x > y || x != x ? x : y)
SHIM_SCALAR(Mins, x < y || x != x ? x : y)

template <typename T>
void Duplicate(const LocalTensor<T>& d, T value, int64_t n) {
  detail::aligned(d);
  std::fill_n(d.at(0, n), n, value);
}
template <typename D, typename S>
void Cast(const LocalTensor<D>& d, const LocalTensor<S>& a, RoundMode mode, int64_t n) {
  detail::aligned(d), detail::aligned(a);
  D* to = d.at(0, n);
  const S* from = a.at(0, n);
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (detail::is_real<S> && !detail::is_real<D>)
      to[i] = detail::narrow<D>(detail::rounded(static_cast<float>(from[i]), mode));
    else
      to[i] = detail::narrow<D>(static_cast<detail::Wide<S>>(from[i]));
  }
}
template <typename T>
void WholeReduceSum(const LocalTensor<T>& d, const LocalTensor<T>& a, int32_t mask, int32_t repeats,
                    int32_t dstStride, int32_t, int32_t srcStride) {
  detail::reduce(d, a, mask, repeats, dstStride, srcStride, [](float x, float y) { return x + y; });
}
template <typename T>
void WholeReduceMax(const LocalTensor<T>& d, const LocalTensor<T>& a, int32_t mask, int32_t repeats,
                    int32_t dstStride, int32_t, int32_t srcStride, ReduceOrder) {
  detail::reduce(d, a, mask, repeats, dstStride, srcStride,
                 [](float x, float y) { return x > y || x != x ? x : y; });
}
template <typename T>
void WholeReduceMin(const LocalTensor<T>& d, const LocalTensor<T>& a, int32_t mask, int32_t repeats,
                    int32_t dstStride, int32_t, int32_t srcStride, ReduceOrder) {
  detail::reduce(d, a, mask, repeats, dstStride, srcStride,
                 [](float x, float y) { return x < y || x != x ? x : y; });
}

}  // namespace AscendC
