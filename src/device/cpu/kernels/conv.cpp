// Convolutions as products of pixels by filters, without copying windows out of the input: the rows
// of the left side are lists of pointers to the pieces of a window.
#include "device/cpu/kernels/conv.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/conv_shift.h"
#include "device/cpu/kernels/depthwise.h"
#include "device/cpu/kernels/gemm.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/pairs.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/windows.h"
#include "device/cpu/kernels/winograd.h"

namespace tenon::cpu {
namespace {

// Rows of a filter panel multiplied at a time: a panel stays in L2 while the pixels pass.
constexpr int64_t kMaxDepth = 1024;
// Floats of input that stay in L2 beside it, and pointers to them.
constexpr int64_t kMaxInputFloats = 96 << 10;
constexpr int64_t kMaxPieces = 8 << 10;
// With fewer channels a whole row of a window is one piece, from a padded copy.
constexpr int64_t kFewChannels = 16;

int64_t volume(const int64_t (&dims)[3]) {
  return dims[0] * dims[1] * dims[2];
}
int64_t output_pixels(const ConvParams& p) {
  return p.batch * volume(p.out);
}
int64_t group_in(const ConvParams& p) {
  return p.in_channels / p.groups;
}
int64_t group_out(const ConvParams& p) {
  return p.out_channels / p.groups;
}

int64_t panel_floats(const ConvParams& p) {
  return packed_conv_filter_floats(volume(p.kernel), group_in(p), p.out_channels, p.groups);
}
void pack_panels(const ConvParams& p, const float* filter, float* packed) {
  pack_conv_filter(volume(p.kernel), group_in(p), p.out_channels, p.groups, filter, packed);
}
void pack_panel_pairs(const ConvParams& p, const BFloat16* filter, float* packed) {
  pack_conv_pairs(volume(p.kernel), 2 * group_in(p), p.out_channels, p.groups, filter, packed);
}

// --- 1x1: a plain product.

const char* pointwise_refusal(const ConvParams& p) {
  if (p.groups != 1) return "the channels are grouped";
  for (int d = 0; d < 3; ++d) {
    if (p.kernel[d] != 1) return "the kernel is larger than 1x1";
    if (p.stride[d] != 1 && p.out[d] > 1) return "the stride is not 1";
    if (p.pad_begin[d] != 0 || p.in[d] != p.out[d]) return "the input is padded or cropped";
  }
  return nullptr;
}
GemmParams product_of(const ConvParams& p) {
  GemmParams g;
  g.m = output_pixels(p);
  g.n = p.out_channels;
  g.k = p.in_channels;
  g.a = p.x;
  g.lda = p.x_pixel_stride;
  g.b = p.filter;
  g.c = p.y;
  g.ldc = p.y_pixel_stride;
  g.bias = p.bias;
  g.residual = p.residual;
  g.ld_residual = p.residual_pixel_stride;
  g.activation = p.activation;
  g.narrow_c = p.narrow_y;
  g.narrow_residual = p.narrow_residual;
  return g;
}
int64_t pointwise_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table) {
  return gemm_scratch_bytes(product_of(p), threads, table);
}
void run_pointwise(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  gemm(product_of(p), pool, scratch, table);
}

// --- Windows by pieces.

// The product of `m` output pixels, given as pieces, by `n` filters; pixels are consecutive in y.
struct PieceProduct {
  int64_t pixel = 0;  // the first
  int64_t m = 0;
  int64_t channel = 0;  // the first output channel
  int64_t n = 0;
  const float* filter = nullptr;  // its panel
  int64_t taps = 0;
  int64_t run = 0;
  const float* const* pieces = nullptr;
  int64_t offset = 0;     // floats from where pieces point
  float* sums = nullptr;  // piece_sums() floats
};

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

// Floats for the sums of m pixels by n filters where several parts of them are rounded in the end.
int64_t piece_sums(const ConvParams& p, int64_t m, int64_t n, int64_t taps, int64_t run) {
  return p.narrow_y && !cut_pieces(taps, run).is_whole ? m * n : 0;
}

void multiply(const ConvParams& p, const PieceProduct& product, const KernelTable& table) {
  const int64_t taps = product.taps, run = product.run;
  const auto [taps_per_block, chunk, is_whole] = cut_pieces(taps, run);
  float* const y = element(p.y, product.pixel * p.y_pixel_stride + product.channel, p.narrow_y);
  const bool sums_apart = p.narrow_y && !is_whole;
  GemmBlock block;
  block.m = product.m;
  block.n = product.n;
  block.tile_taps = taps;
  block.b_panel_stride = taps * run * kPanelColumns;
  bool first = true;
  for (int64_t tap = 0; tap < taps || first; tap += taps_per_block)
    for (int64_t at = 0; at < run || first; at += chunk) {
      block.taps = std::min(taps_per_block, taps - tap);
      block.run = std::min(chunk, run - at);
      block.pieces = product.pieces + tap * table.tile_rows;
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

// A task computes a block of pixels for a few groups, which share the lists of pieces.
struct IndirectPlan {
  GemmGrid grid;
  int64_t groups = 1;  // of a task
  int64_t rows = 0;    // pixels whose pieces are listed at a time
  int64_t pieces = 0;
  int64_t sums = 0;
  int64_t slot_floats() const { return round_to_lines(8 * pieces) / 4 + sums; }
};

IndirectPlan plan_indirect(const ConvParams& p, int threads, const KernelTable& table) {
  const int64_t taps = std::max<int64_t>(1, volume(p.kernel));
  const int64_t run = std::max<int64_t>(1, group_in(p));
  IndirectPlan plan;
  const bool by_groups = threads > 1 && p.groups >= 4 * threads;
  plan.groups = by_groups ? ceil_div(p.groups, 2 * threads) : p.groups;
  plan.grid =
      choose_gemm_grid(output_pixels(p), group_out(p), taps * run, by_groups ? 1 : threads, table);
  int64_t fresh = 1;  // input pixels an output pixel needs that its neighbour does not
  for (int d = 0; d < 3; ++d) fresh *= std::min(p.stride[d], p.kernel[d]);
  const int64_t most = std::min(kMaxInputFloats / (plan.groups * run * std::max<int64_t>(1, fresh)),
                                kMaxPieces / taps);
  const int64_t tiles = ceil_div(std::max<int64_t>(1, plan.grid.row_block), table.tile_rows);
  const int64_t max_tiles = std::max<int64_t>(96 / table.tile_rows, most / table.tile_rows);
  plan.rows = ceil_div(tiles, ceil_div(tiles, max_tiles)) * table.tile_rows;
  plan.pieces = plan.rows * taps;
  plan.sums = piece_sums(p, plan.rows, plan.grid.column_block, taps, run);
  return plan;
}

// Output pixels one after the other, all images counted through.
struct Pixel {
  int64_t n, od, oh, ow;

  Pixel(const ConvParams& p, int64_t index)
      : n(index / volume(p.out)),
        od(index / (p.out[1] * p.out[2]) % p.out[0]),
        oh(index / p.out[2] % p.out[1]),
        ow(index % p.out[2]) {}
  void next(const ConvParams& p) {
    if (++ow < p.out[2]) return;
    ow = 0;
    if (++oh < p.out[1]) return;
    oh = 0;
    if (++od < p.out[0]) return;
    od = 0;
    ++n;
  }
};

// Where the windows of a tile's pixels begin: input positions, and floats from the input's first.
struct TileStarts {
  static constexpr int64_t kMost = 32;
  int64_t at[kMost], depth[kMost], height[kMost], width[kMost];
};

// Lists the pieces of output pixels [begin, end), tile by tile. Taps that are outside for all
// pixels of a tile are marked, and then not multiplied.
void list_pieces(const ConvParams& p, int64_t begin, int64_t end, const float* x, const float* zero,
                 int64_t tile_rows, const float** pieces) {
  const WindowDim depth = window_dim(p, 0), height = window_dim(p, 1), width = window_dim(p, 2);
  const Range whole[] = {depth.interior(), height.interior(), width.interior()};
  const auto holds = [](const Range& range, int64_t i) {
    return i >= range.begin && i < range.end;
  };
  Pixel pixel(p, begin);
  TileStarts s;
  for (; begin < end; begin += tile_rows) {
    const int64_t rows = std::min(tile_rows, end - begin);
    bool inside = true;
    for (int64_t r = 0; r < rows; ++r, pixel.next(p)) {
      s.depth[r] = depth.start(pixel.od);
      s.height[r] = height.start(pixel.oh);
      s.width[r] = width.start(pixel.ow);
      s.at[r] =
          (((pixel.n * depth.in + s.depth[r]) * height.in + s.height[r]) * width.in + s.width[r]) *
          p.x_pixel_stride;
      inside &= holds(whole[0], pixel.od) & holds(whole[1], pixel.oh) & holds(whole[2], pixel.ow);
    }
    for (int64_t kd = 0; kd < depth.kernel; ++kd)
      for (int64_t kh = 0; kh < height.kernel; ++kh)
        for (int64_t kw = 0; kw < width.kernel; ++kw, pieces += tile_rows) {
          const int64_t id = kd * depth.dilation, ih = kh * height.dilation;
          const int64_t iw = kw * width.dilation;
          const int64_t at = ((id * height.in + ih) * width.in + iw) * p.x_pixel_stride;
          if (inside) {
            for (int64_t r = 0; r < rows; ++r) pieces[r] = x + s.at[r] + at;
            continue;
          }
          bool any = false;
          for (int64_t r = 0; r < rows; ++r) {
            const auto is_in = [](int64_t i, int64_t size) {
              return static_cast<uint64_t>(i) < static_cast<uint64_t>(size);
            };
            const bool here = is_in(s.depth[r] + id, depth.in) &
                              is_in(s.height[r] + ih, height.in) & is_in(s.width[r] + iw, width.in);
            pieces[r] = here ? x + s.at[r] + at : zero;
            any |= here;
          }
          if (!any) pieces[0] = nullptr;
        }
  }
}

const char* indirect_refusal(const ConvParams&) {
  return nullptr;
}
int64_t indirect_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table) {
  return round_to_lines(p.in_channels * 4) +
         slots_bytes(plan_indirect(p, threads, table).slot_floats(), threads);
}
void run_indirect(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  const int64_t pixels = output_pixels(p), columns = group_out(p), run = group_in(p);
  if (pixels <= 0 || p.out_channels <= 0) return;
  const IndirectPlan plan = plan_indirect(p, pool.threads(), table);
  float* const zero = static_cast<float*>(scratch);
  std::fill_n(zero, p.in_channels, 0.0f);
  char* const slots = static_cast<char*>(scratch) + round_to_lines(p.in_channels * 4);
  const int64_t filter_floats = panel_floats(p) / p.groups;
  const int64_t group_tasks = plan.grid.tasks();
  parallel_with_slots(
      pool, ceil_div(p.groups, plan.groups) * group_tasks, [&](int64_t task, int64_t slot) {
        const int64_t first_group = task / group_tasks * plan.groups, block = task % group_tasks;
        const int64_t end_group = std::min(p.groups, first_group + plan.groups);
        const int64_t column = block % plan.grid.column_blocks * plan.grid.column_block;
        const int64_t begin = block / plan.grid.column_blocks * plan.grid.row_block;
        const int64_t end = std::min(pixels, begin + plan.grid.row_block);
        float* const own = slot_floats(slots, slot, plan.slot_floats());
        auto** const pieces = reinterpret_cast<const float**>(own);
        PieceProduct product;
        product.taps = volume(p.kernel);
        product.run = run;
        product.n = std::min(plan.grid.column_block, columns - column);
        product.pieces = pieces;
        product.sums = own + plan.slot_floats() - plan.sums;
        for (int64_t pixel = begin; pixel < end; pixel += plan.rows) {
          product.pixel = pixel;
          product.m = std::min(plan.rows, end - pixel);
          list_pieces(p, pixel, pixel + product.m, p.x, zero, table.tile_rows, pieces);
          for (int64_t group = first_group; group < end_group; ++group) {
            product.offset = group * run;
            product.channel = group * columns + column;
            product.filter = p.filter + group * filter_floats + column * product.taps * run;
            multiply(p, product, table);
          }
        }
      });
}

// --- Few channels: windows' rows from a padded copy of a strip of the input.

// A task computes `rows` rows of `columns` output pixels.
struct StripPlan {
  int64_t rows = 1;
  int64_t columns = 1;
  int64_t row_blocks = 0;
  int64_t column_blocks = 0;
  int64_t width = 0;   // pixels in a row of the strip
  int64_t height = 0;  // rows in a plane
  int64_t strip_floats = 0;
  int64_t padded = 0;  // pixels of whole tiles
  int64_t taps = 0;
  int64_t sums = 0;
  int64_t slot_floats() const {
    return round_to_lines(strip_floats * 4) / 4 + 2 * padded * (taps + 1) + sums;
  }
};

StripPlan plan_strip(const ConvParams& p, int threads, const KernelTable& table) {
  constexpr int64_t kPixels = 768;
  StripPlan plan;
  const int64_t out_h = std::max<int64_t>(1, p.out[1]), out_w = std::max<int64_t>(1, p.out[2]);
  plan.taps = p.kernel[0] * p.kernel[1];
  int64_t pixels = std::max<int64_t>(table.tile_rows, std::min(kPixels, kMaxPieces / plan.taps));
  const int64_t share = ceil_div(output_pixels(p), 4 * threads);
  if (threads > 1) pixels = std::max<int64_t>(table.tile_rows, std::min(pixels, share));
  plan.columns = ceil_div(out_w, ceil_div(out_w, pixels));
  plan.rows = std::clamp<int64_t>(pixels / plan.columns, 1, out_h);
  plan.rows = ceil_div(out_h, ceil_div(out_h, plan.rows));
  plan.row_blocks = ceil_div(p.out[1], plan.rows);
  plan.column_blocks = ceil_div(p.out[2], plan.columns);
  plan.width = (plan.columns - 1) * p.stride[2] + p.kernel[2];
  plan.height = (plan.rows - 1) * p.stride[1] + (p.kernel[1] - 1) * p.dilation[1] + 1;
  plan.strip_floats = p.kernel[0] * plan.height * plan.width * p.in_channels;
  plan.padded = round_up(plan.rows * plan.columns, table.tile_rows);
  plan.sums = piece_sums(p, plan.padded, p.out_channels, plan.taps, p.kernel[2] * p.in_channels);
  return plan;
}

const char* strip_refusal(const ConvParams& p) {
  if (p.groups != 1) return "the channels are grouped";
  if (p.in_channels >= kFewChannels) return "enough channels to read windows in place";
  if (p.kernel[2] <= 1 || volume(p.kernel) == 0) return "the kernel's rows are single pixels";
  if (p.dilation[2] != 1) return "the kernel's rows are dilated";
  return nullptr;
}

// Copies the strip below output row `oh`, column `ow` of plane `od` of image n, zeros outside.
void fill_strip(const ConvParams& p, const StripPlan& plan, int64_t n, int64_t od, int64_t oh,
                int64_t ow, float* strip) {
  const WindowDim depth = window_dim(p, 0), height = window_dim(p, 1), width = window_dim(p, 2);
  const int64_t c = p.in_channels, first = width.start(ow);
  const int64_t begin = std::clamp<int64_t>(-first, 0, plan.width);
  const int64_t end = std::clamp<int64_t>(width.in - first, begin, plan.width);
  for (int64_t kd = 0; kd < depth.kernel; ++kd)
    for (int64_t r = 0; r < plan.height; ++r, strip += plan.width * c) {
      const int64_t id = depth.start(od) + kd * depth.dilation, ih = height.start(oh) + r;
      if (id < 0 || id >= depth.in || ih < 0 || ih >= height.in) {
        std::fill_n(strip, plan.width * c, 0.0f);
        continue;
      }
      const float* x = p.x + ((((n * depth.in + id) * height.in + ih) * width.in) + first + begin) *
                                 p.x_pixel_stride;
      std::fill_n(strip, begin * c, 0.0f);
      if (p.x_pixel_stride == c)
        std::copy_n(x, (end - begin) * c, strip + begin * c);
      else
        for (int64_t i = begin; i < end; ++i, x += p.x_pixel_stride)
          std::copy_n(x, c, strip + i * c);
      std::fill_n(strip + end * c, (plan.width - end) * c, 0.0f);
    }
}

// Lists the pieces of `pixels` pixels of a strip, of which pixel i begins at offsets[i]; `offsets`
// has room for whole tiles.
void list_strip_pieces(const ConvParams& p, const StripPlan& plan, int64_t pixels,
                       const float* strip, const int64_t* offsets, int64_t tile_rows,
                       const float** pieces) {
  for (int64_t pixel = 0; pixel < pixels; pixel += tile_rows, offsets += tile_rows)
    for (int64_t tap = 0; tap < plan.taps; ++tap, pieces += tile_rows) {
      const int64_t row = tap / p.kernel[1] * plan.height + tap % p.kernel[1] * p.dilation[1];
      const float* const first = strip + row * plan.width * p.in_channels;
      for (int64_t r = 0; r < tile_rows; ++r) pieces[r] = first + offsets[r];
    }
}

int64_t strip_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table) {
  return slots_bytes(plan_strip(p, threads, table).slot_floats(), threads);
}
void run_strip(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  if (output_pixels(p) <= 0 || p.out_channels <= 0) return;
  const StripPlan plan = plan_strip(p, pool.threads(), table);
  const int64_t tasks = p.batch * p.out[0] * plan.row_blocks * plan.column_blocks;
  parallel_with_slots(pool, tasks, [&](int64_t task, int64_t slot) {
    const int64_t ow = task % plan.column_blocks * plan.columns;
    const int64_t oh = task / plan.column_blocks % plan.row_blocks * plan.rows;
    const int64_t plane = task / plan.column_blocks / plan.row_blocks;
    float* const strip = slot_floats(scratch, slot, plan.slot_floats());
    auto* const offsets =
        reinterpret_cast<int64_t*>(strip + round_to_lines(plan.strip_floats * 4) / 4);
    auto** const pieces = reinterpret_cast<const float**>(offsets + plan.padded);
    fill_strip(p, plan, plane / p.out[0], plane % p.out[0], oh, ow, strip);

    const int64_t rows = std::min(plan.rows, p.out[1] - oh);
    const int64_t columns = std::min(plan.columns, p.out[2] - ow);
    PieceProduct product;
    product.taps = plan.taps;
    product.run = p.kernel[2] * p.in_channels;
    product.n = p.out_channels;
    product.filter = p.filter;
    product.pieces = pieces;
    product.sums = strip + plan.slot_floats() - plan.sums;
    product.m = rows * columns;
    product.pixel = (plane * p.out[1] + oh) * p.out[2] + ow;
    int64_t* offset = offsets;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < columns; ++i)
        *offset++ = (r * p.stride[1] * plan.width + i * p.stride[2]) * p.in_channels;
    std::fill(offset, offsets + plan.padded, 0);
    list_strip_pieces(p, plan, product.m, strip, offsets, table.tile_rows, pieces);
    multiply(p, product, table);
  });
}

