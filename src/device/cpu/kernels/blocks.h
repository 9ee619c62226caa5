// What the drivers hand to the inner loops of a KernelTable.
#pragma once

#include <cstdint>

#include "device/cpu/kernels/activation.h"

namespace tenon::cpu {

// Element `index` behind `base`, which stands for an array of bf16 where `narrow`.
[[gnu::always_inline]] inline const float* element(const float* base, int64_t index, bool narrow) {
  return reinterpret_cast<const float*>(reinterpret_cast<const char*>(base) +
                                        index * (narrow ? 2 : 4));
}
[[gnu::always_inline]] inline float* element(float* base, int64_t index, bool narrow) {
  return const_cast<float*>(element(static_cast<const float*>(base), index, narrow));
}

// A block of C held in cache: c[m, n] = post(clip(a x b + bias + add)) over one range of k.
struct GemmBlock {
  int64_t m = 0;
  int64_t n = 0;

  // Rows of A. Either row r starts at a + r * lda and has `run` floats (taps = 1), or row r is made
  // of `taps` pieces of `run` floats, piece t of row r of tile i at
  // pieces[(i * tile_taps + t) * tile_rows + r] + piece_offset, where i counts tiles of tile_rows;
  // piece t of all rows of a tile is zeros where that of row 0 is null.
  const float* a = nullptr;
  int64_t lda = 0;
  const float* const* pieces = nullptr;
  // Where the table fits_tiles: tile i has so many of the rows, and row r of C and of what is added
  // is the c_rows[r]th; null: tile_rows of them but in the last tile, and in order.
  const uint8_t* tile_heights = nullptr;
  const int32_t* c_rows = nullptr;
  int64_t tile_taps = 1;
  int64_t piece_offset = 0;
  int64_t taps = 1;
  int64_t run = 0;

  // B as panels of 16 columns, `b_panel_stride` floats apart, taps * run rows used.
  const float* b = nullptr;
  int64_t b_panel_stride = 0;
  // Columns that are multiplied next: in the panels behind the n, or from `next` on.
  int64_t next_columns = 0;
  const float* next = nullptr;
  int64_t next_panel_stride = 0;

