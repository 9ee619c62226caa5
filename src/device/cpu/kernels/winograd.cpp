// Winograd convolution: tiles of 6x6 inputs are transformed to 36 values per channel
// ("frequencies"), multiplied by transformed filters as 36 matrix products, and transformed back to
// 4x4 outputs; or lines of 6 inputs to 6 values and 4 outputs; or with 3 in the place of 4. A block
// of tiles goes through all three while it is in L2. Taps in depth, and groups of taps, are summed
// by the products.
#include "device/cpu/kernels/winograd.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kSide = WinogradInput::kSide;
constexpr int64_t kOut = WinogradOutput::kOut;
constexpr int64_t kColumns = kWinogradColumns;
// Floats of a block's transformed inputs and products; most of a small L2.
constexpr int64_t kBlockFloats = 160 << 10;
// A line more than a multiple of large powers of two, which share a set of the caches.
constexpr int64_t kLineFloats = 16;
// Rows of a block that take as long to multiply as filters to read.
constexpr int64_t kFewRows = 18;
// Planes of outputs whose inputs are transformed once for all taps in depth.
constexpr int64_t kPlanes = 8;

// A dim cut into tiles. Dilated windows are windows of every so manieth pixel.
struct Axis {
  int64_t in = 1, out = 1, dilation = 1, pad = 0;
  int64_t outputs = kOut;  // of a tile
  int64_t tiles() const { return dilation * ceil_div(ceil_div(out, dilation), outputs); }
  int64_t first(int64_t tile) const {
    return tile / dilation * outputs * dilation + tile % dilation;
  }
  // Of `most` pixels from `begin` on, the first behind those before `end`.
  int until(int64_t begin, int64_t end, int64_t most) const {
    return static_cast<int>(std::clamp<int64_t>(ceil_div(end - begin, dilation), 0, most));
  }
};

struct Plan {
  WinogradTaps kernel;
  int64_t run = 0;        // values of a tile at a frequency: groups, channels
  Axis rows;              // one pixel where tiles are lines
  Axis columns;           // the dim of lines
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
  bool is_line() const { return kernel.line >= 0; }
  int64_t taps() const { return kernel.depth; }
  int64_t frequencies() const { return is_line() ? kSide : kSide * kSide; }
  int64_t v_floats() const { return frequencies() * v_frequency + 2 * pieces; }
  int64_t m_floats() const { return frequencies() * m_frequency; }
};

Axis axis_of(const ConvParams& p, int d, int64_t outputs) {
  return {p.in[d], p.out[d], p.dilation[d], p.pad_begin[d], outputs};
}

void set_tiles(const ConvParams& p, Plan& plan) {
  plan.kernel = winograd_taps(p);
  const WinogradTaps& taps = plan.kernel;
  plan.run = taps.groups() * p.in_channels;
  plan.columns = axis_of(p, plan.is_line() ? taps.line : 2, taps.outputs());
  if (!plan.is_line()) plan.rows = axis_of(p, 1, taps.outputs());
  for (int d = taps.line + 1; plan.is_line() && d < 3; ++d) plan.inner *= p.out[d];
  plan.tiles = plan.rows.tiles() * plan.columns.tiles() * plan.inner;
  if (plan.taps() > 1) return;
  plan.tiles *= p.batch;
  for (int d = 0; d < (plan.is_line() ? taps.line : 1); ++d) plan.tiles *= p.out[d];
}

