// Transposes of 8 x 8 and 4 x 4 elements of 4 bytes, and of 8 x 8 of 2, in registers, for packing
// and layout changes.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace tenon::cpu {

// y[c * ldy + r] = x[r * ldx + c] * scale for r, c < 8.
template <bool kScaled>
inline void transpose8(const float* x, int64_t ldx, float* y, int64_t ldy, float scale) {
  __m256 row[8], mixed[8];
  for (int i = 0; i < 8; ++i) row[i] = _mm256_loadu_ps(x + i * ldx);
  for (int i = 0; i < 4; ++i) {
    mixed[2 * i] = _mm256_unpacklo_ps(row[2 * i], row[2 * i + 1]);
    mixed[2 * i + 1] = _mm256_unpackhi_ps(row[2 * i], row[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    const __m256* m = mixed + 4 * i;
    row[4 * i] = _mm256_shuffle_ps(m[0], m[2], 0x44);
    row[4 * i + 1] = _mm256_shuffle_ps(m[0], m[2], 0xee);
    row[4 * i + 2] = _mm256_shuffle_ps(m[1], m[3], 0x44);
    row[4 * i + 3] = _mm256_shuffle_ps(m[1], m[3], 0xee);
  }
  const __m256 factor = _mm256_set1_ps(scale);
  for (int i = 0; i < 4; ++i) {
    __m256 low = _mm256_permute2f128_ps(row[i], row[i + 4], 0x20);
    __m256 high = _mm256_permute2f128_ps(row[i], row[i + 4], 0x31);
    if constexpr (kScaled) {
      low = _mm256_mul_ps(low, factor);
      high = _mm256_mul_ps(high, factor);
    }
    _mm256_storeu_ps(y + i * ldy, low);
    _mm256_storeu_ps(y + (i + 4) * ldy, high);
  }
}

// y[c * ldy + r] = x[r * ldx + c] for r, c < 4.
inline void transpose4(const float* x, int64_t ldx, float* y, int64_t ldy) {
  __m128 a = _mm_loadu_ps(x), b = _mm_loadu_ps(x + ldx), c = _mm_loadu_ps(x + 2 * ldx),
         d = _mm_loadu_ps(x + 3 * ldx);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(y, a);
  _mm_storeu_ps(y + ldy, b);
  _mm_storeu_ps(y + 2 * ldy, c);
  _mm_storeu_ps(y + 3 * ldy, d);
}

// y[c * ldy + r] = x[r * ldx + c] for r, c < 8.
inline void transpose8(const uint16_t* x, int64_t ldx, uint16_t* y, int64_t ldy) {
  __m128i row[8], mixed[8];
  for (int i = 0; i < 8; ++i)
    row[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i * ldx));
  for (int i = 0; i < 4; ++i) {
    mixed[2 * i] = _mm_unpacklo_epi16(row[2 * i], row[2 * i + 1]);
    mixed[2 * i + 1] = _mm_unpackhi_epi16(row[2 * i], row[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    const __m128i* m = mixed + 4 * i;
    row[4 * i] = _mm_unpacklo_epi32(m[0], m[2]);
    row[4 * i + 1] = _mm_unpackhi_epi32(m[0], m[2]);
    row[4 * i + 2] = _mm_unpacklo_epi32(m[1], m[3]);
    row[4 * i + 3] = _mm_unpackhi_epi32(m[1], m[3]);
  }
  for (int i = 0; i < 4; ++i) {
    auto* const to = reinterpret_cast<__m128i*>(y + 2 * i * ldy);
    auto* const next = reinterpret_cast<__m128i*>(y + (2 * i + 1) * ldy);
    _mm_storeu_si128(to, _mm_unpacklo_epi64(row[i], row[i + 4]));
    _mm_storeu_si128(next, _mm_unpackhi_epi64(row[i], row[i + 4]));
  }
}

}  // namespace tenon::cpu
