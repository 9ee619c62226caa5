// Winograd convolution: tiles of 6x6 inputs are transformed to 36 values per channel
// ("frequencies"), multiplied by transformed filters as 36 matrix products, and transformed back to
// 4x4 outputs. A block of tiles goes through all three while it is in L2.
#include "device/cpu/kernels/winograd.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "base/half.h"
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kSide = WinogradInput::kSide;
constexpr int64_t kOut = WinogradOutput::kOut;
constexpr int64_t kFrequencies = kSide * kSide;
// Output channels that are multiplied and transformed back at a time.
constexpr int64_t kColumns = 2 * kPanelColumns;
// Floats of a block's transformed inputs and products; most of a small L2.
constexpr int64_t kBlockFloats = 160 << 10;
// A line more than a multiple of large powers of two, which share a set of the caches.
constexpr int64_t kLineFloats = 16;

struct Plan {
  int64_t height = 0;  // tiles in a column and a row of an image
  int64_t width = 0;
  int64_t tiles = 0;  // of the batch
  int64_t block = 0;  // tiles at a time
  int64_t blocks = 0;
  int64_t column_blocks = 0;
  bool is_shared = false;  // the threads share each block
  int64_t v_frequency = 0;
  int64_t m_frequency = 0;
  int64_t v_floats() const { return kFrequencies * v_frequency; }
  int64_t m_floats() const { return kFrequencies * m_frequency; }
};

Plan plan_of(const ConvParams& p, int threads, int64_t tile_rows) {
  Plan plan;
  plan.height = ceil_div(p.out[1], kOut);
  plan.width = ceil_div(p.out[2], kOut);
  plan.tiles = p.batch * plan.height * plan.width;
  plan.column_blocks = ceil_div(p.out_channels, kColumns);
  const int64_t most =
      std::clamp<int64_t>(kBlockFloats / (kFrequencies * (p.in_channels + kColumns)), 24, 96);
  plan.blocks = std::max<int64_t>(1, ceil_div(plan.tiles, most));
  plan.block = std::max<int64_t>(1, ceil_div(plan.tiles, plan.blocks));
  if (plan.blocks > 1) plan.block = ceil_div(plan.block, tile_rows) * tile_rows;
  plan.blocks = std::max<int64_t>(1, ceil_div(plan.tiles, plan.block));
  plan.is_shared = threads > 1 && plan.blocks < 3 * threads;
  plan.v_frequency = plan.block * p.in_channels + kLineFloats;
  plan.m_frequency = plan.block * kColumns + kLineFloats;
  return plan;
}

