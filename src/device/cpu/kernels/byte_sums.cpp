#include "device/cpu/kernels/byte_sums.h"

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/cpu_features.h"
#include "base/numbers.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kBlock = 64;
constexpr int64_t kTaskBlocks = 512;

// 64 at a time: the table lies in registers.
__attribute__((target("avx512f,avx512bw,avx512vbmi"))) void look_up_in_registers(
    const uint8_t* x, const uint8_t* table, uint8_t* y, int64_t n) {
  const __m512i a = _mm512_loadu_si512(table), b = _mm512_loadu_si512(table + 64);
  const __m512i c = _mm512_loadu_si512(table + 128), d = _mm512_loadu_si512(table + 192);
  for (int64_t i = 0; i < n; i += kBlock) {
    const __mmask64 part = n - i < kBlock ? (uint64_t{1} << (n - i)) - 1 : ~uint64_t{0};
    const __m512i at = _mm512_maskz_loadu_epi8(part, x + i);
    const __m512i low = _mm512_permutex2var_epi8(a, at, b);
    const __m512i high = _mm512_permutex2var_epi8(c, at, d);
    _mm512_mask_storeu_epi8(y + i, part,
                            _mm512_mask_blend_epi8(_mm512_movepi8_mask(at), low, high));
  }
}

}  // namespace

int64_t byte_sum_blocks(int64_t channels) {
  return channels <= 0 ? 1 : std::lcm(channels, kBlock) / kBlock;
}

void spread_factors(const float* by_channel, int64_t channels, float* factors) {
  // Four neighbours stay neighbours.
  for (int64_t block = 0; block < byte_sum_blocks(channels); ++block)
    for (int64_t i = 0; i < kBlock; i += 4) {
      int64_t c = (block * kBlock + byte_sum_channel(i)) % channels;
      for (int64_t k = 0; k < 4; ++k, c = c + 1 == channels ? 0 : c + 1) *factors++ = by_channel[c];
    }
}

bool factors_are_small(const float* factors, int64_t n) {
  constexpr float kMost = 1 << 20;
  static_assert((ByteSum::kMaxTerms * 255 + 1) * static_cast<int64_t>(kMost) < INT32_MAX);
  bool are_small = true;
  for (int64_t i = 0; i < n; ++i) are_small &= std::abs(factors[i]) <= kMost;
  return are_small;
}

void sum_bytes(const ByteSum& sum, ThreadPool& pool, const Int8Table& table) {
  pool.parallel_for(ceil_div(sum.n, kTaskBlocks * kBlock), [&](int64_t task) {
    const int64_t first = task * kTaskBlocks;
    table.sum_bytes(sum, first, std::min(kTaskBlocks, ceil_div(sum.n, kBlock) - first));
  });
}

void look_up_bytes(const uint8_t* x, const uint8_t* table, uint8_t* y, int64_t n) {
  if (cpu_features().avx512_vbmi) return look_up_in_registers(x, table, y, n);
  for (int64_t i = 0; i < n; ++i) y[i] = table[x[i]];
}

}  // namespace tenon::cpu
