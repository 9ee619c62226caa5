// What the drivers hand to the inner loops of a KernelTable.
#pragma once

#include <cstdint>

#include "device/cpu/kernels/activation.h"

namespace tenon::cpu {

// A block of C held in cache: c[m, n] = post(clip(a x b + bias + add)) over one range of k.
struct GemmBlock {
  int64_t m = 0;
  int64_t n = 0;

  // Rows of A. Either row r starts at a + r * lda and has `run` floats (taps = 1), or row r is made
  // of `taps` pieces of `run` floats, piece t of row r of tile i at
  // pieces[(i * tile_taps + t) * tile_rows + r] + piece_offset, where i counts tiles of tile_rows.
  const float* a = nullptr;
  int64_t lda = 0;
  const float* const* pieces = nullptr;
  int64_t tile_taps = 1;
  int64_t piece_offset = 0;
  int64_t taps = 1;
  int64_t run = 0;

  // B as panels of 16 columns, `b_panel_stride` floats apart, taps * run rows used.
  const float* b = nullptr;
  int64_t b_panel_stride = 0;

  float* c = nullptr;
  int64_t ldc = 0;
  const float* bias = nullptr;  // [n] or null
  const float* add = nullptr;   // [m, n] or null; may be c
  int64_t ld_add = 0;
  float low = 0;  // the clip, ±inf for none
  float high = 0;
  Activation post;  // kNone, or one that the clip cannot express
};

}  // namespace tenon::cpu
