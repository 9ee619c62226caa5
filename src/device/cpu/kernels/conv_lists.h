// Windows of output pixels as lists of pointers to their pieces (GemmBlock::pieces). Pixels that
// lack the same taps, which lie outside, share tiles, so that whole tiles leave those out.
#pragma once

#include <cstdint>

#include "device/cpu/kernels/conv.h"
#include "device/cpu/kernels/kernel_table.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {

// The sides of a dim.
struct WindowSides {
  static constexpr int64_t kMost = 9;
  WindowSide side[kMost];
  int64_t count = 0;
  bool is_exact = true;  // else one of all taps, which not all outputs have
};
WindowSides find_window_sides(const WindowDim& window);

// Of up to `rows` pixels at a time.
struct PieceListPlan {
  static constexpr int64_t kMostAreas = 64;
  int64_t rows = 0;
  int64_t tile_rows = 0;
  bool fits_tiles = false;  // tiles may have fewer rows, which may be in any order
  WindowSides sides[3];
  int64_t areas() const { return sides[0].count * sides[1].count * sides[2].count; }
  int64_t tiles() const;  // at most
  int64_t bytes(const ConvParams& p) const;
};
PieceListPlan plan_piece_lists(const ConvParams& p, int64_t rows, const KernelTable& table);

// As GemmBlock has them.
struct PieceLists {
  const float* const* pieces = nullptr;
  const uint8_t* tile_heights = nullptr;
  const int32_t* c_rows = nullptr;
};
// Output pixels [begin, end), counted through all images, of which x has the input; what lies
// outside is at `zero`. In plan.bytes() of memory.
PieceLists list_pieces(const ConvParams& p, const PieceListPlan& plan, int64_t begin, int64_t end,
                       const float* zero, void* memory);

}  // namespace tenon::cpu
