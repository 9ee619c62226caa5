// Winograd convolution: tiles of 6x6 inputs are transformed to 36 values per channel
// ("frequencies"), multiplied by transformed filters as 36 matrix products, and transformed back to
// 4x4 outputs; or lines of 6 inputs to 6 values and 4 outputs; or with 3 in the place of 4; or
// tiles of 8x8 to 64 values and 6x6 outputs. A block
// of tiles goes through all three while it is in L2. Taps in depth, and groups of taps, are summed
// by the products.
#include "device/cpu/kernels/winograd.h"

#include <algorithm>

#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/winograd_plan.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kColumns = kWinogradColumns;

// What a block computes: row i of its products is of tile i % tiles of plane i / tiles. Without
// taps in depth tiles are counted through all planes of all images.
struct Part {
  int64_t tile = 0, tiles = 0;
  int64_t planes = 1;
  int64_t out_plane = 0;                // of all images
  int64_t first_depth = 0;              // of the inputs of tap 0
  int64_t in_plane = 0, in_planes = 1;  // rows of v are of so many planes, in the same way
  int64_t in_depth = 0;                 // of the first of them
  int64_t rows() const { return planes * tiles; }
};

Part part_of(const ConvParams& p, const WinogradPlan& plan, int64_t block) {
  Part part;
  part.tile = block % plan.tile_blocks * plan.block;
  part.tiles = std::min(plan.block, plan.tiles - part.tile);
  if (plan.taps() == 1) return part;
  const int64_t od = block / plan.tile_blocks % plan.plane_blocks * plan.planes;
  const int64_t image = block / plan.tile_blocks / plan.plane_blocks;
  part.planes = std::min(plan.planes, p.out[0] - od);
  part.out_plane = image * p.out[0] + od;
  part.first_depth = od * p.stride[0] - p.pad_begin[0];
  const int64_t end =
      part.first_depth + (part.planes - 1) * p.stride[0] + (p.kernel[0] - 1) * p.dilation[0] + 1;
  part.in_depth = std::clamp<int64_t>(part.first_depth, 0, p.in[0]);
  part.in_planes = std::max<int64_t>(0, std::min(end, p.in[0]) - part.in_depth);
  part.in_plane = image * p.in[0] + part.in_depth;
  return part;
}

// Lists what rows of v the products' rows read for each tap, as GemmBlock::pieces.
void list_planes(const ConvParams& p, const WinogradPlan& plan, const Part& part, float* v,
                 int64_t tile_rows, const float** pieces) {
  const int64_t zero_row = plan.zero_row();
  for (int64_t f = 0; f < plan.frequencies(); ++f)
    std::fill_n(v + f * plan.v_frequency + zero_row, plan.run, 0.0f);
  for (int64_t row = 0; row < part.rows(); row += tile_rows)
    for (int64_t tap = 0; tap < plan.taps(); ++tap, pieces += tile_rows) {
      bool any = false;
      for (int64_t r = row; r < std::min(row + tile_rows, part.rows()); ++r) {
        const int64_t plane =
            part.first_depth + r / part.tiles * p.stride[0] + tap * p.dilation[0] - part.in_depth;
        const bool inside = plane >= 0 && plane < part.in_planes;
        const int64_t from = (plane * part.tiles + r % part.tiles) * plan.run;
        pieces[r - row] = v + (inside ? from : zero_row);
        any |= inside;
      }
      if (!any) pieces[0] = nullptr;
    }
}

// A tile's place in its plane, which is counted from that of the first tile.
struct Place {
  int64_t plane, row, column, inner;
};
Place place_of(const WinogradPlan& plan, int64_t tile) {
  const int64_t rows = plan.rows.tiles(), columns = plan.columns.tiles();
  return {tile / plan.inner / columns / rows, tile / plan.inner / columns % rows,
          tile / plan.inner % columns, tile % plan.inner};
}

// Transforms the inputs of row `row` of v.
void transform_input(const ConvParams& p, const WinogradPlan& plan, const Part& part, int64_t row,
                     float* v, const KernelTable& table) {
  const Place at = place_of(plan, part.tile + row % part.tiles);
  const int64_t plane = part.in_plane + row / part.tiles + at.plane;
  const int64_t first_row = plan.rows.first(at.row) - plan.rows.pad;
  const int64_t first_column = plan.columns.first(at.column) - plan.columns.pad;
  const int64_t line = plan.columns.in * plan.inner;
  const ChannelPart whole{p.x, p.in_channels, p.x_pixel_stride};
  WinogradInput w;
  w.side = static_cast<int>(plan.kernel.inputs);
  w.is_line = plan.is_line();
  w.v_frequency = plan.v_frequency;
  w.v = v + row * plan.run;
  for (int64_t i = 0; i < plan.kernel.rows(); ++i)
    for (int64_t j = 0; j < plan.kernel.columns(); ++j) {
      const int64_t ih = first_row + plan.kernel.side * i * plan.rows.dilation;
      const int64_t iw = first_column + plan.kernel.side * j * plan.columns.dilation;
      const int64_t pixel = (plane * plan.rows.in + ih) * line + iw * plan.inner + at.inner;
      w.row_begin = plan.rows.until(ih, 0, w.side);
      w.row_end = plan.rows.until(ih, plan.rows.in, w.side);
      w.column_begin = plan.columns.until(iw, 0, w.side);
      w.column_end = plan.columns.until(iw, plan.columns.in, w.side);
      for (const ChannelPart& x : p.parts.empty() ? std::span(&whole, 1) : p.parts) {
        w.x = x.x + pixel * x.pixel_stride;
        w.x_pixel = plan.columns.dilation * plan.inner * x.pixel_stride;
        w.x_row = plan.rows.dilation * line * x.pixel_stride;
        w.channels = x.channels;
        table.winograd_input(w);
        w.v += x.channels;
      }
    }
}

