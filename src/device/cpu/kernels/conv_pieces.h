// Products of windows by filters where the rows of the left side are lists of pointers to the
// pieces of a window (GemmBlock::pieces): what the methods of conv.h that list them share.
#pragma once

#include "device/cpu/kernels/conv.h"
#include "device/cpu/kernels/conv_lists.h"
#include "device/cpu/kernels/kernel_table.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {

// Pointers that are listed at a time.
inline constexpr int64_t kMaxPieces = 8 << 10;

inline int64_t output_pixels(const ConvParams& p) {
  return p.batch * volume(p.out);
}

// The product of `m` output pixels, given as pieces, by `n` filters; pixels are consecutive in y.
struct PieceProduct {
  int64_t pixel = 0;  // the first
  int64_t m = 0;
  int64_t channel = 0;  // the first output channel
  int64_t n = 0;
  const float* filter = nullptr;  // its panel
  int64_t taps = 0;
  int64_t run = 0;
  PieceLists lists;
  int64_t offset = 0;     // floats from where pieces point
  float* sums = nullptr;  // piece_sums() floats
};

// Floats for the sums of m pixels by n filters where several parts of them are rounded in the end.
int64_t piece_sums(const ConvParams& p, int64_t m, int64_t n, int64_t taps, int64_t run);
void multiply_pieces(const ConvParams& p, const PieceProduct& product, const KernelTable& table);

}  // namespace tenon::cpu