// Transforms tile `tile` of the batch to row `row` of the block at `v`.
void transform_input(const ConvParams& p, const Plan& plan, int64_t tile, int64_t row, float* v,
                     const KernelTable& table) {
  const int64_t image = tile / (plan.height * plan.width);
  const int64_t ih = tile / plan.width % plan.height * kOut - p.pad_begin[1];
  const int64_t iw = tile % plan.width * kOut - p.pad_begin[2];
  const auto inside = [](int64_t at) {
    return static_cast<int>(std::clamp<int64_t>(at, 0, kSide));
  };
  WinogradInput w;
  w.x_pixel = p.x_pixel_stride;
  w.x_row = p.in[2] * w.x_pixel;
  w.x = p.x + (image * p.in[1] + ih) * w.x_row + iw * w.x_pixel;
  w.row_begin = inside(-ih);
  w.row_end = inside(p.in[1] - ih);
  w.column_begin = inside(-iw);
  w.column_end = inside(p.in[2] - iw);
  w.channels = p.in_channels;
  w.v = v + row * p.in_channels;
  w.v_frequency = plan.v_frequency;
  table.winograd_input(w);
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

void transform_output(const ConvParams& p, const Plan& plan, int64_t tile, const float* m,
                      int64_t channel, const KernelTable& table) {
  const int64_t image = tile / (plan.height * plan.width);
  const int64_t oh = tile / plan.width % plan.height * kOut, ow = tile % plan.width * kOut;
  const int64_t pixel = (image * p.out[1] + oh) * p.out[2] + ow;
  WinogradOutput w;
  w.m = m;
  w.m_frequency = plan.m_frequency;
  w.channels = std::min(kColumns, p.out_channels - channel);
  w.rows = static_cast<int>(std::min(kOut, p.out[1] - oh));
  w.columns = static_cast<int>(std::min(kOut, p.out[2] - ow));
  w.y_pixel = p.y_pixel_stride;
  w.y_row = p.out[2] * w.y_pixel;
  w.y = element(p.y, pixel * p.y_pixel_stride + channel, p.narrow_y);
  w.narrow_y = p.narrow_y;
  w.narrow_add = p.narrow_residual;
  w.bias = p.bias == nullptr ? nullptr : p.bias + channel;
  w.add_pixel = p.residual_pixel_stride;
  w.add_row = p.out[2] * w.add_pixel;
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

// The products of a block of tiles by the filters of one block of columns, and their outputs.
void multiply(const ConvParams& p, const Plan& plan, int64_t first, int64_t tiles, int64_t columns,
              const float* v, float* m, const KernelTable& table) {
  const int64_t channel = columns * kColumns;
  const int64_t panels = ceil_div(std::min(kColumns, p.out_channels - channel), kPanelColumns);
  GemmBlock block;
  block.m = tiles;
  block.n = block.next_columns = panels * kPanelColumns;
  block.lda = block.run = p.in_channels;
  block.b_panel_stride = p.in_channels * kPanelColumns;
  block.ldc = kColumns;
  set_activation(block, {});
  for (int64_t f = 0; f < kFrequencies; ++f) {
    block.a = v + f * plan.v_frequency;
    block.b = p.filter + (kFrequencies * channel + f * panels * kPanelColumns) * p.in_channels;
    block.c = m + f * plan.m_frequency;
    table.gemm_block(block);
  }
  for (int64_t i = 0; i < tiles; ++i)
    transform_output(p, plan, first + i, m + i * kColumns, channel, table);
}

// Rows of G: the filter's side of the points 0, ±a, ±b and infinity, a = 3/4, b = 3/2.
constexpr float kA = 0.75f, kB = 1.5f;
constexpr float kN0 = 1 / (kA * kA * kB * kB);
constexpr float kNa = 1 / (2 * kA * kA * (kA * kA - kB * kB));
constexpr float kNb = 1 / (2 * kB * kB * (kB * kB - kA * kA));
constexpr float kG[kSide][3] = {
    {kN0, 0, 0},
    {kNa, kNa* kA, kNa* kA* kA},
    {kNa, -kNa* kA, kNa* kA* kA},
    {kNb, kNb* kB, kNb* kB* kB},
    {kNb, -kNb* kB, kNb* kB* kB},
    {0, 0, 1},
};

// The 36 values of sixteen filters at one input channel, `stride` floats apart in `out`.
void transform_filters(const float (&g)[9][kPanelColumns], float* out, int64_t stride) {
  float rows[kSide][3][kPanelColumns];
  for (int64_t i = 0; i < kSide; ++i)
    for (int64_t j = 0; j < 3; ++j)
      for (int64_t o = 0; o < kPanelColumns; ++o)
        rows[i][j][o] = kG[i][0] * g[j][o] + kG[i][1] * g[3 + j][o] + kG[i][2] * g[6 + j][o];
  for (int64_t i = 0; i < kSide; ++i)
    for (int64_t j = 0; j < kSide; ++j, out += stride)
      for (int64_t o = 0; o < kPanelColumns; ++o)
        out[o] = kG[j][0] * rows[i][0][o] + kG[j][1] * rows[i][1][o] + kG[j][2] * rows[i][2][o];
}

// `unit` channels of the filter are one of the input.
const char* refusal(const ConvParams& p, int64_t unit) {
  if (p.groups != 1) return "the channels are grouped";
  if (p.kernel[0] != 1 || p.in[0] != 1 || p.kernel[1] != 3 || p.kernel[2] != 3)
    return "the kernel is not 3x3";
  for (int d = 0; d < 3; ++d)
    if (p.stride[d] != 1 || p.dilation[d] != 1) return "strided or dilated";
  if (unit * p.in_channels < 2 * kPanelColumns || p.out_channels < kPanelColumns)
    return "few channels: the transforms would cost more than they save";
  // In cycles: two vectors of sixteen multiplied, while filters come from memory; the transforms.
  constexpr double kBytesPerCycle = 7, kTransform = 180;
  const Plan plan = plan_of(p, 1, 12);
  const double in = static_cast<double>(p.in_channels) / 16;
  const double out = static_cast<double>(ceil_div(p.out_channels, kPanelColumns));
  const double tiles = static_cast<double>(plan.tiles);
  const double pixels = static_cast<double>(p.batch * p.out[1] * p.out[2]);
  const double read = 16 * 16 * 4 / kBytesPerCycle;
  const double direct = 9 * in * out * std::max(8 * pixels, read);
  const double here = kFrequencies * in * out * std::max(8 * tiles, read) +
                      kTransform * tiles * (static_cast<double>(unit) * in + out);
  return here < 0.75 * direct ? nullptr : "too few pixels to pay for larger filters";
}

// Rows of sixteen columns; of pairs, every two of them rounded side by side.
void put_rows(const float* rows, int64_t count, int64_t unit, float* to) {
  if (unit == 1) {
    std::copy_n(rows, count * kPanelColumns, to);
    return;
  }
  for (int64_t i = 0; i < count; i += 2, rows += 2 * kPanelColumns)
    for (int64_t j = 0; j < kPanelColumns; ++j, ++to) {
      const BFloat16 pair[] = {BFloat16(rows[j]), BFloat16(rows[kPanelColumns + j])};
      std::memcpy(to, pair, sizeof pair);
    }
}

// By blocks of columns, then frequency: the order in which they are read.
void pack(const ConvParams& p, int64_t unit, const float* filter, float* packed) {
  const int64_t in_channels = unit * p.in_channels;
  for (int64_t channel = 0; channel < p.out_channels; channel += kPanelColumns) {
    const int64_t first = channel / kColumns * kColumns;
    const int64_t panels = ceil_div(std::min(kColumns, p.out_channels - first), kPanelColumns);
    float* const panel =
        packed + kFrequencies * first * p.in_channels + (channel - first) * p.in_channels;
    const int64_t columns = std::min(kPanelColumns, p.out_channels - channel);
    const int64_t frequency = panels * kPanelColumns * p.in_channels;
    // Some channels at a time: 36 streams that advance by lines are slow to write.
    constexpr int64_t kChannels = 16, kBlock = kChannels * kPanelColumns;
    float block[kFrequencies * kBlock];
    for (int64_t begin = 0; begin < in_channels; begin += kChannels) {
      const int64_t channels = std::min(kChannels, in_channels - begin);
      for (int64_t c = 0; c < channels; ++c) {
        float g[9][kPanelColumns] = {};
        for (int64_t tap = 0; tap < 9; ++tap)
          std::copy_n(filter + (tap * in_channels + begin + c) * p.out_channels + channel, columns,
                      g[tap]);
        transform_filters(g, block + c * kPanelColumns, kBlock);
      }
      for (int64_t f = 0; f < kFrequencies; ++f)
        put_rows(block + f * kBlock, channels, unit,
                 panel + f * frequency + begin / unit * kPanelColumns);
    }
  }
}

}  // namespace

const char* winograd_refusal(const ConvParams& p) {
  return refusal(p, 1);
}

const char* winograd_pairs_refusal(const ConvParams& p) {
  if (p.in_channels % (kPanelColumns / 2) != 0) return "the channels are no whole vectors";
  return refusal(p, 2);
}

int64_t winograd_filter_floats(const ConvParams& p) {
  return kFrequencies * p.in_channels * ceil_div(p.out_channels, kPanelColumns) * kPanelColumns;
}

void pack_winograd(const ConvParams& p, const float* filter, float* packed) {
  pack(p, 1, filter, packed);
}
void pack_winograd_pairs(const ConvParams& p, const float* filter, float* packed) {
  pack(p, 2, filter, packed);
}

int64_t winograd_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table) {
  const Plan plan = plan_of(p, threads, table.tile_rows);
  return slots_bytes(plan.v_floats(), plan.is_shared ? 1 : threads) +
         slots_bytes(plan.m_floats(), threads);
}

