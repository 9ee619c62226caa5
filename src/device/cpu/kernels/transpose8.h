// An 8 x 8 transpose of 4-byte elements in registers, for packing and layout changes.
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

}  // namespace tenon::cpu