// --- Narrow groups: several of them as one of block-diagonal filters, which costs no more
// multiplications of vectors than a vector per group. What is not finite in one group spreads to
// those merged with it.

int64_t merged_groups(const ConvParams& p) {
  const int64_t out = std::max<int64_t>(1, group_out(p));
  for (int64_t count = std::min(p.groups, kPanelColumns / out); count > 1; --count)
    if (p.groups % count == 0) return count;
  return 1;
}
ConvParams merged(const ConvParams& p) {
  ConvParams q = p;
  q.groups = p.groups / merged_groups(p);
  return q;
}
const char* merged_refusal(const ConvParams& p) {
  if (p.groups == 1) return "the channels are not grouped";
  return merged_groups(p) == 1 ? "a group fills a vector" : nullptr;
}
int64_t merged_floats(const ConvParams& p) {
  return panel_floats(merged(p));
}
void pack_merged(const ConvParams& p, const float* filter, float* packed) {
  const ConvParams q = merged(p);
  const int64_t in = group_in(p), out = group_out(p), count = merged_groups(p);
  std::vector<float> blocks(static_cast<size_t>(volume(p.kernel) * group_in(q) * p.out_channels));
  float* to = blocks.data();
  for (int64_t tap = 0; tap < volume(p.kernel); ++tap)
    for (int64_t i = 0; i < group_in(q); ++i)
      for (int64_t o = 0; o < p.out_channels; ++o, ++to)
        if (o / out % count == i / in) *to = filter[(tap * in + i % in) * p.out_channels + o];
  pack_panels(q, blocks.data(), packed);
}
int64_t merged_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table) {
  return indirect_scratch_bytes(merged(p), threads, table);
}
void run_merged(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  run_indirect(merged(p), pool, scratch, table);
}

