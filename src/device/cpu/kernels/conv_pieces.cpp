#include "device/cpu/kernels/conv_pieces.h"

#include <algorithm>

#include "base/numbers.h"
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"

namespace tenon::cpu {
namespace {

// Rows of a filter panel multiplied at a time: a panel stays in L2 while the pixels pass.
constexpr int64_t kMaxDepth = 1024;

// Depth is cut between taps, or within a tap where one has many channels.
struct PieceCut {
  int64_t taps_per_block = 1;
  int64_t chunk = 0;
  bool is_whole = true;
};

PieceCut cut_pieces(int64_t taps, int64_t run) {
  PieceCut cut;
  const int64_t chunks = std::max<int64_t>(1, ceil_div(run, kMaxDepth));
  cut.chunk = ceil_div(run, chunks);
  const int64_t tap_blocks =
      chunks > 1 ? taps : std::max<int64_t>(1, ceil_div(taps * run, kMaxDepth));
  cut.taps_per_block = std::max<int64_t>(1, ceil_div(taps, tap_blocks));
  cut.is_whole = chunks == 1 && cut.taps_per_block >= taps;
  return cut;
}

}  // namespace

int64_t piece_sums(const ConvParams& p, int64_t m, int64_t n, int64_t taps, int64_t run) {
  return p.narrow_y && !cut_pieces(taps, run).is_whole ? m * n : 0;
}

void multiply_pieces(const ConvParams& p, const PieceProduct& product, const KernelTable& table) {
  const int64_t taps = product.taps, run = product.run;
  const auto [taps_per_block, chunk, is_whole] = cut_pieces(taps, run);
  float* const y = element(p.y, product.pixel * p.y_pixel_stride + product.channel, p.narrow_y);
  const bool sums_apart = p.narrow_y && !is_whole;
  GemmBlock block;
  block.m = product.m;
  block.n = product.n;
  block.tile_taps = taps;
  block.tile_heights = product.lists.tile_heights;
  block.c_rows = product.lists.c_rows;
  block.b_panel_stride = taps * run * kPanelColumns;
  const bool is_far_away = is_far(output_pixels(p) * p.y_pixel_stride, p.narrow_y);
  bool first = true;
  for (int64_t tap = 0; tap < taps || first; tap += taps_per_block)
    for (int64_t at = 0; at < run || first; at += chunk) {
      block.taps = std::min(taps_per_block, taps - tap);
      block.run = std::min(chunk, run - at);
      block.pieces = product.lists.pieces + tap * table.tile_rows;
      block.piece_offset = product.offset + at;
      block.b = product.filter + (tap * run + at) * kPanelColumns;
      block.bias = first && p.bias != nullptr ? p.bias + product.channel : nullptr;
      block.add = block.c = sums_apart ? product.sums : y;
      block.ldc = block.ld_add = sums_apart ? product.n : p.y_pixel_stride;
      block.narrow_c = block.narrow_add = false;
      if (first) {
        const int64_t from = product.pixel * p.residual_pixel_stride + product.channel;
        block.add = p.residual == nullptr ? nullptr : element(p.residual, from, p.narrow_residual);
        block.ld_add = p.residual_pixel_stride;
        block.narrow_add = p.narrow_residual;
      }
      const bool last = tap + taps_per_block >= taps && at + chunk >= run;
      block.fetch_c = is_far_away && (sums_apart ? last : first);
      if (last && p.narrow_y) {
        block.c = y;
        block.ldc = p.y_pixel_stride;
        block.narrow_c = true;
      }
      set_activation(block, last ? p.activation : Activation{});
      table.gemm_block(block);
      first = false;
    }
}

}  // namespace tenon::cpu