// Cuts the tiles of a plane into blocks of about `most`: all take the same number of steps on so
// many threads, each as many rows as it has, one a tile of rows for its stores, and some for the
// filters, which every block reads.
void set_blocks(int64_t planes_in_all, int64_t most, int64_t threads, int64_t tile_rows,
                Plan& plan) {
  constexpr int64_t kFilterRows = 4;
  const auto cost_of = [&](int64_t tiles) {
    const int64_t rows = tiles * plan.planes;
    return rows + ceil_div(rows, tile_rows) + kFilterRows;
  };
  // The lists of planes are made for whole tiles of rows.
  const int64_t unit = tile_rows / std::gcd(plan.planes, tile_rows);
  const int64_t limit = round_up(most, unit);
  int64_t best = 0;
  for (int64_t count = ceil_div(plan.tiles, limit); count <= ceil_div(plan.tiles, most) + threads;
       ++count) {
    const int64_t even = ceil_div(plan.tiles, count);
    for (const int64_t block : {even, round_up(even, unit)}) {
      if (plan.taps() > 1 && block != plan.tiles && block % unit != 0) continue;
      const int64_t blocks = planes_in_all * ceil_div(plan.tiles, block);
      const int64_t rounds = ceil_div(blocks, threads);
      const bool one_left = blocks == (rounds - 1) * threads + 1;
      const int64_t rest = plan.tiles - (ceil_div(plan.tiles, block) - 1) * block;
      const int64_t cost = (rounds - 1) * cost_of(block) + cost_of(one_left ? rest : block);
      if (best == 0 || cost < best) best = cost, plan.block = block;
    }
  }
  plan.tile_blocks = ceil_div(plan.tiles, plan.block);
  plan.blocks = planes_in_all * plan.tile_blocks;
}

Plan plan_of(const ConvParams& p, int threads, int64_t tile_rows) {
  Plan plan;
  set_tiles(p, plan);
  int64_t images = 1;
  if (plan.taps() > 1) {
    plan.planes = ceil_div(p.out[0], std::max<int64_t>(1, ceil_div(p.out[0], kPlanes)));
    plan.in_planes =
        std::min(p.in[0], (plan.planes - 1) * p.stride[0] + (p.kernel[0] - 1) * p.dilation[0] + 1);
    images = p.batch;
  }
  const int64_t planes = std::max<int64_t>(1, plan.planes);
  const int64_t in_planes = plan.taps() > 1 ? plan.in_planes : 1;
  plan.column_blocks = ceil_div(p.out_channels, kColumns);
  const int64_t most =
      std::clamp<int64_t>(
          kBlockFloats / (plan.frequencies() * (plan.run * in_planes / planes + kColumns)), 24,
          96) /
      planes;
  plan.plane_blocks = plan.taps() > 1 ? ceil_div(p.out[0], planes) : 1;
  // Threads take blocks of their own, unless filters would be read for so few rows that reading
  // them takes the time. Then all transform the inputs, which takes less than handing them over.
  plan.by_columns = threads > 1 && plan.column_blocks >= 2 * threads &&
                    images * plan.tiles * (plan.taps() > 1 ? p.out[0] : 1) < kFewRows * threads;
  if (plan.tiles > 0)
    set_blocks(images * plan.plane_blocks, std::max<int64_t>(1, most),
               plan.by_columns ? 1 : threads, tile_rows, plan);
  // With taps in depth a row of zeros stands behind the others.
  plan.v_frequency = (plan.block * in_planes + (plan.taps() > 1 ? 1 : 0)) * plan.run + kLineFloats;
  plan.m_frequency = plan.block * planes * kColumns + kLineFloats;
  if (plan.taps() > 1) plan.pieces = plan.taps() * round_up(plan.block * planes, tile_rows);
  return plan;
}

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

