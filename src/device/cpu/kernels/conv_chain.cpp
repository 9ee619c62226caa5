// Chains of convolutions by strips of rows: a few rows of the depthwise convolution at a time, the
// rows it reads computed just before into a ring, and the product with what it gives right after.
#include "device/cpu/kernels/conv_chain.h"

#include <algorithm>

#include "base/numbers.h"
#include "device/cpu/kernels/depthwise.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/half.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/pairs.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

// Pixels multiplied at a time, where the rows have so many.
constexpr int64_t kMinPixels = 72;
constexpr int64_t kMaxPixels = 360;
// Multiply-adds worth a task.
constexpr int64_t kTaskWork = 512 << 10;
constexpr int64_t kSmallWork = 4 << 20;
constexpr int64_t kLarge = 384 << 10;

// A task is a strip of an image, in blocks of `rows` rows of output.
struct ChainPlan {
  int64_t strip = 0;
  int64_t strips = 0;  // in an image
  int64_t rows = 0;
  int64_t ring_rows = 0;
  int64_t ring_floats = 0;    // what `expand` gives
  int64_t middle_floats = 0;  // what `depthwise` gives
  int64_t pair_floats = 0;    // what `project` reads, in bf16

  int64_t middles_bytes(int threads) const { return slots_bytes(middle_floats, threads); }
};

const KernelTable& expand_table(const ConvChain& c, const KernelTable& table) {
  return c.expands_pairs ? *c.pairs : table;
}
const KernelTable& project_table(const ConvChain& c, const KernelTable& table) {
  return c.projects && (c.rounds || c.depthwise.narrow_x) ? *c.pairs : table;
}
const KernelTable& depthwise_table(const ConvChain& c, const KernelTable& table) {
  return c.depthwise.narrow_x ? *c.pairs : table;
}
// Floats that hold so many elements.
int64_t floats_of(int64_t elements, bool narrow) {
  return narrow ? ceil_div(elements, 2) : elements;
}

int64_t work_of(const ConvChain& c) {
  const ConvParams& d = c.depthwise;
  int64_t work = d.out[1] * d.out[2] * d.out_channels * d.kernel[1] * d.kernel[2];
  if (c.expands) work += d.in[1] * d.in[2] * d.in_channels * c.expand.in_channels;
  if (c.projects) work += d.out[1] * d.out[2] * c.project.in_channels * c.project.out_channels;
  return work;
}

// So many that they fill tiles, few rows rather than more.
int64_t rows_of_block(int64_t width, int64_t most, int64_t tile) {
  int64_t best = std::clamp<int64_t>(ceil_div(kMinPixels, width), 1, most);
  const auto waste = [&](int64_t rows) {
    return static_cast<double>(round_up(rows * width, tile)) / static_cast<double>(rows * width);
  };
  constexpr double kWorthARow = 0.01;
  for (int64_t rows = best + 1; rows <= most && rows * width <= kMaxPixels; ++rows)
    if (waste(rows) < waste(best) - kWorthARow) best = rows;
  return best;
}

ChainPlan plan_chain(const ConvChain& c, int64_t threads, const KernelTable& table) {
  const ConvParams& d = c.depthwise;
  const WindowDim height = window_dim(d, 1);
  ChainPlan plan;
  int64_t tasks = 1;
  if (threads > 1) {
    tasks = std::clamp(d.batch * work_of(c) / kTaskWork, threads, 4 * threads);
    // Strips compute what `expand` gives at their border twice.
    if (c.expands) tasks = std::min(tasks, std::max(threads, d.batch * d.out[1] / 12));
  }
  const int64_t strips = std::clamp<int64_t>(ceil_div(tasks, d.batch), 1, d.out[1]);
  plan.strip = ceil_div(d.out[1], strips);
  plan.strips = ceil_div(d.out[1], plan.strip);
  plan.rows = rows_of_block(d.out[2], plan.strip, project_table(c, table).tile_rows);
  if (c.expands) {
    plan.ring_rows = (plan.rows - 1) * height.stride + (height.kernel - 1) * height.dilation + 1;
    plan.ring_floats = floats_of(plan.ring_rows * d.in[2] * d.in_channels, d.narrow_x);
  }
  const int64_t elements = plan.rows * d.out[2] * d.out_channels;
  if (!d.narrow_x && (c.projects || c.rounds)) plan.middle_floats = elements;
  if (c.projects && (d.narrow_x || c.rounds)) plan.pair_floats = floats_of(elements, true);
  return plan;
}

