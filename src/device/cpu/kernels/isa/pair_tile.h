// How tiles of products of pairs become bf16.
#pragma once

#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/isa/activation_sums.h"
#include "device/cpu/kernels/isa/simd.h"

namespace tenon::cpu::TENON_ISA {

// Rounded to nearest even, as store_bf16 does but for numbers too small to be normal.
TENON_INLINE void round_and_store(uint16_t* p, Floats x, int lanes) {
#if defined(__AVX512F__)
  __m256i rounded;
  __asm__("vcvtneps2bf16 %1, %0" : "=v"(rounded) : "v"(x));
  _mm256_mask_storeu_epi16(p, static_cast<__mmask16>((1u << lanes) - 1), rounded);
#else
  store_bf16_part(p, x, lanes);
#endif
}
// The same of two vectors side by side; masked stores take longer.
TENON_INLINE void round_and_store(uint16_t* p, Floats first, Floats second, int columns) {
#if defined(__AVX512F__)
  __m512i rounded;
  __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(rounded) : "v"(first), "v"(second));
  if (columns == 2 * kLanes)
    _mm512_storeu_si512(p, rounded);
  else
    _mm512_mask_storeu_epi16(p, static_cast<__mmask32>((1ull << columns) - 1), rounded);
#else
  store_bf16_part(p, first, kLanes);
  store_bf16_part(p + kLanes, second, columns - kLanes);
#endif
}

// The activation of a tile of sums, rows of kColumns, to the columns of C from `column` on.
template <int kColumns>
void finish_tile(const GemmBlock& block, float* x, int64_t row, int rows, int64_t column,
                 int columns) {
  activate_sums(block.post, x,
                static_cast<size_t>(rows - 1) * kColumns + static_cast<size_t>(columns));
  auto* const c = reinterpret_cast<uint16_t*>(element(block.c, row * block.ldc + column, true));
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < columns; v += kLanes)
      round_and_store(c + r * block.ldc + v, load(x + r * kColumns + v),
                      columns - v < kLanes ? columns - v : kLanes);
}

}  // namespace tenon::cpu::TENON_ISA
