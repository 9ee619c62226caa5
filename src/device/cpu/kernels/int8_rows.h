// Where the rows of a product of bytes come from, and how they are cut into blocks.
#pragma once

#include <cstdint>

#include "base/numbers.h"
#include "device/cpu/kernels/int8.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {

// Where the rows of a product are.
enum class Int8RowSource : uint8_t {
  kInPlace,  // one behind the other in x
  kWindows,  // in x, as windows all of which lie inside
  kStrips,   // the same in a copy of some rows of x, of a group's channels, with what lies outside
  kGathered  // copied one by one
};

struct Int8Plan {
  int64_t k = 0, padded_k = 0, columns = 0, pixels = 0;
  Int8RowSource source = Int8RowSource::kGathered;
  int64_t pieces = 1, piece_k = 0;  // of a row
  int64_t row_block = 0, row_blocks = 0, column_block = 0, column_blocks = 0;
  int64_t strip_rows = 0;    // of the result, that make a block
  int64_t strip_images = 1;  // whole ones, where they are more
  int64_t strip_row_bytes = 0;
  bool trims = false;      // taps that lie outside are left out
  int64_t most_tasks = 1;  // that the work is worth
  int64_t slot_bytes = 0;
};

// Groups of four terms, of which every piece has its own.
inline int64_t int8_groups(const Int8Weights& w) {
  return w.pieces * ceil_div(w.k / w.pieces, 4);
}
// Channels of a group.
inline int64_t group_in(const Int8Params& p) {
  return p.in_channels / p.groups;
}
// Of the input, that so many rows of the result read.
inline int64_t strip_input_rows(const Int8Params& p, int64_t rows) {
  return (rows - 1) * p.stride[1] + (p.kernel[1] - 1) * p.dilation[1] + 1;
}
Int8Plan plan_int8(const Int8Params& p, int threads, const Int8Table& table);

// The first pixel of a block of rows, and how many it has.
Range int8_row_range(const Int8Params& p, const Int8Plan& plan, int64_t block);
// Memory for what describes the rows of a block, ahead of copies of them.
int64_t int8_block_bytes(const Int8Plan& plan);
// Sets the rows of a block of the product, pixels [pixel, pixel + b.m), from `own` memory on.
void set_int8_rows(const Int8Params& p, const Int8Plan& plan, int64_t group, int64_t pixel,
                   char* own, Int8Block& b);
// What the rows of a product add up to.
void sum_int8_rows(const Int8Plan& plan, const Int8Block& b, int32_t* sums);

}  // namespace tenon::cpu