// `pixels` pixels of a 1x1 convolution.
void multiply(const ConvParams& p, int64_t pixels, const float* x, int64_t x_pixel, float* y,
              int64_t y_pixel, const float* residual, const KernelTable& table) {
  GemmRegion region;
  region.m = pixels;
  region.n = p.out_channels;
  region.k = p.in_channels;
  region.a = x;
  region.lda = x_pixel;
  region.b = p.filter;
  region.b_panel_stride = p.in_channels * kPanelColumns;
  region.c = y;
  region.ldc = y_pixel;
  region.bias = p.bias;
  region.residual = residual;
  region.ld_residual = p.residual_pixel_stride;
  region.activation = p.activation;
  region.narrow_c = p.narrow_y;
  region.narrow_residual = p.narrow_residual;
  gemm_region(region, table);
}

// Rows [begin, end) of what `expand` gives of image n, into the ring.
void expand_rows(const ConvParams& p, int64_t n, int64_t begin, int64_t end, int64_t ring_rows,
                 float* ring, const KernelTable& table) {
  const int64_t width = p.in[2];
  while (begin < end) {
    const int64_t at = begin % ring_rows, count = std::min(end - begin, ring_rows - at);
    multiply(p, count * width, p.x + (n * p.in[1] + begin) * width * p.x_pixel_stride,
             p.x_pixel_stride, element(ring, at * width * p.out_channels, p.narrow_y),
             p.out_channels, nullptr, table);
    begin += count;
  }
}

// `rows` rows of output from the `index`-th of all images on, of which `middle` holds what the
// depthwise convolution gave; `rounded` is room for them in bf16, and has them if that one rounds.
void finish_rows(const ConvChain& c, int64_t index, int64_t rows, const float* middle,
                 BFloat16* rounded, const KernelTable& table) {
  const int64_t width = c.depthwise.out[2], channels = c.depthwise.out_channels;
  const int64_t pixels = rows * width, pixel = index * width;
  if (c.rounds) {
    if (!c.projects) rounded = reinterpret_cast<BFloat16*>(c.depthwise.y) + pixel * channels;
    convert(middle, rounded, pixels * channels);
  }
  if (!c.projects) return;
  if (c.rounds || c.depthwise.narrow_x) middle = as_pairs(rounded);
  const ConvParams& p = c.project;
  const float* residual = p.residual;
  if (residual != nullptr)
    residual = element(residual, pixel * p.residual_pixel_stride, p.narrow_residual);
  multiply(p, pixels, middle, p.in_channels, element(p.y, pixel * p.y_pixel_stride, p.narrow_y),
           p.y_pixel_stride, residual, project_table(c, table));
}

}  // namespace

bool conv_chain_rounds(const ConvParams& pointwise, const KernelTable& pairs) {
  return gemm_region_sums(2 * pairs.tile_rows, 1, pointwise.in_channels, pairs) == 0;
}

const char* conv_chain_refusal(const ConvParams& p) {
  if (depthwise_refusal(p) != nullptr) return "the convolution is not depthwise";
  if (p.out_channels != p.in_channels) return "channels are multiplied";
  if (p.in[0] != 1 || p.out[0] != 1 || p.kernel[0] != 1 || p.pad_begin[0] != 0)
    return "the convolution has three dims";
  if (p.batch <= 0 || p.in_channels <= 0 || p.in[1] <= 0 || p.in[2] <= 0 || p.out[1] <= 0 ||
      p.out[2] <= 0 || p.kernel[1] <= 0 || p.kernel[2] <= 0)
    return "there is nothing to do";
  return nullptr;
}

