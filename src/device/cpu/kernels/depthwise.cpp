// Depthwise convolution: every output channel reads one input channel.
#include "device/cpu/kernels/depthwise.h"

#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/pairs.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

// Floats of input that stay in L1 from one row of output to the next.
constexpr int64_t kMaxRowFloats = 7 << 10;
// Multiply-adds worth a task.
constexpr int64_t kTaskWork = 64 << 10;

int64_t pixels_of(const int64_t (&dims)[3]) {
  return dims[0] * dims[1] * dims[2];
}

int64_t multiplier_of(const ConvParams& p) {
  return p.out_channels / std::max<int64_t>(1, p.in_channels);
}

// Channels that are computed together.
int64_t channel_unit(const ConvParams& p) {
  return p.narrow_x ? kDepthwisePairChannels : kPanelColumns;
}

// Each input channel repeated, so that the rest sees one output channel per input channel.
void repeat_channels(const ConvParams& p, int64_t multiplier, ThreadPool& pool, float* repeated) {
  const int64_t pixels = p.batch * pixels_of(p.in);
  const int64_t per_task = std::max<int64_t>(1, kTaskWork / std::max<int64_t>(1, p.out_channels));
  pool.parallel_for(ceil_div(pixels, per_task), [&](int64_t task) {
    const int64_t end = std::min(pixels, (task + 1) * per_task);
    for (int64_t i = task * per_task; i < end; ++i) {
      float* out = repeated + i * p.out_channels;
      for (int64_t c = 0; c < p.in_channels; ++c, out += multiplier)
        std::fill_n(out, multiplier, p.x[i * p.x_pixel_stride + c]);
    }
  });
}

}  // namespace

void depthwise_rows(const ConvParams& p, int64_t index, int64_t count, int64_t channel,
                    int64_t channels, int64_t ring_rows, float* y, const KernelTable& table) {
  const WindowDim depth = window_dim(p, 0), height = window_dim(p, 1), width = window_dim(p, 2);
  const int64_t padded = round_up(p.out_channels, channel_unit(p));
  const int64_t rows_of_filter = p.narrow_x ? ceil_div(height.kernel, 2) : height.kernel;
  const int64_t in_row = width.in * p.x_pixel_stride;
  DepthwiseRow row;
  row.pixels = width.out;
  row.channels = channels;
  row.first_channel = channel;
  row.taps[2] = width.kernel;
  row.x_taps[2] = width.dilation * p.x_pixel_stride;
  row.x_taps[1] = height.dilation * in_row;
  row.x_taps[0] = depth.dilation * height.in * in_row;
  row.start = width.start(0);
  row.stride = width.stride;
  row.dilation = width.dilation;
  row.in = width.in;
  row.x_pixel = width.stride * p.x_pixel_stride;
  row.filter_taps[2] = padded;
  row.filter_taps[1] = padded * width.kernel;
  row.filter_taps[0] = padded * width.kernel * rows_of_filter;
  row.y = element(y, channel, p.narrow_y);
  row.narrow_y = p.narrow_y;
  row.y_pixel = p.y_pixel_stride;
  row.bias = p.bias == nullptr ? nullptr : p.bias + channel;
  if (p.residual != nullptr)
    row.add = p.residual + index * width.out * p.residual_pixel_stride + channel;
  row.add_pixel = p.residual_pixel_stride;
  if (ring_rows > 0) row.x_wrap = ring_rows * in_row;
  set_activation(row, p.activation);

  const float* const x = element(p.x, row.start * p.x_pixel_stride + channel, p.narrow_x);
  int64_t oh = index % height.out, plane = index / height.out;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t od = plane % depth.out, n = plane / depth.out;
    const Range kd = depth.taps(od), kh = height.taps(oh);
    const int64_t id = depth.start(od) + kd.begin * depth.dilation;
    int64_t ih = height.start(oh) + kh.begin * height.dilation;
    if (ring_rows > 0) {
      ih %= ring_rows;
      row.wrap = ceil_div(ring_rows - ih, height.dilation);
    }
    row.taps[0] = kd.size();
    row.taps[1] = kh.size();
    row.first_tap = kh.begin;
    row.x = element(x, ((n * depth.in + id) * height.in + ih) * in_row, p.narrow_x);
    row.filter = p.filter + kd.begin * row.filter_taps[0] +
                 (p.narrow_x ? kh.begin / 2 : kh.begin) * row.filter_taps[1] + channel;
    table.depthwise_row(row);
    row.y = element(row.y, width.out * p.y_pixel_stride, p.narrow_y);
    if (row.add != nullptr) row.add += width.out * p.residual_pixel_stride;
    if (++oh == height.out) oh = 0, ++plane;
  }
}

