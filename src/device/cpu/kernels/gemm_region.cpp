// Cache blocking of products on one thread, and how a product is dealt to several.
#include "device/cpu/kernels/gemm_region.h"

#include <algorithm>
#include <cstring>

#include "base/numbers.h"
#include "device/cpu/kernels/pack.h"

namespace tenon::cpu {
namespace {

// A panel of this many rows streams from L2 while the tile's rows of A stay in L1.
constexpr int64_t kMaxDepth = 1024;
// Floats of A that may stay in L2 beside it.
constexpr int64_t kMaxAFloats = 96 << 10;

struct Cut {
  int64_t depth_blocks = 1;
  int64_t depth = 0;
  int64_t rows = 0;
  int64_t most_rows = 0;  // of regions that are no higher
};

Cut cut_region(int64_t m, int64_t k, int64_t tile) {
  Cut cut;
  if (m > tile) cut.depth_blocks = std::max<int64_t>(1, ceil_div(k, kMaxDepth));
  cut.depth = ceil_div(k, cut.depth_blocks);
  const int64_t tiles = ceil_div(m, tile);
  const int64_t max_tiles =
      std::max<int64_t>(96 / tile, kMaxAFloats / std::max<int64_t>(1, cut.depth * tile));
  cut.most_rows = std::min(tiles, max_tiles) * tile;
  cut.rows = ceil_div(tiles, std::max<int64_t>(1, ceil_div(tiles, max_tiles))) * tile;
  return cut;
}

// Between rows of a copy, so that each begins in a set of its own.
int64_t copy_stride(int64_t depth) {
  constexpr int64_t kLine = 16;
  return (ceil_div(depth, kLine) | 1) * kLine;
}

void copy_rows(const float* a, int64_t lda, int64_t m, int64_t k, float* to, int64_t stride) {
  for (int64_t r = 0; r < m; ++r)
    std::memcpy(to + r * stride, a + r * lda, static_cast<size_t>(k) * sizeof(float));
}

}  // namespace

int64_t gemm_region_sums(int64_t m, int64_t n, int64_t k, const KernelTable& table) {
  const Cut cut = cut_region(m, k, table.tile_rows);
  return cut.depth_blocks == 1 ? 0 : cut.most_rows * n;
}

int64_t gemm_region_copies(int64_t m, int64_t n, int64_t k, int64_t lda, const KernelTable& table) {
  constexpr int64_t kFloatsOfSets = 1024, kWays = 8, kFewestTiles = 4;
  if (lda % kFloatsOfSets != 0 || std::min<int64_t>(m, table.tile_rows) <= kWays ||
      n < kFewestTiles * table.tile_columns)
    return 0;
  const Cut cut = cut_region(m, k, table.tile_rows);
  return cut.most_rows * copy_stride(cut.depth);
}

void gemm_region(const GemmRegion& region, const KernelTable& table) {
  const Cut cut = cut_region(region.m, region.k, table.tile_rows);
  const int64_t depth_blocks = cut.depth_blocks, depth = cut.depth, rows = cut.rows;
  const bool sums_apart = region.narrow_c && depth_blocks > 1;

  GemmBlock block;
  block.n = region.n;
  block.lda = region.lda;
  block.b_panel_stride = region.b_panel_stride;
  for (int64_t row = 0; row < region.m; row += rows) {
    block.m = std::min(rows, region.m - row);
    float* const c = element(region.c, row * region.ldc, region.narrow_c);
    for (int64_t d = 0; d < depth_blocks; ++d) {
      const int64_t k = d * depth;
      const bool first = d == 0, last = d + 1 == depth_blocks;
      block.run = std::min(depth, region.k - k);
      block.a = region.a + row * region.lda + k;
      if (region.copies != nullptr) {
        copy_rows(block.a, region.lda, block.m, block.run, region.copies, copy_stride(depth));
        block.a = region.copies;
        block.lda = copy_stride(depth);
      }
      block.b = region.b + k * kPanelColumns;
      block.bias = first ? region.bias : nullptr;
      block.add = block.c = sums_apart ? region.sums : c;
      block.fetch_c = region.fetch_c && (sums_apart ? last : first);
      block.ldc = block.ld_add = sums_apart ? region.n : region.ldc;
      block.narrow_c = block.narrow_add = false;
      if (first) {
        block.add = region.residual;
        if (block.add != nullptr)
          block.add = element(block.add, row * region.ld_residual, region.narrow_residual);
        block.ld_add = region.ld_residual;
        block.narrow_add = region.narrow_residual;
      }
      if (last && region.narrow_c) {
        block.c = c;
        block.ldc = region.ldc;
        block.narrow_c = true;
      }
      set_activation(block, last ? region.activation : Activation{});
      table.gemm_block(block);
    }
  }
}

GemmGrid choose_gemm_grid(int64_t m, int64_t n, int64_t k, int threads, const KernelTable& table) {
  // Half a tile of the widest kernels, which is as fast; tiles of fewer rows sum in another order
  // (kChains), and results would differ from those of other numbers of threads.
  constexpr int64_t kRowUnit = 6;
  const int64_t row_units = std::max<int64_t>(1, ceil_div(m, kRowUnit));
  const int64_t column_tiles = std::max<int64_t>(1, ceil_div(n, table.tile_columns));
  const auto grid_of = [&](int64_t rows, int64_t columns) {
    GemmGrid grid;
    grid.row_block = ceil_div(row_units, rows) * kRowUnit;
    grid.column_block = ceil_div(column_tiles, columns) * table.tile_columns;
    grid.row_blocks = std::max<int64_t>(1, ceil_div(m, grid.row_block));
    grid.column_blocks = std::max<int64_t>(1, ceil_div(n, grid.column_block));
    return grid;
  };
  // In cycles: two vectors a cycle, loads of fresh operands at a few floats a cycle, a few
  // microseconds to wake the others.
  const double fresh = 0.15 * static_cast<double>(k);
  const double overhead = 500;
  // Where threads share the columns, rows of A were written by others, and come from their caches.
  constexpr double kOfOthers = 3;
  const auto cost = [&](const GemmGrid& grid) {
    const double rows = static_cast<double>(grid.row_block);
    const double columns = static_cast<double>(grid.column_block);
    const double work = rows * columns / (2.0 * table.lanes) * static_cast<double>(k);
    const double rounds = static_cast<double>(ceil_div(grid.tasks(), threads));
    const double left = rows * (grid.column_blocks > 1 ? kOfOthers : 1);
    return rounds * (work + fresh * (left + columns) + overhead) + (grid.tasks() > 1 ? 3000 : 0);
  };
  GemmGrid best = grid_of(1, 1);
  if (threads <= 1) return best;
  double best_cost = cost(best);
  for (const int64_t per_thread : {1, 2, 3, 4, 6, 8}) {
    const int64_t tasks = per_thread * threads;
    for (int64_t rows = 1; rows <= tasks; ++rows) {
      if (tasks % rows != 0 || rows > row_units || tasks / rows > column_tiles) continue;
      const GemmGrid grid = grid_of(rows, tasks / rows);
      const double c = cost(grid);
      if (c < best_cost) best = grid, best_cost = c;
    }
  }
  return best;
}

}  // namespace tenon::cpu
