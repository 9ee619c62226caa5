#include "simulate/elements.h"

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace tenon::simulate {
namespace {

using isa::Rounding;

template <typename T>
T read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// NOLINTBEGIN(bugprone-signed-char-misuse): bytes are numbers here.
template <typename To, typename T>
void load(const std::byte* from, int64_t stride, int64_t count, To* to) {
  const int64_t step = stride * static_cast<int64_t>(sizeof(T));
  if (step == 0) {
    std::fill_n(to, count, static_cast<To>(read<T>(from)));
  } else if (stride == 1) {
    for (int64_t i = 0; i < count; ++i)
      to[i] = static_cast<To>(read<T>(from + i * static_cast<int64_t>(sizeof(T))));
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<To>(read<T>(from + i * step));
  }
}

// NOLINTEND(bugprone-signed-char-misuse)

void load_halves(const std::byte* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(
        to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 2 * i))));
  for (; i < count; ++i) to[i] = static_cast<float>(read<Half>(from + 2 * i));
}

void store_halves(const float* from, int64_t count, std::byte* to) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 2 * i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
  for (; i < count; ++i) {
    const Half h(from[i]);
    std::memcpy(to + 2 * i, &h, sizeof h);
  }
}

float rounded(float x, Rounding rounding) {
  switch (rounding) {
    case Rounding::even:
      return std::nearbyint(x);
    case Rounding::floor:
      return std::floor(x);
    case Rounding::ceil:
      return std::ceil(x);
    case Rounding::truncate:
      return std::trunc(x);
    case Rounding::away:
      return std::round(x);
  }
  return x;
}

template <typename T>
T to_int(float x, Rounding rounding) {
  if (std::isnan(x)) return 0;
  const float r = rounded(x, rounding);
  // The bounds as floats may lie beyond those of T.
  if (r >= static_cast<float>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
  if (r <= static_cast<float>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
  return static_cast<T>(r);
}

template <typename T, typename From, typename F>
void store(const From* from, int64_t count, int64_t stride, std::byte* to, const F& convert) {
  const int64_t step = stride * static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < count; ++i) {
    const T value = convert(from[i]);
    std::memcpy(to + i * step, &value, sizeof value);
  }
}

template <typename T>
T saturated(int64_t x) {
  return static_cast<T>(
      std::clamp<int64_t>(x, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
}

}  // namespace

void load_floats(const std::byte* from, DType dtype, int64_t stride, int64_t count, float* to) {
  switch (dtype) {
    case DType::f16:
      return stride == 1 ? load_halves(from, count, to)
                         : load<float, Half>(from, stride, count, to);
    case DType::bf16:
      return load<float, BFloat16>(from, stride, count, to);
    case DType::f32:
      return load<float, float>(from, stride, count, to);
    case DType::i8:
      return load<float, int8_t>(from, stride, count, to);
    case DType::i16:
      return load<float, int16_t>(from, stride, count, to);
    case DType::i32:
      return load<float, int32_t>(from, stride, count, to);
    case DType::i64:
      return load<float, int64_t>(from, stride, count, to);
    default:
      return load<float, uint8_t>(from, stride, count, to);
  }
}

void load_ints(const std::byte* from, DType dtype, int64_t stride, int64_t count, int64_t* to) {
  switch (dtype) {
    case DType::i8:
      return load<int64_t, int8_t>(from, stride, count, to);
    case DType::i16:
      return load<int64_t, int16_t>(from, stride, count, to);
    case DType::i32:
      return load<int64_t, int32_t>(from, stride, count, to);
    case DType::i64:
      return load<int64_t, int64_t>(from, stride, count, to);
    default:
      return load<int64_t, uint8_t>(from, stride, count, to);
  }
}

void store_floats(const float* from, int64_t count, Rounding rounding, DType dtype, int64_t stride,
                  std::byte* to) {
  const auto as_int = [rounding]<typename T>(T*) {
    return [rounding](float x) { return to_int<T>(x, rounding); };
  };
  switch (dtype) {
    case DType::f16:
      if (stride == 1) return store_halves(from, count, to);
      return store<Half>(from, count, stride, to, [](float x) { return Half(x); });
    case DType::bf16:
      return store<BFloat16>(from, count, stride, to, [](float x) { return BFloat16(x); });
    case DType::f32:
      return store<float>(from, count, stride, to, [](float x) { return x; });
    case DType::i8:
      return store<int8_t>(from, count, stride, to, as_int(static_cast<int8_t*>(nullptr)));
    case DType::i16:
      return store<int16_t>(from, count, stride, to, as_int(static_cast<int16_t*>(nullptr)));
    case DType::i32:
      return store<int32_t>(from, count, stride, to, as_int(static_cast<int32_t*>(nullptr)));
    case DType::i64:
      return store<int64_t>(from, count, stride, to, as_int(static_cast<int64_t*>(nullptr)));
    case DType::boolean:
      return store<uint8_t>(from, count, stride, to,
                            [](float x) { return static_cast<uint8_t>(x != 0); });
    default:
      return store<uint8_t>(from, count, stride, to, as_int(static_cast<uint8_t*>(nullptr)));
  }
}

void store_ints(const int64_t* from, int64_t count, DType dtype, int64_t stride, std::byte* to) {
  const auto to_float = [](int64_t x) { return static_cast<float>(x); };
  switch (dtype) {
    case DType::f16:
      return store<Half>(from, count, stride, to, [&](int64_t x) { return Half(to_float(x)); });
    case DType::bf16:
      return store<BFloat16>(from, count, stride, to,
                             [&](int64_t x) { return BFloat16(to_float(x)); });
    case DType::f32:
      return store<float>(from, count, stride, to, to_float);
    case DType::i8:
      return store<int8_t>(from, count, stride, to, saturated<int8_t>);
    case DType::i16:
      return store<int16_t>(from, count, stride, to, saturated<int16_t>);
    case DType::i32:
      return store<int32_t>(from, count, stride, to, saturated<int32_t>);
    case DType::i64:
      return store<int64_t>(from, count, stride, to, [](int64_t x) { return x; });
    case DType::boolean:
      return store<uint8_t>(from, count, stride, to,
                            [](int64_t x) { return static_cast<uint8_t>(x != 0); });
    default:
      return store<uint8_t>(from, count, stride, to, saturated<uint8_t>);
  }
}

}  // namespace tenon::simulate
