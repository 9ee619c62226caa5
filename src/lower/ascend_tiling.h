// How a product is cut into tiles for the cores of an Ascend chip.
#pragma once

#include "lower/product.h"

namespace tenon::lower {

struct AscendTiling {
  int64_t m = 16, n = 16;          // a tile of the result
  int64_t chunk = 16;              // of k, per plane of the kernel's depth, that is in L1 at once
  int64_t step = 16;               // of k that is in L0A and L0B at once
  int64_t grid_m = 1, grid_n = 1;  // cores by rows and by columns
  enum class Keep : uint8_t { none, a, b } keep = Keep::none;  // what stays in L1 for an inner loop
  int64_t a_depth = 2, b_depth = 2;                            // places in L1
  int64_t c_depth = 2;  // places in L0C; with 1 sums leave before the next begin
  double cycles = 0;    // estimated

  std::string to_string() const;
};

// Sizes that lowering and tiling agree on.
struct AscendShape {
  int64_t c0 = 16;            // elements of a block of 32 bytes
  int64_t size = 2;           // bytes of an element
  int64_t k_plane = 0;        // padded k of one plane of the kernel's depth
  int64_t k_unit = 16;        // what chunks are multiples of
  int64_t planes = 1;         // the kernel's depth
  int64_t vector_passes = 1;  // vector instructions per element of the result
  int64_t ub_tiles = 4;       // tiles in UB at once

  AscendShape(const Product& p, DType real);
  // Rows of an image that a tile of m output pixels reads at most.
  static int64_t window_rows(const Windows& w, int64_t m);
  int64_t a_bytes(const Product& p, int64_t m, int64_t chunk) const;
  int64_t b_bytes(int64_t n, int64_t chunk) const { return chunk * n * size; }
};

// The fastest by estimate. Error: unsupported where nothing fits.
Result<AscendTiling> tile_ascend(const Product& p, const AscendShape& shape,
                                 const AscendChip& chip);

}  // namespace tenon::lower