// Outputs that are rounded after an activation.
void round_activated(WinogradOutput w, const KernelTable& table) {
  constexpr int64_t kMostOut = WinogradOutput::kMostOut;
  float tile[kMostOut * kMostOut * kColumns];
  const int64_t line = w.outputs * kColumns, all = (w.is_line ? 1 : w.outputs) * line;
  std::fill_n(tile, all, 0.0f);
  auto* y = reinterpret_cast<uint16_t*>(w.y);
  const int64_t y_row = w.y_row, y_pixel = w.y_pixel;
  w.y = tile;
  w.y_row = line;
  w.y_pixel = kColumns;
  w.narrow_y = false;
  table.winograd_output(w);
  table.activate(w.post, tile, tile, static_cast<size_t>(all));
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t j = 0; j < w.columns; ++j)
      table.round_bf16(tile + i * line + j * kColumns, y + i * y_row + j * y_pixel, w.channels);
}

void transform_output(const ConvParams& p, const WinogradPlan& plan, const Part& part, int64_t row,
                      const float* m, int64_t channel, const KernelTable& table) {
  const Place at = place_of(plan, part.tile + row % part.tiles);
  const int64_t plane = part.out_plane + row / part.tiles + at.plane;
  const int64_t oh = plan.rows.first(at.row), ow = plan.columns.first(at.column);
  const int64_t line = plan.columns.out * plan.inner;
  const int64_t pixel = (plane * plan.rows.out + oh) * line + ow * plan.inner + at.inner;
  WinogradOutput w;
  w.side = static_cast<int>(plan.kernel.inputs);
  w.is_line = plan.is_line();
  w.outputs = static_cast<int>(plan.columns.outputs);
  w.m = m + row * kColumns;
  w.m_frequency = plan.m_frequency;
  w.channels = std::min(kColumns, p.out_channels - channel);
  w.rows = plan.rows.until(oh, plan.rows.out, plan.rows.outputs);
  w.columns = plan.columns.until(ow, plan.columns.out, plan.columns.outputs);
  const int64_t pixels_apart = plan.columns.dilation * plan.inner;
  const int64_t rows_apart = plan.rows.dilation * line;
  w.y_pixel = pixels_apart * p.y_pixel_stride;
  w.y_row = rows_apart * p.y_pixel_stride;
  w.y = element(p.y, pixel * p.y_pixel_stride + channel, p.narrow_y);
  w.narrow_y = p.narrow_y;
  w.narrow_add = p.narrow_residual;
  w.bias = p.bias == nullptr ? nullptr : p.bias + channel;
  w.add_pixel = pixels_apart * p.residual_pixel_stride;
  w.add_row = rows_apart * p.residual_pixel_stride;
  if (p.residual != nullptr)
    w.add = element(p.residual, pixel * p.residual_pixel_stride + channel, p.narrow_residual);
  set_activation(w, p.activation);
  if (w.narrow_y && w.post.kind != ActivationKind::kNone) {
    round_activated(w, table);
    return;
  }
  table.winograd_output(w);
  if (w.post.kind == ActivationKind::kNone) return;
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t j = 0; j < w.columns; ++j) {
      float* const y = w.y + i * w.y_row + j * w.y_pixel;
      table.activate(w.post, y, y, static_cast<size_t>(w.channels));
    }
}

// The products of a block by the filters of one block of columns, and their outputs.
void multiply(const ConvParams& p, const WinogradPlan& plan, const Part& part, int64_t columns,
              const float* v, const float* const* pieces, float* m, const KernelTable& table) {
  const int64_t channel = columns * kColumns, k = plan.taps() * plan.run;
  const int64_t panels = ceil_div(std::min(kColumns, p.out_channels - channel), kPanelColumns);
  GemmBlock block;
  block.m = part.rows();
  block.n = block.next_columns = panels * kPanelColumns;
  block.lda = block.run = plan.run;
  block.taps = block.tile_taps = plan.taps();
  if (plan.taps() > 1) block.pieces = pieces;
  block.b_panel_stride = k * kPanelColumns;
  block.ldc = kColumns;
  set_activation(block, {});
  for (int64_t f = 0; f < plan.frequencies(); ++f) {
    if (plan.taps() > 1)
      block.piece_offset = f * plan.v_frequency;
    else
      block.a = v + f * plan.v_frequency;
    block.b = p.filter + (plan.frequencies() * channel + f * panels * kPanelColumns) * k;
    block.c = m + f * plan.m_frequency;
    table.gemm_block(block);
  }
  for (int64_t i = 0; i < block.m; ++i) transform_output(p, plan, part, i, m, channel, table);
}

