#include "quant/sums_of_products.h"

#include <immintrin.h>

#include <algorithm>

namespace tenon::quant {
namespace {

constexpr int64_t kRows = 4, kLanes = 8, kVectors = 3, kColumns = kLanes * kVectors;

// A tile whose sums stay in registers.
void add_tile(const Terms& a, const Terms& b, int64_t count, double* to, int64_t stride) {
  __m256 sums[kRows][kVectors];
  for (auto& row : sums)
    for (__m256& sum : row) sum = _mm256_setzero_ps();
  for (int64_t k = 0; k < count; ++k) {
    __m256 columns[kVectors];
    for (int64_t v = 0; v < kVectors; ++v)
      columns[v] = _mm256_loadu_ps(b.data + k * b.stride + v * kLanes);
    for (int64_t r = 0; r < kRows; ++r) {
      const __m256 x = _mm256_broadcast_ss(a.data + k * a.stride + r);
      for (int64_t v = 0; v < kVectors; ++v)
        sums[r][v] = _mm256_fmadd_ps(x, columns[v], sums[r][v]);
    }
  }
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t v = 0; v < kVectors; ++v) {
      double* at = to + r * stride + v * kLanes;
      const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(sums[r][v]));
      const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(sums[r][v], 1));
      _mm256_storeu_pd(at, _mm256_add_pd(_mm256_loadu_pd(at), low));
      _mm256_storeu_pd(at + 4, _mm256_add_pd(_mm256_loadu_pd(at + 4), high));
    }
}

// What is left at the edges.
void add_edge(const Terms& a, const Terms& b, int64_t count, double* to, int64_t stride) {
  for (int64_t i = 0; i < a.columns; ++i)
    for (int64_t j = 0; j < b.columns; ++j) {
      float sum = 0;
      for (int64_t k = 0; k < count; ++k)
        sum += a.data[k * a.stride + i] * b.data[k * b.stride + j];
      to[i * stride + j] += static_cast<double>(sum);
    }
}

}  // namespace

void add_products(Terms a, Terms b, int64_t count, double* to, int64_t stride, bool upper) {
  for (int64_t j = 0; j < b.columns; j += kColumns) {
    const Terms some{b.data + j, b.stride, std::min(kColumns, b.columns - j)};
    for (int64_t i = 0; i < a.columns; i += kRows) {
      if (upper && j + some.columns <= i) break;
      const Terms rows{a.data + i, a.stride, std::min(kRows, a.columns - i)};
      const bool whole = rows.columns == kRows && some.columns == kColumns;
      (whole ? add_tile : add_edge)(rows, some, count, to + i * stride + j, stride);
    }
  }
}

void add_multiple(double factor, const double* from, double* to, int64_t count) {
  const __m256d times = _mm256_set1_pd(factor);
  int64_t j = 0;
  for (; j + 4 <= count; j += 4)
    _mm256_storeu_pd(to + j,
                     _mm256_fmadd_pd(times, _mm256_loadu_pd(from + j), _mm256_loadu_pd(to + j)));
  for (; j < count; ++j) to[j] += factor * from[j];
}

}  // namespace tenon::quant