constexpr ConvMethod kMethods[] = {
    {"depthwise", "depthwise", depthwise_refusal, depthwise_filter_floats, pack_depthwise,
     depthwise_scratch_bytes, run_depthwise, ChainRole::kDepthwise},
    {"gemm", "panels", pointwise_refusal, panel_floats, pack_panels, pointwise_scratch_bytes,
     run_pointwise, ChainRole::kPointwise, false, pack_panel_pairs, true},
    {"winograd", "winograd", winograd_refusal, winograd_filter_floats, pack_winograd,
     winograd_scratch_bytes, run_winograd, ChainRole::kNone, true, nullptr, true},
    {"gemm_shift", "shifted", shift_refusal, shift_filter_floats, pack_shift, shift_scratch_bytes,
     run_shift, ChainRole::kNone, false, pack_shift_pairs},
    {"gemm_strip", "panels", strip_refusal, panel_floats, pack_panels, strip_scratch_bytes,
     run_strip, ChainRole::kNone, false, pack_panel_pairs, true},
    {"gemm_merged", "merged_panels", merged_refusal, merged_floats, pack_merged,
     merged_scratch_bytes, run_merged},
    {"gemm_indirect", "panels", indirect_refusal, panel_floats, pack_panels, indirect_scratch_bytes,
     run_indirect, ChainRole::kNone, false, pack_panel_pairs, true},
};
static_assert(std::size(kMethods) == kConvMethods);

}  // namespace

std::span<const ConvMethod> conv_methods() {
  return kMethods;
}

}  // namespace tenon::cpu