Part part_of(const ConvParams& p, const Plan& plan, int64_t block) {
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
void list_planes(const ConvParams& p, const Plan& plan, const Part& part, float* v,
                 int64_t tile_rows, const float** pieces) {
  const int64_t zero_row = plan.v_frequency - kLineFloats - plan.run;
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
Place place_of(const Plan& plan, int64_t tile) {
  const int64_t rows = plan.rows.tiles(), columns = plan.columns.tiles();
  return {tile / plan.inner / columns / rows, tile / plan.inner / columns % rows,
          tile / plan.inner % columns, tile % plan.inner};
}

// Transforms the inputs of row `row` of v.
void transform_input(const ConvParams& p, const Plan& plan, const Part& part, int64_t row, float* v,
                     const KernelTable& table) {
  const Place at = place_of(plan, part.tile + row % part.tiles);
  const int64_t plane = part.in_plane + row / part.tiles + at.plane;
  const int64_t first_row = plan.rows.first(at.row) - plan.rows.pad;
  const int64_t first_column = plan.columns.first(at.column) - plan.columns.pad;
  const int64_t pixel = plan.inner * p.x_pixel_stride, line = plan.columns.in * pixel;
  WinogradInput w;
  w.is_line = plan.is_line();
  w.x_pixel = plan.columns.dilation * pixel;
  w.x_row = plan.rows.dilation * line;
  w.channels = p.in_channels;
  w.v_frequency = plan.v_frequency;
  w.v = v + row * plan.run;
  for (int64_t i = 0; i < plan.kernel.rows(); ++i)
    for (int64_t j = 0; j < plan.kernel.columns(); ++j, w.v += p.in_channels) {
      const int64_t ih = first_row + plan.kernel.side * i * plan.rows.dilation;
      const int64_t iw = first_column + plan.kernel.side * j * plan.columns.dilation;
      w.x = p.x + (plane * plan.rows.in + ih) * line + iw * pixel + at.inner * p.x_pixel_stride;
      w.row_begin = plan.rows.until(ih, 0, kSide);
      w.row_end = plan.rows.until(ih, plan.rows.in, kSide);
      w.column_begin = plan.columns.until(iw, 0, kSide);
      w.column_end = plan.columns.until(iw, plan.columns.in, kSide);
      table.winograd_input(w);
    }
}

// Outputs that are rounded after an activation.
void round_activated(WinogradOutput w, const KernelTable& table) {
  float tile[kOut * kOut * kColumns] = {};
  auto* y = reinterpret_cast<uint16_t*>(w.y);
  const int64_t y_row = w.y_row, y_pixel = w.y_pixel;
  w.y = tile;
  w.y_row = kOut * kColumns;
  w.y_pixel = kColumns;
  w.narrow_y = false;
  table.winograd_output(w);
  table.activate(w.post, tile, tile, std::size(tile));
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t j = 0; j < w.columns; ++j)
      table.round_bf16(tile + (i * kOut + j) * kColumns, y + i * y_row + j * y_pixel, w.channels);
}

void transform_output(const ConvParams& p, const Plan& plan, const Part& part, int64_t row,
                      const float* m, int64_t channel, const KernelTable& table) {
  const Place at = place_of(plan, part.tile + row % part.tiles);
  const int64_t plane = part.out_plane + row / part.tiles + at.plane;
  const int64_t oh = plan.rows.first(at.row), ow = plan.columns.first(at.column);
  const int64_t line = plan.columns.out * plan.inner;
  const int64_t pixel = (plane * plan.rows.out + oh) * line + ow * plan.inner + at.inner;
  WinogradOutput w;
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
void multiply(const ConvParams& p, const Plan& plan, const Part& part, int64_t columns,
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

// `unit` channels of the filter are one of the input.
const char* refusal(const ConvParams& p, int64_t unit) {
  if (p.groups != 1) return "the channels are grouped";
  const int line = winograd_taps(p).line;
  if (line < 0 && (p.kernel[0] < 1 || p.kernel[1] < 2 || p.kernel[2] < 2))
    return "the kernel has no two dims that are next to each other";
  for (int d = 0; d < 3; ++d) {
    if (line < 0 && d == 0 && p.kernel[0] > 1) continue;  // taps in depth may be any
    if (p.stride[d] != 1) return "strided";
    if (p.kernel[d] == 1 && (p.pad_begin[d] != 0 || p.in[d] != p.out[d]))
      return "the input is padded or cropped";
  }
  if (unit * p.in_channels < 2 * kPanelColumns || p.out_channels < kPanelColumns)
    return "few channels: the transforms would cost more than they save";
  // In cycles: two vectors of sixteen multiplied, while filters come from memory; the transforms.
  constexpr double kBytesPerCycle = 7, kTransform = 180, kTransformOfLine = 45;
  const Plan plan = plan_of(p, 1, 12);
  const double in = static_cast<double>(p.in_channels) / 16;
  const double out = static_cast<double>(ceil_div(p.out_channels, kPanelColumns));
  const double planes = plan.taps() == 1 ? 1 : static_cast<double>(p.batch * p.out[0]);
  const double in_planes = plan.taps() == 1
                               ? 1
                               : planes * static_cast<double>(plan.in_planes) /
                                     static_cast<double>(std::max<int64_t>(1, plan.planes));
  const double tiles = static_cast<double>(plan.tiles);
  const double pixels = static_cast<double>(p.batch * p.out[0] * p.out[1] * p.out[2]);
  const double read = 16 * 16 * 4 / kBytesPerCycle;
  const double taps = static_cast<double>(p.kernel[0] * p.kernel[1] * p.kernel[2]);
  const double direct = taps * in * out * std::max(8 * pixels, read);
  const double groups = static_cast<double>(plan.kernel.groups());
  const double products = static_cast<double>(plan.frequencies() * plan.taps()) * groups * in * out;
  const double here = products * std::max(8 * tiles * planes, read) +
                      (plan.is_line() ? kTransformOfLine : kTransform) * tiles *
                          (static_cast<double>(unit) * groups * in * in_planes + out * planes);
  return here < (plan.is_line() ? 0.85 : 0.75) * direct
             ? nullptr
             : "too few pixels to pay for larger filters";
}

}  // namespace

const char* winograd_refusal(const ConvParams& p) {
  return refusal(p, 1);
}

const char* winograd_pairs_refusal(const ConvParams& p) {
  if (p.in_channels % (kPanelColumns / 2) != 0) return "the channels are no whole vectors";
  return refusal(p, 2);
}

int64_t winograd_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table) {
  const Plan plan = plan_of(p, threads, table.tile_rows);
  return slots_bytes(plan.v_floats(), threads) + slots_bytes(plan.m_floats(), threads);
}

void run_winograd(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  const Plan plan = plan_of(p, pool.threads(), table.tile_rows);
  if (plan.tiles <= 0 || plan.planes <= 0) return;
  char* const products = static_cast<char*>(scratch) + slots_bytes(plan.v_floats(), pool.threads());
  const auto compute = [&](int64_t block, int64_t begin, int64_t end, int64_t slot) {
    float* const v = slot_floats(scratch, slot, plan.v_floats());
    float* const m = slot_floats(products, slot, plan.m_floats());
    auto** const pieces = reinterpret_cast<const float**>(v + plan.v_floats() - 2 * plan.pieces);
    const Part part = part_of(p, plan, block);
    if (plan.taps() > 1) list_planes(p, plan, part, v, table.tile_rows, pieces);
    for (int64_t i = 0; i < part.in_planes * part.tiles; ++i)
      transform_input(p, plan, part, i, v, table);
    for (int64_t columns = begin; columns < end; ++columns)
      multiply(p, plan, part, columns, v, pieces, m, table);
  };
  const int64_t tasks = plan.by_columns ? pool.threads() : plan.blocks;
  parallel_with_slots(pool, tasks, [&](int64_t task, int64_t slot) {
    const int64_t columns = plan.column_blocks;
    if (!plan.by_columns) return compute(task, 0, columns, slot);
    for (int64_t block = 0; block < plan.blocks; ++block)
      compute(block, columns * task / tasks, columns * (task + 1) / tasks, slot);
  });
}

}  // namespace tenon::cpu
