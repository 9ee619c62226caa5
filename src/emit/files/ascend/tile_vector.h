// The vector unit's functions for rows that do not begin at a block of 32 bytes or whose elements
// are apart.
// @STATUS@
#pragma once

#include "tile_numbers.h"

namespace tile {

// ---- The vector unit, where it can; else the scalar unit, which waits for it --------------------

#define TENON_UNARY(Name, expression)                                                        \
  template <typename D, typename A>                                                          \
  __aicore__ inline void Name(const D& d, const A& a, int32_t n) {                           \
    using T = decltype(ElementOf(d));                                                        \
    PipeBarrier<PIPE_ALL>();                                                                 \
    for (int32_t i = 0; i < n; ++i) {                                                        \
      const auto x = static_cast<typename Number<T>::Wide>(At(a, i));                        \
      Put(d, i, Narrow<T>(expression));                                                      \
    }                                                                                        \
    PipeBarrier<PIPE_ALL>();                                                                 \
  }                                                                                          \
  template <typename T>                                                                      \
  __aicore__ inline void Name(const LocalTensor<T>& d, const LocalTensor<T>& a, int32_t n) { \
    if (IsAligned(d) && IsAligned(a)) {                                                      \
      AscendC::Name(d, a, n);                                                                \
    } else {                                                                                 \
      Name<LocalTensor<T>, LocalTensor<T>>(d, a, n);                                         \
    }                                                                                        \
  }
TENON_UNARY(Exp, ScalarExp(x))
TENON_UNARY(Ln, ScalarLog(x))
TENON_UNARY(Sqrt, ScalarSqrt(x))
TENON_UNARY(Rsqrt, 1 / ScalarSqrt(x))
TENON_UNARY(Reciprocal, 1 / x)
TENON_UNARY(Abs, x < 0 ? -x : x)
TENON_UNARY(Relu, x > 0 || x != x ? x : 0)

// With one element of `b` for all: the vendor's form with a scalar, where there is one.
#define TENON_BINARY(Name, expression, with_scalar)                                         \
  template <typename D, typename A, typename B>                                             \
  __aicore__ inline void Name(const D& d, const A& a, const B& b, int32_t n) {              \
    using T = decltype(ElementOf(d));                                                       \
    PipeBarrier<PIPE_ALL>();                                                                \
    for (int32_t i = 0; i < n; ++i) {                                                       \
      const auto x = static_cast<typename Number<T>::Wide>(At(a, i));                       \
      const auto y = static_cast<typename Number<T>::Wide>(At(b, i));                       \
      Put(d, i, Narrow<T>(expression));                                                     \
    }                                                                                       \
    PipeBarrier<PIPE_ALL>();                                                                \
  }                                                                                         \
  template <typename T>                                                                     \
  __aicore__ inline void Name(const LocalTensor<T>& d, const LocalTensor<T>& a,             \
                              const LocalTensor<T>& b, int32_t n) {                         \
    if (Number<T>::kReal && IsAligned(d) && IsAligned(a) && IsAligned(b)) {                 \
      AscendC::Name(d, a, b, n);                                                            \
    } else {                                                                                \
      Name<LocalTensor<T>, LocalTensor<T>, LocalTensor<T>>(d, a, b, n);                     \
    }                                                                                       \
  }                                                                                         \
  template <typename T>                                                                     \
  __aicore__ inline void Name(const LocalTensor<T>& d, const LocalTensor<T>& a,             \
                              const Strided<T>& b, int32_t n) {                             \
    if (with_scalar && Number<T>::kReal && b.stride == 0 && IsAligned(d) && IsAligned(a)) { \
      WaitFor<HardEvent::V_S>();                                                            \
      const T y = At(b, 0);                                                                 \
      Name##Scalar(d, a, y, n);                                                             \
    } else {                                                                                \
      Name<LocalTensor<T>, LocalTensor<T>, Strided<T>>(d, a, b, n);                         \
    }                                                                                       \
  }
#define TENON_WITH_SCALAR(Name, call)                                                        \
  template <typename T>                                                                      \
  __aicore__ inline void Name##Scalar(const LocalTensor<T>& d, const LocalTensor<T>& a, T y, \
                                      int32_t n) {                                           \
    call;                                                                                    \
  }