// The same by a filter of panels, transformed in `b` for some channels at a time.
void multiply_panels(const ConvParams& p, const WinogradPlan& plan, const Part& part,
                     int64_t columns, const float* v, float* m, float* b,
                     const KernelTable& table) {
  const int64_t channel = columns * kColumns;
  GemmBlock block;
  block.m = part.rows();
  block.n = block.next_columns = std::min(kColumns, p.out_channels - channel);
  block.lda = plan.run;
  block.b_panel_stride = plan.b_panel();
  block.ldc = block.ld_add = kColumns;
  set_activation(block, {});
  WinogradFilter w;
  w.tap = p.in_channels * kPanelColumns;
  const int64_t panel_floats = 9 * w.tap;
  w.frequency = plan.b_frequency();
  for (int64_t first = 0; first < p.in_channels; first += plan.b_channels) {
    w.channels = block.run = std::min(plan.b_channels, p.in_channels - first);
    for (int64_t panel = 0; panel * kPanelColumns < block.n; ++panel) {
      w.filter =
          p.filter + (channel / kPanelColumns + panel) * panel_floats + first * kPanelColumns;
      w.values = b + panel * plan.b_panel();
      table.winograd_filter(w);
    }
    for (int64_t f = 0; f < plan.frequencies(); ++f) {
      block.a = v + f * plan.v_frequency + first;
      block.b = b + f * plan.b_frequency();
      block.c = m + f * plan.m_frequency;
      if (first > 0) block.add = block.c;
      table.gemm_block(block);
    }
  }
  for (int64_t i = 0; i < block.m; ++i) transform_output(p, plan, part, i, m, channel, table);
}

void run(const ConvParams& p, const WinogradPlan& plan, ThreadPool& pool, void* scratch,
         const KernelTable& table) {
  if (plan.tiles <= 0 || plan.planes <= 0) return;
  const int threads = pool.threads();
  char* const products = static_cast<char*>(scratch) + slots_bytes(plan.v_floats(), threads);
  char* const filters = products + slots_bytes(plan.m_floats(), threads);
  const auto compute = [&](int64_t block, int64_t begin, int64_t end, int64_t slot) {
    float* const v = slot_floats(scratch, slot, plan.v_floats());
    float* const m = slot_floats(products, slot, plan.m_floats());
    float* const b = slot_floats(filters, slot, plan.b_floats());
    auto** const pieces = reinterpret_cast<const float**>(v + plan.v_floats() - 2 * plan.pieces);
    const Part part = part_of(p, plan, block);
    if (plan.taps() > 1) list_planes(p, plan, part, v, table.tile_rows, pieces);
    for (int64_t i = 0; i < part.in_planes * part.tiles; ++i)
      transform_input(p, plan, part, i, v, table);
    for (int64_t columns = begin; columns < end; ++columns)
      if (plan.b_channels > 0)
        multiply_panels(p, plan, part, columns, v, m, b, table);
      else
        multiply(p, plan, part, columns, v, pieces, m, table);
  };
  const int64_t tasks = plan.by_columns ? threads : plan.blocks;
  parallel_with_slots(pool, tasks, [&](int64_t task, int64_t slot) {
    const int64_t columns = plan.column_blocks;
    if (!plan.by_columns) return compute(task, 0, columns, slot);
    for (int64_t block = 0; block < plan.blocks; ++block)
      compute(block, columns * task / tasks, columns * (task + 1) / tasks, slot);
  });
}

int64_t scratch_bytes(const ConvParams& p, int threads, const KernelTable& table,
                      WinogradForm form) {
  const WinogradPlan plan = plan_winograd(p, threads, table.tile_rows, form);
  return slots_bytes(plan.v_floats(), threads) + slots_bytes(plan.m_floats(), threads) +
         slots_bytes(plan.b_floats(), threads);
}

void run(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table,
         WinogradForm form) {
  run(p, plan_winograd(p, pool.threads(), table.tile_rows, form), pool, scratch, table);
}

}  // namespace

int64_t winograd_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table) {
  return scratch_bytes(p, threads, table, WinogradForm::kKept);
}
void run_winograd(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  run(p, pool, scratch, table, WinogradForm::kKept);
}
int64_t winograd_f6_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table) {
  return scratch_bytes(p, threads, table, WinogradForm::kLarge);
}
void run_winograd_f6(const ConvParams& p, ThreadPool& pool, void* scratch,
                     const KernelTable& table) {
  run(p, pool, scratch, table, WinogradForm::kLarge);
}
int64_t winograd_panels_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table) {
  return scratch_bytes(p, threads, table, WinogradForm::kPanels);
}
void run_winograd_panels(const ConvParams& p, ThreadPool& pool, void* scratch,
                         const KernelTable& table) {
  run(p, pool, scratch, table, WinogradForm::kPanels);
}

}  // namespace tenon::cpu