bool conv_chain_pays(const ConvChain& c, int threads) {
  const ConvParams& d = c.depthwise;
  if (!c.expands && !c.projects) return c.rounds;
  // What does not stay in L2 otherwise.
  if (c.expands) return d.in[1] * d.in[2] * d.in_channels > kLarge;
  if (d.batch * d.out[1] * d.out[2] * d.out_channels > kLarge) return true;
  // Meeting at the end of a loop takes as long as a part of small ones.
  return threads > 1 && d.batch * work_of(c) < kSmallWork && d.out[1] >= 4 * threads;
}

int64_t conv_chain_scratch_bytes(const ConvChain& c, int threads, const KernelTable& table) {
  const ChainPlan plan = plan_chain(c, threads, table);
  return slots_bytes(plan.ring_floats, threads) + plan.middles_bytes(threads) +
         slots_bytes(plan.pair_floats, threads);
}

void conv_chain(const ConvChain& c, ThreadPool& pool, void* scratch, const KernelTable& table) {
  const ChainPlan plan = plan_chain(c, pool.threads(), table);
  char* const middles = static_cast<char*>(scratch) + slots_bytes(plan.ring_floats, pool.threads());
  char* const roundeds = middles + plan.middles_bytes(pool.threads());
  const WindowDim height = window_dim(c.depthwise, 1);
  const int64_t channels = c.depthwise.out_channels, out_w = c.depthwise.out[2];
  const int64_t channel_block = depthwise_channel_block(c.depthwise);
  parallel_with_slots(pool, c.depthwise.batch * plan.strips, [&](int64_t task, int64_t slot) {
    const int64_t n = task / plan.strips, first = task % plan.strips * plan.strip;
    const int64_t last = std::min(height.out, first + plan.strip);
    float* const ring = slot_floats(scratch, slot, plan.ring_floats);
    float* const middle = slot_floats(middles, slot, plan.middle_floats);
    auto* const rounded =
        reinterpret_cast<BFloat16*>(slot_floats(roundeds, slot, plan.pair_floats));
    ConvParams d = c.depthwise;
    if (c.expands) {
      d.batch = 1;
      d.x = ring;
      d.x_pixel_stride = d.in_channels;
      if (d.residual != nullptr) d.residual += n * height.out * out_w * d.residual_pixel_stride;
    }
    const bool is_last = !c.projects && !c.rounds;
    if (!is_last) d.y_pixel_stride = channels;
    int64_t expanded = 0;  // input rows below this one are in the ring, or needed no more
    for (int64_t oh = first; oh < last; oh += plan.rows) {
      const int64_t rows = std::min(plan.rows, last - oh);
      if (c.expands) {
        const int64_t begin = std::max(expanded, height.start(oh));
        const int64_t end = std::min(
            height.in, height.start(oh + rows - 1) + (height.kernel - 1) * height.dilation + 1);
        expand_rows(c.expand, n, begin, end, plan.ring_rows, ring, expand_table(c, table));
        expanded = std::max(expanded, end);
      }
      const int64_t index = n * height.out + oh;  // of the first row
      float* const y = is_last      ? element(d.y, index * out_w * d.y_pixel_stride, d.narrow_y)
                       : d.narrow_x ? reinterpret_cast<float*>(rounded)
                                    : middle;
      for (int64_t channel = 0; channel < channels; channel += channel_block)
        depthwise_rows(d, c.expands ? oh : index, rows, channel,
                       std::min(channel_block, channels - channel), plan.ring_rows, y,
                       depthwise_table(c, table));
      if (!is_last) finish_rows(c, index, rows, middle, rounded, table);
    }
  });
}

}  // namespace tenon::cpu
