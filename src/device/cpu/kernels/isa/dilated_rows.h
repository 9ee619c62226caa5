// Windows with gaps as windows without: the columns that leave the same remainder by the dilation
// are rows of their own.
#pragma once

#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/isa/simd.h"

namespace tenon::cpu::TENON_ISA {

// Whether a row of neighbouring pixels is taken apart.
TENON_INLINE bool has_gaps(const DepthwiseRow& row) {
  return row.dilation > 1 && row.stride == 1 && row.taps[2] > 1;
}

// run() for the rows that such a row is; x is of bf16 with kPairs.
template <bool kPairs, typename Run>
TENON_INLINE void for_remainders(const DepthwiseRow& row, Run run) {
  const int64_t dilation = row.dilation;
  for (int64_t r = 0; r < dilation && r < row.pixels; ++r) {
    const int64_t first = row.start + r;  // the column of the first tap
    int64_t remainder = first % dilation;
    if (remainder < 0) remainder += dilation;
    DepthwiseRow part = row;
    part.dilation = 1;
    part.pixels = (row.pixels - r + dilation - 1) / dilation;
    part.start = (first - remainder) / dilation;
    part.in = row.in > remainder ? (row.in - remainder + dilation - 1) / dilation : 0;
    part.x = element(row.x, r * row.x_pixel, kPairs);
    part.x_pixel *= dilation;
    part.y = element(row.y, r * row.y_pixel, row.narrow_y);
    part.y_pixel *= dilation;
    if (row.add != nullptr) part.add = row.add + r * row.add_pixel;
    part.add_pixel *= dilation;
    run(part);
  }
}

}  // namespace tenon::cpu::TENON_ISA