TENON_WITH_SCALAR(Add, AscendC::Adds(d, a, y, n))
TENON_WITH_SCALAR(Sub, AscendC::Adds(d, a, static_cast<T>(-static_cast<float>(y)), n))
TENON_WITH_SCALAR(Mul, AscendC::Muls(d, a, y, n))
TENON_WITH_SCALAR(Max, AscendC::Maxs(d, a, y, n))
TENON_WITH_SCALAR(Min, AscendC::Mins(d, a, y, n))
TENON_WITH_SCALAR(Div, (void)y)
TENON_BINARY(Add, x + y, true)
TENON_BINARY(Sub, x - y, true)
TENON_BINARY(Mul, x* y, true)
TENON_BINARY(Div, Number<T>::kReal || y != 0 ? x / y : 0, false)
TENON_BINARY(Max, x > y || x != x ? x : y, true)
TENON_BINARY(Min, x < y || x != x ? x : y, true)

#define TENON_SCALAR(Name, expression)                                                    \
  template <typename D, typename A, typename T>                                           \
  __aicore__ inline void Name(const D& d, const A& a, T scalar, int32_t n) {              \
    using E = decltype(ElementOf(d));                                                     \
    const auto y = static_cast<typename Number<E>::Wide>(scalar);                         \
    PipeBarrier<PIPE_ALL>();                                                              \
    for (int32_t i = 0; i < n; ++i) {                                                     \
      const auto x = static_cast<typename Number<E>::Wide>(At(a, i));                     \
      Put(d, i, Narrow<E>(expression));                                                   \
    }                                                                                     \
    PipeBarrier<PIPE_ALL>();                                                              \
  }                                                                                       \
  template <typename T>                                                                   \
  __aicore__ inline void Name(const LocalTensor<T>& d, const LocalTensor<T>& a, T scalar, \
                              int32_t n) {                                                \
    if (Number<T>::kReal && IsAligned(d) && IsAligned(a)) {                               \
      AscendC::Name(d, a, scalar, n);                                                     \
    } else {                                                                              \
      Name<LocalTensor<T>, LocalTensor<T>, T>(d, a, scalar, n);                           \
    }                                                                                     \
  }
TENON_SCALAR(Adds, x + y)
TENON_SCALAR(Muls, x* y)
TENON_SCALAR(Maxs, x > y || x != x ? x : y)
TENON_SCALAR(Mins, x < y || x != x ? x : y)

template <typename D, typename T>
__aicore__ inline void Duplicate(const D& d, T value, int32_t n) {
  using E = decltype(ElementOf(d));
  PipeBarrier<PIPE_ALL>();
  for (int32_t i = 0; i < n; ++i) Put(d, i, static_cast<E>(value));
  PipeBarrier<PIPE_ALL>();
}
template <typename D, typename A>
__aicore__ inline void Copy(const D& d, const A& a, int32_t n) {
  PipeBarrier<PIPE_ALL>();
  for (int32_t i = 0; i < n; ++i) Put(d, i, At(a, i));
  PipeBarrier<PIPE_ALL>();
}
template <typename D, typename A>
__aicore__ inline void Cast(const D& d, const A& a, RoundMode mode, int32_t n) {
  using T = decltype(ElementOf(d));
  PipeBarrier<PIPE_ALL>();
  for (int32_t i = 0; i < n; ++i) Put(d, i, Converted<T>(At(a, i), mode));
  PipeBarrier<PIPE_ALL>();
}
template <typename D, typename A>
__aicore__ inline void ToBool(const D& d, const A& a, int32_t n) {
  using T = decltype(ElementOf(a));
  PipeBarrier<PIPE_ALL>();
  for (int32_t i = 0; i < n; ++i)
    Put(d, i, static_cast<uint8_t>(static_cast<typename Number<T>::Wide>(At(a, i)) != 0 ? 1 : 0));
  PipeBarrier<PIPE_ALL>();
}

