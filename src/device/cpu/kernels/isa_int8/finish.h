// What becomes of a tile of sums of products of bytes, and where it goes.
#pragma once

#include "device/cpu/kernels/isa_int8/epilogue.h"

namespace tenon::cpu::TENON_INT8 {
// Rows of sums, `width` apart, from memory, which takes a tenth of the code that registers would.
void finish_stored(const Int8Block& block, const int32_t* sums, int width, int rows, int64_t row,
                   int64_t column, int columns);

namespace {

// Rows of bytes, two packed at a time, without zero points of the weights: what is done is settled
// before the rows, so that little more than arithmetic is left of each.
template <bool kSaturates, bool kSigned, int kM>
TENON_INLINE void finish_pairs(const Int8Block& block, const Ints (&sums)[kM][2], int64_t row,
                               int64_t column) {
  const Int8Epilogue& e = block.epilogue;
  const Floats scale[2] = {load_real(e.scale + column), load_real(e.scale + column + kLanes)};
  const Floats bias[2] = {load_real(e.bias + column), load_real(e.bias + column + kLanes)};
  char* y = block.y + row * block.y_row_bytes + column;
#pragma GCC unroll 6
  for (int r = 0; r + 1 < kM; r += 2, y += 2 * block.y_row_bytes) {
    Ints v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      Floats real = fma(to_real(sums[r + i / 2][i % 2]), scale[i % 2], bias[i % 2]);
      if constexpr (!kSaturates) real = clip(real, splat_real(e.low), splat_real(e.high));
      v[i] = to_int(real);
    }
    store_halves(y, y + block.y_row_bytes, in_order(packed_bytes(v, e.zero, kSigned)));
  }
}

template <int kM, int kN>
TENON_INLINE void finish_rows(const Int8Block& block, const Ints (&sums)[kM][kN], int first,
                              int64_t row, int64_t column, int columns) {
  alignas(64) int32_t stored[kM][kN * kLanes];
#pragma GCC unroll 32
  for (int i = 0; i < kM * kN; ++i)
    store_all(stored[i / kN] + i % kN * kLanes, sums[i / kN][i % kN]);
  finish_stored(block, stored[first], kN * kLanes, kM - first, row + first, column, columns);
}

template <int kM, int kN>
TENON_INLINE void finish_tile(const Int8Block& block, const Ints (&sums)[kM][kN], int64_t row,
                              int64_t column, int columns) {
  const Int8Epilogue& e = block.epilogue;
  if constexpr (kN == 2 && kM > 1)
    if (columns == kN * kLanes && gives_bytes(e) && e.weights_zero == nullptr) {
      const bool is_signed = e.result == Int8Result::kI8;
      if (!e.saturates)
        is_signed ? finish_pairs<false, true, kM>(block, sums, row, column)
                  : finish_pairs<false, false, kM>(block, sums, row, column);
      else
        is_signed ? finish_pairs<true, true, kM>(block, sums, row, column)
                  : finish_pairs<true, false, kM>(block, sums, row, column);
      if constexpr (kM % 2 == 1) finish_rows<kM, kN>(block, sums, kM - 1, row, column, columns);
      return;
    }
  if constexpr (kN == 1)
    if (e.result == Int8Result::kF32 && e.weights_zero == nullptr) {
      char* y = block.y + row * block.y_row_bytes + 4 * column;
#pragma GCC unroll 16
      for (int r = 0; r < kM; ++r, y += block.y_row_bytes)
        store_part(y, bits(scaled(e, sums[r][0], column)), columns);
      return;
    }
  if (columns == kN * kLanes && e.result == Int8Result::kF32 && e.weights_zero == nullptr) {
    char* y = block.y + row * block.y_row_bytes + 4 * column;
#pragma GCC unroll 16
    for (int r = 0; r < kM; ++r, y += block.y_row_bytes)
#pragma GCC unroll 2
      for (int j = 0; j < kN; ++j)
        store_all(y + 4 * kLanes * j, bits(scaled(e, sums[r][j], column + j * kLanes)));
    return;
  }
  if constexpr (kM == 1) {
    char* y = block.y + row * block.y_row_bytes;
    const int32_t row_sum = block.row_sums != nullptr ? block.row_sums[row] : 0;
#pragma GCC unroll 2
    for (int j = 0; j < kN; ++j)
      if (const int left = columns - j * kLanes; left > 0)
        finish(e, without_zeros(e, sums[0][j], column + j * kLanes, row_sum), column + j * kLanes,
               y, left < kLanes ? left : kLanes);
  } else {
    finish_rows<kM, kN>(block, sums, 0, row, column, columns);
  }
}

}  // namespace
}  // namespace tenon::cpu::TENON_INT8
