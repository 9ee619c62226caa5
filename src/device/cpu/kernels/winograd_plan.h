// How a Winograd convolution is cut into tiles, blocks of them, and tasks.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/numbers.h"
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/winograd.h"

namespace tenon::cpu {

// A dim cut into tiles. Dilated windows are windows of every so manieth pixel.
struct WinogradAxis {
  int64_t in = 1, out = 1, dilation = 1, pad = 0;
  int64_t outputs = 4;  // of a tile
  int64_t tiles() const { return dilation * ceil_div(ceil_div(out, dilation), outputs); }
  int64_t first(int64_t tile) const {
    return tile / dilation * outputs * dilation + tile % dilation;
  }
  // Of `most` pixels from `begin` on, the first behind those before `end`.
  int until(int64_t begin, int64_t end, int64_t most) const {
    return static_cast<int>(std::clamp<int64_t>(ceil_div(end - begin, dilation), 0, most));
  }
};

struct WinogradPlan {
  // A line more than a multiple of large powers of two, which share a set of the caches.
  static constexpr int64_t kLineFloats = 16;
  WinogradTaps kernel;
  int64_t run = 0;        // values of a tile at a frequency: groups, channels
  WinogradAxis rows;      // one pixel where tiles are lines
  WinogradAxis columns;   // the dim of lines
  int64_t inner = 1;      // pixels behind those of lines
  int64_t in_planes = 0;  // that a block may need, with several taps
  int64_t planes = 1;     // outputs of a block are of so many planes, and `block` tiles of each
  int64_t block = 0;
  int64_t plane_blocks = 1;
  int64_t tiles = 0;  // of an image's plane with taps in depth, else of all
  int64_t tile_blocks = 0;
  int64_t blocks = 0;
  int64_t column_blocks = 0;
  bool by_columns = false;  // threads take columns of all blocks, not blocks
  int64_t v_frequency = 0;
  int64_t m_frequency = 0;
  int64_t pieces = 0;
  int64_t b_channels = 0;  // of a part of a filter that the run transforms
  bool is_line() const { return kernel.line >= 0; }
  int64_t taps() const { return kernel.depth; }
  int64_t frequencies() const { return kernel.frequencies(); }
  int64_t v_floats() const { return frequencies() * v_frequency + 2 * pieces; }
  int64_t m_floats() const { return frequencies() * m_frequency; }
  int64_t zero_row() const { return v_frequency - kLineFloats - run; }
  int64_t b_panel() const { return b_channels == 0 ? 0 : b_channels * kPanelColumns + kLineFloats; }
  int64_t b_frequency() const { return kWinogradColumns / kPanelColumns * b_panel(); }
  int64_t b_floats() const { return frequencies() * b_frequency(); }
};

enum class WinogradForm : uint8_t {
  kKept,    // the transformed filter
  kPanels,  // of which the run transforms the filter
  kLarge    // kept, of tiles of six outputs
};
WinogradPlan plan_winograd(const ConvParams& p, int threads, int64_t tile_rows, WinogradForm form);

}  // namespace tenon::cpu
