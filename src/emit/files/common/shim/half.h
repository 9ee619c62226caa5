// Numbers of two bytes for the host: half (IEEE binary16) and bfloat16_t, rounded to nearest even.
// Arithmetic is that of float.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace shim {

inline uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float from_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

inline float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16, exponent = h >> 10 & 31u,
                 fraction = h & 1023u;
  if (exponent == 31) return from_bits(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0) return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
  const float small = static_cast<float>(fraction) * 5.9604644775390625e-8f;  // 2^-24
  return sign != 0 ? -small : small;
}

inline uint16_t float_to_half(float x) {
  const uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // Below the normal numbers: adding 0.5 leaves multiples of 2^-24, rounded to even.
    const float rounded = from_bits(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (bits_of(rounded) - bits_of(0.5f)));
  }
  const uint32_t odd = magnitude >> 13 & 1u;
  return static_cast<uint16_t>(sign | (magnitude + 0xc8000fffu + odd) >> 13);
}

inline const float* half_table() {
  static const struct Table {
    float value[65536];
    Table() {
      for (uint32_t i = 0; i < 65536; ++i) value[i] = half_to_float(static_cast<uint16_t>(i));
    }
  } table;
  return table.value;
}

}  // namespace shim

struct half {
  uint16_t bits;
  half() = default;
  half(float x) : bits(shim::float_to_half(x)) {}
  operator float() const { return shim::half_to_float(bits); }
};

struct bfloat16_t {
  uint16_t bits;
  bfloat16_t() = default;
  bfloat16_t(float x) {
    const uint32_t b = shim::bits_of(x);
    bits = static_cast<uint16_t>(x != x ? 0x7fc0u : (b + 0x7fffu + (b >> 16 & 1u)) >> 16);
  }
  operator float() const { return shim::from_bits(static_cast<uint32_t>(bits) << 16); }
};

namespace shim {

template <typename T>
constexpr bool is_real = std::is_same<T, float>::value || std::is_same<T, half>::value ||
                         std::is_same<T, bfloat16_t>::value;

// A number in another type: reals are rounded, integers saturate, what is no number is 0.
template <typename T, typename W>
T narrow(W x) {
  if constexpr (is_real<T>) {
    return static_cast<T>(static_cast<float>(x));
  } else {
    const W most = static_cast<W>(std::numeric_limits<T>::max());
    const W least = static_cast<W>(std::numeric_limits<T>::min());
    if (x != x) return T{0};
    return x >= most    ? std::numeric_limits<T>::max()
           : x <= least ? std::numeric_limits<T>::min()
                        : static_cast<T>(x);
  }
}

}  // namespace shim
