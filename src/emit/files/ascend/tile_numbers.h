// What the other tile functions are made of: sizes, waits, elements any number apart, and one
// element at a time on the scalar unit.
// @STATUS@
#pragma once

#include "kernel_operator.h"
#include "tenon_target.h"

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

}  // namespace tile