// 1 where the relation holds. The vendor's Compare gives bits, this gives bytes, as the graph has.
template <CMPMODE kMode, typename D, typename A, typename B>
__aicore__ inline void Compare(const D& d, const A& a, const B& b, int32_t n) {
  using T = decltype(ElementOf(a));
  PipeBarrier<PIPE_ALL>();
  for (int32_t i = 0; i < n; ++i) {
    const auto x = static_cast<typename Number<T>::Wide>(At(a, i));
    const auto y = static_cast<typename Number<T>::Wide>(At(b, i));
    const bool holds = kMode == CMPMODE::LT   ? x < y
                       : kMode == CMPMODE::LE ? x <= y
                       : kMode == CMPMODE::EQ ? x == y
                       : kMode == CMPMODE::NE ? x != y
                       : kMode == CMPMODE::GE ? x >= y
                                              : x > y;
    Put(d, i, static_cast<uint8_t>(holds ? 1 : 0));
  }
  PipeBarrier<PIPE_ALL>();
}
template <typename D, typename C, typename A, typename B>
__aicore__ inline void Select(const D& d, const C& condition, const A& a, const B& b, int32_t n) {
  PipeBarrier<PIPE_ALL>();
  for (int32_t i = 0; i < n; ++i) Put(d, i, At(condition, i) != 0 ? At(a, i) : At(b, i));
  PipeBarrier<PIPE_ALL>();
}

template <typename A, typename B>
struct IsSame {
  static constexpr bool kValue = false;
};
template <typename A>
struct IsSame<A, A> {
  static constexpr bool kValue = true;
};

// One result for each of `rows` rows of n elements; rows and results so many elements apart.
#define TENON_REDUCE(Name, start, expression, ...)                                                \
  template <typename D, typename S>                                                               \
  __aicore__ inline void Name(const LocalTensor<D>& d, int32_t dStride, const LocalTensor<S>& a,  \
                              int32_t aStride, int32_t step, int32_t rows, int32_t n) {           \
    if constexpr (IsSame<D, float>::kValue && IsSame<S, float>::kValue) {                         \
      constexpr int32_t kRepeats = 255;                                                           \
      const bool whole = step == 1 && n <= 64 && IsAligned(a) &&                                  \
                         (rows == 1 || (dStride == 1 && aStride % kRow<S> == 0));                 \
      for (int32_t r = 0; whole && r < rows; r += kRepeats)                                       \
        Whole##Name(d[r], a[r * aStride], n, Min(kRepeats, rows - r), 1, 1,                       \
                    aStride / kRow<S> __VA_ARGS__);                                               \
      if (whole) return;                                                                          \
    }                                                                                             \
    PipeBarrier<PIPE_ALL>();                                                                      \
    for (int32_t r = 0; r < rows; ++r) {                                                          \
      auto x = static_cast<typename Number<S>::Wide>(start);                                      \
      for (int32_t i = 0; i < n; ++i) {                                                           \
        const auto y = static_cast<typename Number<S>::Wide>(a.GetValue(r * aStride + i * step)); \
        x = expression;                                                                           \
      }                                                                                           \
      d.SetValue(r* dStride, Narrow<D>(x));                                                       \
    }                                                                                             \
    PipeBarrier<PIPE_ALL>();                                                                      \
  }
TENON_REDUCE(ReduceSum, 0, x + y, )
TENON_REDUCE(ReduceMax, a.GetValue(r* aStride), x > y || x != x ? x : y, ,
             ReduceOrder::ORDER_ONLY_VALUE)
TENON_REDUCE(ReduceMin, a.GetValue(r* aStride), x < y || x != x ? x : y, ,
             ReduceOrder::ORDER_ONLY_VALUE)

}  // namespace tile