int64_t depthwise_channel_block(const ConvParams& p) {
  const int64_t unit = channel_unit(p), units = ceil_div(p.out_channels, unit);
  const int64_t row_floats = (p.kernel[1] * p.in[2] + 1) * kPanelColumns;
  const int64_t blocks = ceil_div(units, std::max<int64_t>(2, kMaxRowFloats / row_floats));
  return ceil_div(units, blocks) * unit;
}

const char* depthwise_refusal(const ConvParams& p) {
  if (p.groups == 1) return "the channels are not grouped";
  if (p.groups != p.in_channels) return "a group has several input channels";
  if (!p.narrow_x) return nullptr;
  if (multiplier_of(p) != 1) return "channels of bf16 are multiplied";
  return p.kernel[0] * (p.kernel[1] / 2 + 1) > kDepthwisePairRows ? "windows are too high"
                                                                  : nullptr;
}

int64_t depthwise_filter_floats(const ConvParams& p) {
  return p.narrow_x ? packed_depthwise_pairs_floats(p.kernel, p.out_channels)
                    : packed_depthwise_filter_floats(pixels_of(p.kernel), p.out_channels);
}

void pack_depthwise(const ConvParams& p, const float* filter, float* packed) {
  pack_depthwise_filter(pixels_of(p.kernel), p.out_channels, filter, packed);
}

void pack_depthwise_of_pairs(const ConvParams& p, const BFloat16* filter, float* packed) {
  pack_depthwise_pairs(p.kernel, p.out_channels, filter, packed);
}

int64_t depthwise_scratch_bytes(const ConvParams& p, int, const KernelTable&) {
  return multiplier_of(p) > 1 ? slots_bytes(p.batch * pixels_of(p.in) * p.out_channels, 1) : 0;
}

void run_depthwise(const ConvParams& params, ThreadPool& pool, void* scratch,
                   const KernelTable& table) {
  ConvParams p = params;
  if (const int64_t multiplier = multiplier_of(p); multiplier > 1) {
    float* const repeated = slot_floats(scratch, 0, 0);
    repeat_channels(p, multiplier, pool, repeated);
    p.x = repeated;
    p.x_pixel_stride = p.in_channels = p.groups = p.out_channels;
  }
  const int64_t rows = p.batch * p.out[0] * p.out[1];
  // Without taps the bias is left.
  const int64_t work = p.out[2] * std::max<int64_t>(1, pixels_of(p.kernel)) * p.out_channels;
  if (rows <= 0 || work <= 0) return;
  // Few rows of many channels are cut by channels as well.
  const int64_t unit = channel_unit(p), units = ceil_div(p.out_channels, unit);
  const int64_t most = std::min(units, std::max<int64_t>(1, work / kTaskWork));
  int64_t blocks = ceil_div(p.out_channels, depthwise_channel_block(p));
  if (pool.threads() > 1 && rows < 8 * pool.threads())
    blocks = std::clamp(ceil_div(8 * pool.threads(), rows), blocks, std::max(blocks, most));
  const int64_t block = ceil_div(units, blocks) * unit;
  blocks = ceil_div(p.out_channels, block);
  int64_t rows_per_task = rows;
  if (pool.threads() > 1) {
    // As many tasks for each thread, so that they end together.
    const int64_t most_rows = std::max<int64_t>(1, kTaskWork * blocks / work);
    const int64_t tasks = ceil_div(rows, most_rows);
    if (tasks > 1) rows_per_task = ceil_div(rows, round_up(tasks, pool.threads()));
  }
  pool.parallel_for(ceil_div(rows, rows_per_task) * blocks, [&](int64_t task) {
    const int64_t channel = task % blocks * block;
    const int64_t first = task / blocks * rows_per_task;
    depthwise_rows(p, first, std::min(rows_per_task, rows - first), channel,
                   std::min(block, p.out_channels - channel), 0,
                   element(p.y, first * p.out[2] * p.y_pixel_stride, p.narrow_y), table);
  });
}

}  // namespace tenon::cpu