void run_winograd(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  const Plan plan = plan_of(p, pool.threads(), table.tile_rows);
  if (plan.tiles <= 0) return;
  char* const products = static_cast<char*>(scratch) +
                         slots_bytes(plan.v_floats(), plan.is_shared ? 1 : pool.threads());
  const auto tiles_of = [&](int64_t block) {
    return std::min(plan.block, plan.tiles - block * plan.block);
  };
  if (!plan.is_shared) {
    parallel_with_slots(pool, plan.blocks, [&](int64_t block, int64_t slot) {
      float* const v = slot_floats(scratch, slot, plan.v_floats());
      float* const m = slot_floats(products, slot, plan.m_floats());
      const int64_t first = block * plan.block, tiles = tiles_of(block);
      for (int64_t i = 0; i < tiles; ++i) transform_input(p, plan, first + i, i, v, table);
      for (int64_t columns = 0; columns < plan.column_blocks; ++columns)
        multiply(p, plan, first, tiles, columns, v, m, table);
    });
    return;
  }
  float* const v = static_cast<float*>(scratch);
  for (int64_t block = 0; block < plan.blocks; ++block) {
    const int64_t first = block * plan.block, tiles = tiles_of(block);
    pool.parallel_for(tiles, [&](int64_t i) { transform_input(p, plan, first + i, i, v, table); });
    parallel_with_slots(pool, plan.column_blocks, [&](int64_t columns, int64_t slot) {
      multiply(p, plan, first, tiles, columns, v, slot_floats(products, slot, plan.m_floats()),
               table);
    });
  }
}

}  // namespace tenon::cpu