  float* c = nullptr;
  int64_t ldc = 0;
  const float* bias = nullptr;  // [n] or null
  const float* add = nullptr;   // [m, n] or null; may be c
  int64_t ld_add = 0;
  // What is behind these pointers is bf16, and strides count them: products of pairs only.
  bool narrow_c = false;
  bool narrow_add = false;
  bool fetch_c = false;  // which is in no cache near by: before it is stored
  float low = 0;         // the clip, ±inf for none
  float high = 0;
  Activation post;  // kNone, or one that the clip cannot express
};

// Output pixels in a row whose windows have the same taps: tap (i, j, k) of pixel p reads
// x + p * x_pixel + i * x_taps[0] + j * x_taps[1] + k * x_taps[2].
struct WindowRow {
  int64_t pixels = 0;
  int64_t channels = 0;
  int64_t taps[3] = {1, 1, 1};
  int64_t x_taps[3] = {0, 0, 0};
  // Where the rows lie in a ring, the taps from j = wrap on are x_wrap floats further back.
  int64_t wrap = INT64_MAX;
  int64_t x_wrap = 0;
  const float* x = nullptr;
  int64_t x_pixel = 0;
  float* y = nullptr;
  int64_t y_pixel = 0;
};

// y = post(clip(sum over taps of x * filter + bias + add)), channel by channel. Taps along the row
// may be outside it: tap k of pixel p is there if start + p * stride + k * dilation is in [0, in).
// x is where pixel 0 has its first tap, inside or not. With tables of pairs x is bf16, which
// strides count, and so is the filter, as pack_depthwise_pairs() has it (pairs.h).
struct DepthwiseRow : WindowRow {
  int64_t start = 0;
  int64_t stride = 1;
  int64_t dilation = 1;
  int64_t in = 0;
  const float* filter = nullptr;
  int64_t filter_taps[3] = {0, 0, 0};  // of pairs from one pair of rows to the next
  int64_t first_tap = 0;               // of the window that is there, in the second dim
  int64_t first_channel = 0;           // of x is that of all
  const float* bias = nullptr;         // [channels] or null
  const float* add = nullptr;          // may be y; or null
  int64_t add_pixel = 0;
  bool narrow_y = false;  // as in a GemmBlock; pairs only, which add nothing
  float low = 0;
  float high = 0;
  Activation post;
};

// Taps of a window side by side in one of its lines.
struct GroupedTaps {
  int64_t x = 0;       // floats from the window's first tap
  int64_t filter = 0;  // floats from the filter's begin
  int64_t column = 0;  // columns of the input from the window's first
};

// y = post(clip(sum over taps and the inputs of a group of x * filter + bias + add)): some output
// channels of a row of pixels, of one group, or of several that are narrower than kColumns and
// divide it, with no more inputs than outputs.
struct GroupedRow {
  static constexpr int kColumns = 16;
  int64_t pixels = 0;
  int64_t start = 0;   // column of the first pixel's first tap
  int64_t stride = 1;  // columns
  int64_t in = 0;      // columns that are there
  // Taps that are three columns in a row, not all of them outside of any pixel, of strides of 1 or
  // 2 and at least seven pixels; and others.
  const GroupedTaps* triples = nullptr;
  int64_t triple_count = 0;
  const GroupedTaps* singles = nullptr;
  int64_t single_count = 0;
  int64_t group_in = 0;
  int64_t group_out = 0;
  int32_t first_inputs[kColumns] = {};  // of each output channel's group, from x on
  const float* x =
      nullptr;           // the group's, or the first one's, at pixel 0's first tap, inside or not
  int64_t x_column = 0;  // floats from a column to the next
  const float* filter = nullptr;  // [taps][group_in][kColumns]
  int channels = 0;               // at most kColumns
  float* y = nullptr;             // at the first of them, as bias and add
  int64_t y_pixel = 0;
  const float* bias = nullptr;
  const float* add = nullptr;  // may be y; or null
  int64_t add_pixel = 0;
  float low = 0;
  float high = 0;
  Activation post;
};

// A tile's inputs, squares of 6 or 8 or lines of 6, to as many values that are multiplied, channel
// by channel. Inputs outside the given ranges count as zero and are not read.
struct WinogradInput {
  static constexpr int kMostSide = 8;
  int side = 6;
  bool is_line = false;      // of one row
  const float* x = nullptr;  // where input (0, 0) is, or would be
  int64_t x_row = 0;
  int64_t x_pixel = 0;
  int row_begin = 0, row_end = 0;
  int column_begin = 0, column_end = 0;
  int64_t channels = 0;
  float* v = nullptr;
  int64_t v_frequency = 0;  // floats from one frequency to the next
};

// Sixteen filters of 3x3 at some input channels to the 36 values that are multiplied.
struct WinogradFilter {
  int64_t channels = 0;
  const float* filter = nullptr;  // sixteen a channel; tap (i, j) is 3 * i + j times `tap` on
  int64_t tap = 0;
  float* values = nullptr;  // of a channel sixteen, one channel after the other
  int64_t frequency = 0;    // floats from one of the 36 to the next
};

// y = clip(the products transformed back + bias + add), for `rows` x `columns` of a tile's outputs.
struct WinogradOutput {
  static constexpr int kMostOut = 6;
  int side = 6;  // of its inputs
  bool is_line = false;
  const float* m = nullptr;  // whole vectors are read
  int64_t m_frequency = 0;
  int64_t channels = 0;
  int outputs = 4;  // that a tile has in each dim: 4 of 3 taps, 3 of 4, or 6 of 3 and side 8
  int rows = 0;     // that are there
  int columns = 0;
  float* y = nullptr;
  int64_t y_row = 0;
  int64_t y_pixel = 0;
  const float* bias = nullptr;
  const float* add = nullptr;  // may be y; or null
  int64_t add_row = 0;
  int64_t add_pixel = 0;
  bool narrow_y = false;  // as in a GemmBlock, of any table
  bool narrow_add = false;
  float low = 0;
  float high = 0;
  Activation post;
};

struct PoolRow : WindowRow {
  bool average = false;
  float scale = 1;        // of the sum, for an average
  bool narrow_x = false;  // as in a GemmBlock, of any table
  bool narrow_y = false;
};

}  // namespace tenon::cpu
