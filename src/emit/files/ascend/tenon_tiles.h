// What the kernels of this folder call beside the vendor's own functions: the same functions for
// rows that do not begin at a block of 32 bytes, and moves of rows and fractals in elements. All of
// it is made of Ascend C's basic API; where that has nothing, the scalar unit does it, slowly.
// @STATUS@
#pragma once

#include "kernel_operator.h"
#include "tenon_target.h"

// TENON_LAUNCH(kernel, blocks, stream)(arguments…);
#ifdef TENON_HOST_SHIM
#define TENON_LAUNCH(kernel, blocks, stream) shim::Launcher(blocks, kernel)
#else
#define TENON_LAUNCH(kernel, blocks, stream) kernel<<<blocks, nullptr, stream>>>
#endif

namespace tile {

using namespace AscendC;

constexpr int32_t kBlock = 32;  // bytes
constexpr float kInfinity = __builtin_inff();
constexpr float kNan = __builtin_nanf("");

template <typename T>
constexpr int32_t kRow = kBlock / static_cast<int32_t>(sizeof(T));  // elements in a block: C0

template <typename T>
__aicore__ inline T Min(T a, T b) {
  return a < b ? a : b;
}
template <typename T>
__aicore__ inline T Max(T a, T b) {
  return a > b ? a : b;
}
template <typename A, typename B>
__aicore__ inline int64_t Min(A a, B b) {
  return Min<int64_t>(a, b);
}
template <typename A, typename B>
__aicore__ inline int64_t Max(A a, B b) {
  return Max<int64_t>(a, b);
}
__aicore__ inline int64_t Quotient(int64_t a, int64_t b) {
  return b <= 0 ? 0 : a / b;
}
__aicore__ inline int64_t Remainder(int64_t a, int64_t b) {
  return b <= 0 ? 0 : a % b;
}
__aicore__ inline int64_t Blocks(int64_t bytes) {
  return (bytes + kBlock - 1) / kBlock;
}

// Nothing more is issued until the queue in the event's name has done what it was given.
template <HardEvent kEvent>
__aicore__ inline void WaitFor() {
  SetFlag<kEvent>(EVENT_ID0);
  WaitFlag<kEvent>(EVENT_ID0);
}

// ---- Elements that are not one beside the other ------------------------------------------------

template <typename T>
struct Strided {
  LocalTensor<T> tensor;
  int32_t stride;
};
// Every stride-th element; the same one again and again.
template <typename T>
__aicore__ inline Strided<T> Every(const LocalTensor<T>& t, int32_t stride) {
  return {t, stride};
}
template <typename T>
__aicore__ inline Strided<T> Same(const LocalTensor<T>& t) {
  return {t, 0};
}

template <typename T>
__aicore__ inline T At(const LocalTensor<T>& t, int32_t i) {
  return t.GetValue(i);
}
template <typename T>
__aicore__ inline T At(const Strided<T>& t, int32_t i) {
  return t.tensor.GetValue(i * t.stride);
}
template <typename T>
__aicore__ inline void Put(const LocalTensor<T>& t, int32_t i, T value) {
  t.SetValue(i, value);
}
template <typename T>
__aicore__ inline void Put(const Strided<T>& t, int32_t i, T value) {
  t.tensor.SetValue(i * t.stride, value);
}
template <typename T>
__aicore__ inline bool IsAligned(const LocalTensor<T>& t) {
  return reinterpret_cast<uint64_t>(t.GetPhyAddr()) % kBlock == 0;
}
template <typename T>
__aicore__ inline bool IsAligned(const Strided<T>&) {
  return false;
}
template <typename T>
T ElementOf(const LocalTensor<T>&);
template <typename T>
T ElementOf(const Strided<T>&);

// ---- One element: reals in float, integers exactly and saturated --------------------------------

template <typename T>
struct Number {
  static constexpr bool kReal = false;
  using Wide = int64_t;
};
template <>
struct Number<float> {
  static constexpr bool kReal = true;
  using Wide = float;
};
template <>
struct Number<half> : Number<float> {};
template <>
struct Number<bfloat16_t> : Number<float> {};

template <typename T>
__aicore__ inline T Saturated(int64_t x) {
  if constexpr (sizeof(T) == 8) return static_cast<T>(x);
  const bool is_signed = static_cast<T>(-1) < static_cast<T>(0);
  const int64_t most = (int64_t{1} << (sizeof(T) % 8 * 8 - (is_signed ? 1 : 0))) - 1;
  const int64_t least = is_signed ? -most - 1 : 0;
  return static_cast<T>(Min<int64_t>(Max<int64_t>(x, least), most));
}
template <typename T, typename W>
__aicore__ inline T Narrow(W x) {
  if constexpr (Number<T>::kReal) {
    return static_cast<T>(static_cast<float>(x));
  } else {
    return Saturated<T>(static_cast<int64_t>(x));
  }
}

// The nearest integer; halves to the even one.
__aicore__ inline float Nearest(float x) {
  if (x != x || Max(x, -x) >= 8388608.0f) return x;
  const int32_t down = static_cast<int32_t>(x) - (x < static_cast<int32_t>(x) ? 1 : 0);
  const float rest = x - static_cast<float>(down);
  const bool up = rest > 0.5f || (rest == 0.5f && down % 2 != 0);
  return static_cast<float>(down + (up ? 1 : 0));
}
__aicore__ inline float Rounded(float x, RoundMode mode) {
  if (x != x) return 0;
  if (Max(x, -x) >= 8388608.0f) return x;
  const float cut = static_cast<float>(static_cast<int32_t>(x));
  switch (mode) {
    case RoundMode::CAST_FLOOR:
      return x < cut ? cut - 1 : cut;
    case RoundMode::CAST_CEIL:
      return x > cut ? cut + 1 : cut;
    case RoundMode::CAST_TRUNC:
      return cut;
    case RoundMode::CAST_ROUND:
      return x < 0 ? (cut - x >= 0.5f ? cut - 1 : cut) : (x - cut >= 0.5f ? cut + 1 : cut);
    default:
      return Nearest(x);
  }
}
template <typename D, typename S>
__aicore__ inline D Converted(S x, RoundMode mode) {
  if constexpr (Number<S>::kReal && !Number<D>::kReal) {
    const float r = Rounded(static_cast<float>(x), mode);
    constexpr float kMost = 9.0e18f;
    return Saturated<D>(static_cast<int64_t>(Min(Max(r, -kMost), kMost)));
  } else {
    return Narrow<D>(static_cast<typename Number<S>::Wide>(x));
  }
}

// What the scalar unit has no instruction for.
__aicore__ inline float PowerOfTwo(int32_t n) {
  union {
    int32_t bits;
    float value;
  } power;
  power.bits = (Min(Max(n, -126), 127) + 127) << 23;
  return power.value;
}
__aicore__ inline float ScalarExp(float x) {
  if (x != x) return x;
  if (x > 88.72f) return kInfinity;
  if (x < -87.3f) return 0;
  const float n = Nearest(x * 1.44269504f);
  const float r = (x - n * 0.693145751953125f) - n * 1.428606765330187e-6f;
  const float series =
      1 +
      r * (1 + r * (0.5f + r * (1.66666667e-1f +
                                r * (4.16666667e-2f + r * (8.33333333e-3f + r * 1.38888889e-3f)))));
  const int32_t half_n = static_cast<int32_t>(n) / 2;
  return series * PowerOfTwo(half_n) * PowerOfTwo(static_cast<int32_t>(n) - half_n);
}
__aicore__ inline float ScalarLog(float x) {
  if (x == 0) return -kInfinity;
  if (!(x > 0) || x == kInfinity) return x > 0 ? x : kNan;
  int32_t n = 0;
  for (; x < 0.70710678f; x *= 2) --n;
  for (; x > 1.41421356f; x *= 0.5f) ++n;
  const float t = (x - 1) / (x + 1), q = t * t;
  return n * 0.69314718f +
         2 * t * (1 + q * (0.33333333f + q * (0.2f + q * (0.14285714f + q * 0.11111111f))));
}
__aicore__ inline float ScalarSqrt(float x) {
  if (!(x > 0) || x == kInfinity) return x >= 0 ? x : kNan;
  float scale = 1, y = x;
  for (; y < 0.25f; y *= 4) scale *= 0.5f;
  for (; y > 1; y *= 0.25f) scale *= 2;
  float root = 0.5f + 0.5f * y;
  for (int32_t i = 0; i < 5; ++i) root = 0.5f * (root + y / root);
  return root * scale;
}

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

// ---- Between the global memory and UB: rows of n elements, so many elements apart ---------------

// One by one, where no instruction takes the rows.
template <typename D, typename S>
__aicore__ inline void CopyElements(const D& dst, int64_t dstStride, const S& src,
                                    int64_t srcStride, int32_t rows, int32_t n) {
  PipeBarrier<PIPE_ALL>();
  for (int32_t r = 0; r < rows; ++r)
    for (int32_t i = 0; i < n; ++i)
      dst.SetValue(r * dstStride + i, src.GetValue(r * srcStride + i));
  PipeBarrier<PIPE_ALL>();
}

template <typename T>
__aicore__ inline void Load(const LocalTensor<T>& dst, int32_t dstStride,
                            const GlobalTensor<T>& src, int64_t srcStride, int32_t rows,
                            int32_t n) {
  constexpr int32_t kMost = 4095;  // rows of one call
  constexpr int32_t kSize = sizeof(T);
  if (rows <= 0 || n <= 0) return;
  if (rows > 1 && dstStride == n && srcStride == n) {
    n *= rows;
    rows = 1;
  }
  const bool fits = rows == 1 || (dstStride % kRow<T> == 0 && dstStride >= n && srcStride >= n);
  if (TENON_HAS_DATA_COPY_PAD && fits && IsAligned(dst)) {
    for (int32_t r = 0; r < rows; r += kMost) {
      const int32_t count = Min(kMost, rows - r);
      const DataCopyExtParams params(count, n * kSize, count == 1 ? 0 : (srcStride - n) * kSize,
                                     count == 1 ? 0 : dstStride / kRow<T> - Blocks(n * kSize), 0);
      const DataCopyPadExtParams<T> padding(false, 0, 0, 0);
      DataCopyPad(dst[r * dstStride], src[r * srcStride], params, padding);
    }
    return;
  }
  if (!TENON_HAS_DATA_COPY_PAD && fits && n % kRow<T> == 0 && IsAligned(dst)) {
    for (int32_t r = 0; r < rows; ++r) DataCopy(dst[r * dstStride], src[r * srcStride], n);
    return;
  }
  CopyElements(dst, dstStride, src, srcStride, rows, n);
}

template <typename T>
__aicore__ inline void Store(const GlobalTensor<T>& dst, int64_t dstStride,
                             const LocalTensor<T>& src, int32_t srcStride, int32_t rows,
                             int32_t n) {
  constexpr int32_t kMost = 4095;
  constexpr int32_t kSize = sizeof(T);
  if (rows <= 0 || n <= 0) return;
  if (rows > 1 && dstStride == n && srcStride == n) {
    n *= rows;
    rows = 1;
  }
  const bool fits = rows == 1 || (srcStride % kRow<T> == 0 && srcStride >= n && dstStride >= n);
  if (TENON_HAS_DATA_COPY_PAD && fits && IsAligned(src)) {
    for (int32_t r = 0; r < rows; r += kMost) {
      const int32_t count = Min(kMost, rows - r);
      const DataCopyExtParams params(count, n * kSize,
                                     count == 1 ? 0 : srcStride / kRow<T> - Blocks(n * kSize),
                                     count == 1 ? 0 : (dstStride - n) * kSize, 0);
      DataCopyPad(dst[r * dstStride], src[r * srcStride], params);
    }
    return;
  }
  if (!TENON_HAS_DATA_COPY_PAD && fits && n % kRow<T> == 0 && IsAligned(src)) {
    for (int32_t r = 0; r < rows; ++r) DataCopy(dst[r * dstStride], src[r * srcStride], n);
    return;
  }
  CopyElements(dst, dstStride, src, srcStride, rows, n);
}

// The row of a table that an index in UB says; zeros where there is none.
template <typename T, typename I>
__aicore__ inline void GatherRow(const LocalTensor<T>& dst, const GlobalTensor<T>& table,
                                 int64_t stride, int64_t size, const LocalTensor<I>& index,
                                 int32_t n) {
  PipeBarrier<PIPE_ALL>();
  const int64_t row = index.GetValue(0);
  if (row >= 0 && row < size) {
    Load(dst, 0, table[row * stride], 0, 1, n);
    return;
  }
  for (int32_t i = 0; i < n; ++i) dst.SetValue(i, static_cast<T>(0));
  PipeBarrier<PIPE_ALL>();
}

// ---- L1 and the cube ----------------------------------------------------------------------------

// Rows into L1. Rows of up to C0 elements, C0 apart, are a matrix in NZ form: zeros follow them.
template <typename T>
__aicore__ inline void LoadL1(const LocalTensor<T>& dst, int32_t dstStride,
                              const GlobalTensor<T>& src, int64_t srcStride, int32_t rows,
                              int32_t n) {
  if (rows <= 0 || n <= 0) return;
  if (rows > 1 && n <= kRow<T> && dstStride == kRow<T>) {
    constexpr int32_t kMost = 16384;
    for (int32_t r = 0; r < rows; r += kMost) {
      const int32_t count = Min(kMost, rows - r);
      const Nd2NzParams params(1, count, n, 0, srcStride, Max(count, 1), 1, 0);
      DataCopy(dst[r * dstStride], src[r * srcStride], params);
    }
    return;
  }
  for (int32_t r = 0; r < rows; ++r) {
    const int32_t whole = n / kRow<T> * kRow<T>;
    if (whole > 0) DataCopy(dst[r * dstStride], src[r * srcStride], whole);
    // What is left of a row: one row of a matrix.
    const Nd2NzParams rest(1, 1, Max(n - whole, 1), 0, Max(n - whole, 1), 1, 1, 0);
    if (whole < n) DataCopy(dst[r * dstStride + whole], src[r * srcStride + whole], rest);
  }
}

template <typename T>
__aicore__ inline void FillL1(const LocalTensor<T>& dst, int32_t n, T value) {
  if (n <= 0) return;
  const InitConstValueParams<T> params(1, static_cast<uint16_t>(Blocks(n * sizeof(T))), 0, value);
  InitConstValue(dst, params);
}

// Rows between L1 and UB, of whole blocks.
template <typename T>
__aicore__ inline void Move(const LocalTensor<T>& dst, int32_t dstStride, const LocalTensor<T>& src,
                            int32_t srcStride, int32_t rows, int32_t n) {
  for (int32_t r = 0; r < rows; ++r) DataCopy(dst[r * dstStride], src[r * srcStride], n);
}

// n1 x n0 fractals of 16 x C0 from L1 to L0; strides of both axes in elements.
template <typename T>
__aicore__ inline void LoadFractals(const LocalTensor<T>& dst, int32_t d1, int32_t d0,
                                    const LocalTensor<T>& src, int32_t s1, int32_t s0, int32_t n1,
                                    int32_t n0) {
  constexpr int32_t kFractal = 16 * kRow<T>, kMost = 255;
  for (int32_t i = 0; i < n1; ++i)
    for (int32_t j = 0; j < n0; j += kMost) {
      const LoadData2DParams params(0, Min(kMost, n0 - j), s0 / kFractal, 0, d0 / kFractal - 1,
                                    false, 0);
      LoadData(dst[i * d1 + j * d0], src[i * s1 + j * s0], params);
    }
}
// The same, each fractal turned: columns of 16 in L1 are rows in L0.
template <typename T>
__aicore__ inline void LoadTurned(const LocalTensor<T>& dst, int32_t d1, int32_t d0,
                                  const LocalTensor<T>& src, int32_t s1, int32_t s0, int32_t n1,
                                  int32_t n0) {
  for (int32_t i = 0; i < n1; ++i)
    for (int32_t j = 0; j < n0; ++j) {
      if constexpr (sizeof(T) == 2) {
        const LoadData2DParams params(0, 1, 1, 0, 0, true, 0);
        LoadData(dst[i * d1 + j * d0], src[i * s1 + j * s0], params);
      } else {
#ifdef TENON_HOST_SHIM
        shim::LoadTurned(dst[i * d1 + j * d0], src[i * s1 + j * s0], 16, kRow<T>);
#else
        static_assert(sizeof(T) == 2, "no documented call turns fractals of 4 bytes like this one");
#endif
      }
    }
}

struct Image {
  int32_t c1, h, w;
};
struct Window {
  int32_t kernelH, kernelW, strideH, strideW, dilationH, dilationW, top, left, outW;
};
// Rows [firstM, firstM + m) and columns [firstK, firstK + k) of the windows of an image in L1 as
// fractals in L0A; columns are (c1, kernel row, kernel column, c0).
template <typename T>
__aicore__ inline void Img2Col(const LocalTensor<T>& dst, int32_t dstStride,
                               const LocalTensor<T>& src, int32_t srcStride, Image image, Window w,
                               int32_t firstM, int32_t m, int32_t firstK, int32_t k) {
  if (m <= 0 || k <= 0) return;
  constexpr int32_t kC0 = kRow<T>;
  const int32_t lastRow = (firstM + m - 1) / w.outW;
  const int32_t right =
      (w.outW - 1) * w.strideW + (w.kernelW - 1) * w.dilationW + 1 - image.w - w.left;
  const int32_t bottom = lastRow * w.strideH + (w.kernelH - 1) * w.dilationH + 1 - image.h - w.top;
  const uint8_t pads[4] = {static_cast<uint8_t>(w.left), static_cast<uint8_t>(Max(right, 0)),
                           static_cast<uint8_t>(w.top), static_cast<uint8_t>(Max(bottom, 0))};
  const auto load = [&](int32_t to, int32_t from, int32_t channels, int32_t columns, int32_t rows,
                        int32_t column, int32_t row) {
    const LoadData3DParamsV2<T> params(pads, image.h, image.w, channels, columns, rows, column, row,
                                       w.strideW, w.strideH, w.kernelW, w.kernelH, w.dilationW,
                                       w.dilationH, false, false, static_cast<T>(0));
    LoadData(dst[to], src[from], params);
  };
  const bool isDense =
      (image.c1 == 1 || srcStride == image.h * image.w * kC0) && (m <= 16 || dstStride == 16 * k);
  if (isDense) {
    load(0, 0, image.c1 * kC0, k, m, firstK, firstM);
    return;
  }
  // 16 rows and one c1 at a time.
  const int32_t perC1 = w.kernelH * w.kernelW * kC0;
  for (int32_t row = 0; row < m; row += 16)
    for (int32_t column = firstK; column < firstK + k;) {
      const int32_t c1 = column / perC1;
      const int32_t count = Min((c1 + 1) * perC1, firstK + k) - column;
      load(row / 16 * dstStride + (column - firstK) * 16, c1 * srcStride, kC0, count, 16,
           column % perC1, firstM + row);
      column += count;
    }
}

// acc [n1, m1, 16, 16] (+)= a [m1, k1, 16, C0] b [k1, n1, 16, C0]; strides of the outermost axes.
template <typename C, typename T>
__aicore__ inline void Multiply(const LocalTensor<C>& acc, int32_t accStride,
                                const LocalTensor<T>& a, int32_t aStride, const LocalTensor<T>& b,
                                int32_t bStride, int32_t m, int32_t k, int32_t n, bool accumulate) {
  if (m <= 0 || n <= 0 || k <= 0) return;
  constexpr int32_t kC0 = kRow<T>, kFractal = 16 * kC0;
  const int32_t m1 = (m + 15) / 16, n1 = (n + 15) / 16, k1 = (k + kC0 - 1) / kC0;
  MmadParams params;
  params.cmatrixInitVal = !accumulate;
  const bool isDense = (n1 == 1 || accStride == m1 * 256) &&
                       (m1 == 1 || aStride == k1 * kFractal) &&
                       (k1 == 1 || bStride == n1 * kFractal);
  if (isDense) {
    params.m = m == 1 ? 16 : m;  // one row alone would be read as a vector
    params.n = n;
    params.k = k;
    Mmad(acc, a, b, params);
    return;
  }
  // Fractal by fractal.
  for (int32_t j = 0; j < n1; ++j)
    for (int32_t i = 0; i < m1; ++i)
      for (int32_t l = 0; l < k1; ++l) {
        params.m = 16;
        params.n = Min(16, n - j * 16);
        params.k = Min(kC0, k - l * kC0);
        params.cmatrixInitVal = !accumulate && l == 0;
        Mmad(acc[j * accStride + i * 256], a[i * aStride + l * kFractal],
             b[l * bStride + j * kFractal], params);
        PipeBarrier<PIPE_M>();
      }
}

// Accumulators [n1, m, 16] to UB: fractals of 16 x 16, then rows of 16.
template <typename D, typename C>
__aicore__ inline void FromAcc(const LocalTensor<D>& dst, const LocalTensor<C>& src, int32_t n) {
  const int32_t fractals = n / 256, rows = (n % 256 + 15) / 16;
  DataCopyEnhancedParams mode;
  if (fractals > 0) {
    const DataCopyParams params(1, static_cast<uint16_t>(fractals), 0, 0);
    mode.blockMode = BlockMode::BLOCK_MODE_MATRIX;
    DataCopy(dst, src, params, mode);
  }
  if (rows > 0) {
    const DataCopyParams params(1, static_cast<uint16_t>(rows), 0, 0);
    mode.blockMode = BlockMode::BLOCK_MODE_VECTOR;
    DataCopy(dst[fractals * 256], src[fractals * 256], params, mode);
  }
}

template <typename D>
constexpr QuantMode_t kToHalf = QuantMode_t::F322F16;
template <>
constexpr QuantMode_t kToHalf<bfloat16_t> = QuantMode_t::F322BF16;

// Accumulators [n1, m, 16] as m rows of n elements in the global memory.
template <typename D, typename C>
__aicore__ inline void StoreAcc(const GlobalTensor<D>& dst, int64_t dstStride,
                                const LocalTensor<C>& src, int32_t srcStride, int32_t m,
                                int32_t n) {
  if (m <= 0 || n <= 0) return;
  FixpipeParamsV220 params;
  params.nSize = n;
  params.mSize = m;
  params.srcStride = n <= 16 ? m : srcStride / 16;
  params.dstStride = dstStride;
  if constexpr (sizeof(D) == 2 && sizeof(C) == 4) params.quantPre = kToHalf<D>;
  Fixpipe<D, C, CFG_ROW_MAJOR>(dst, src, params);
}

}  // namespace tile
