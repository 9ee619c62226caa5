// How Winograd's convolution is cut for an Ascend core (winograd_cube.cpp).
#pragma once

#include "lower/winograd.h"

namespace tenon::lower {

struct CubeTiling {
  int64_t rows = 1, columns = 1;  // tiles of an image at once
  int64_t blocks = 1;             // of channels that are transformed at once
  int64_t outputs = 16;           // channels of the result at once
  int64_t step = 16;              // of k that is in L0A and L0B at once
  int64_t grid_m = 1, grid_n = 1;
  int64_t v_depth = 2, c_depth = 2;  // places of transformed tiles in L1, of sums in L0C
  bool kept = false;                 // the filter of `outputs` stays in L1
  double cycles = 0;

  int64_t tiles() const { return rows * columns; }
  int64_t padded() const { return (tiles() + 15) / 16 * 16; }
};

// The problem, and the sizes that lowering and tiling agree on.
struct CubeProblem {
  static constexpr int64_t kN0 = 16;  // rows and columns of a fractal of L0C

  const Product& p;
  const AscendChip& chip;
  int64_t m;
  DType real;
  int ub;                               // the vector unit's memory
  int64_t temporaries = 0, passes = 0;  // tiles and instructions that finishing takes

  int64_t size() const { return static_cast<int64_t>(dtype_size(real)); }
  int64_t c0() const { return 32 / size(); }
  int64_t c1() const { return (p.windows->channels + c0() - 1) / c0(); }
  int64_t positions() const { return winograd_reach(m) * winograd_reach(m); }
  int64_t tile_rows() const { return p.windows->out_height / m; }
  int64_t tile_columns() const { return p.windows->out_width / m; }
  // Tiles' blocks of all images.
  int64_t all_m(const CubeTiling& t) const;
  WinogradTiles input(const CubeTiling& t) const;
  WinogradTiles output(const CubeTiling& t, int64_t piece) const;
  // Of transformed tiles, the filter of a position, sums.
  int64_t v_bytes(const CubeTiling& t) const;
  int64_t filter_bytes(const CubeTiling& t) const { return t.outputs * c1() * c0() * size(); }
  int64_t sums_bytes(const CubeTiling& t) const;
  // Blocks of columns that are transformed back at once; 0: not even one fits.
  int64_t piece_of(const CubeTiling& t) const;
  double cycles(const CubeTiling& t) const;
  // The fastest by estimate. Error: unsupported where nothing fits.
  Result<CubeTiling> tile() const;

 private:
  int64_t ub_bytes(const CubeTiling& t, int64_t piece) const;
  void consider(CubeTiling t, CubeTiling& best) const;
};

}  // namespace tenon::lower
