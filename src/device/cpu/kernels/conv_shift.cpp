#include "device/cpu/kernels/conv_shift.h"

#include <algorithm>
#include <vector>

#include "base/numbers.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/pairs.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

// Products that stay in L2 until they are added up.
constexpr int64_t kRingFloats = 64 << 10;
// What is added is read in vectors of so many floats, of which the last may lie behind a pixel.
constexpr int64_t kMaxWidth = 16;
// Multiply-adds worth a task.
constexpr int64_t kTaskWork = 512 << 10;

// Of a plane; those of others are added to what one gives.
int64_t taps_of(const ConvParams& p) {
  return p.kernel[1] * p.kernel[2];
}
// Planes of the result.
int64_t images_of(const ConvParams& p) {
  return p.batch * p.out[0];
}
// Floats from the products of a pixel to those of the next.
int64_t pixel_floats(const ConvParams& p) {
  return round_up(taps_of(p) * p.out_channels, 4);
}

// A task is a strip of an image, in blocks of `rows` rows of output.
struct ShiftPlan {
  int64_t strip = 0;
  int64_t strips = 0;  // in an image
  int64_t rows = 0;
  int64_t ring_rows = 0;  // of input
  int64_t ring_floats = 0;
};

ShiftPlan plan_shift(const ConvParams& p, int64_t threads) {
  const int64_t row_floats = p.in[2] * pixel_floats(p), lead = (p.kernel[1] - 1) * p.dilation[1];
  ShiftPlan plan;
  const int64_t work = p.in[1] * p.in[2] * p.in_channels * taps_of(p) * p.out_channels;
  const int64_t tasks =
      threads > 1 ? std::clamp(images_of(p) * work / kTaskWork, threads, 4 * threads) : 1;
  const int64_t strips = std::clamp<int64_t>(ceil_div(tasks, images_of(p)), 1, p.out[1]);
  plan.strip = ceil_div(p.out[1], strips);
  plan.strips = ceil_div(p.out[1], plan.strip);
  plan.rows = std::clamp<int64_t>(kRingFloats / row_floats - lead, 1, plan.strip);
  plan.ring_rows = plan.rows + lead;
  plan.ring_floats = plan.ring_rows * row_floats + kMaxWidth;
  return plan;
}

// The products of input rows [begin, end) of a plane, into the ring.
void multiply_rows(const ConvParams& p, int64_t plane, int64_t begin, int64_t end,
                   int64_t ring_rows, float* ring, const KernelTable& table) {
  const int64_t width = p.in[2];
  GemmRegion region;
  region.n = taps_of(p) * p.out_channels;
  region.k = p.in_channels;
  region.lda = p.x_pixel_stride;
  region.b = p.filter;
  region.b_panel_stride = p.in_channels * kPanelColumns;
  region.ldc = pixel_floats(p);
  while (begin < end) {
    const int64_t at = begin % ring_rows, count = std::min(end - begin, ring_rows - at);
    region.m = count * width;
    region.a = p.x + (plane * p.in[1] + begin) * width * p.x_pixel_stride;
    region.c = ring + at * width * region.ldc;
    gemm_region(region, table);
    begin += count;
  }
}

// Row `oh` of output to y, with its residual or null, without activation. kWidth: floats read for
// each tap.
template <int kWidth>
void add_row(const ConvParams& p, int64_t oh, int64_t ring_rows, const float* ring,
             const float* residual, float* y) {
  const WindowDim height = window_dim(p, 1), width = window_dim(p, 2);
  const Range lines = height.taps(oh), inner = width.interior();
  const int64_t step = pixel_floats(p), out = p.out_channels;
  float bias[kWidth] = {};
  if (p.bias != nullptr) std::copy_n(p.bias, out, bias);
  for (int64_t ow = 0; ow < width.out; ++ow, y += p.y_pixel_stride) {
    const Range columns =
        ow >= inner.begin && ow < inner.end ? Range{0, width.kernel} : width.taps(ow);
    float sums[kWidth];
    std::copy_n(bias, kWidth, sums);
    for (int64_t c = 0; residual != nullptr && c < out; ++c)
      sums[c] += residual[ow * p.residual_pixel_stride + c];
    for (int64_t kh = lines.begin; kh < lines.end; ++kh) {
      const int64_t row = (height.start(oh) + kh * height.dilation) % ring_rows;
      const int64_t column = width.start(ow) + columns.begin * width.dilation;
      const float* product =
          ring + (row * width.in + column) * step + (kh * width.kernel + columns.begin) * out;
      for (int64_t kw = columns.begin; kw < columns.end; ++kw) {
        for (int i = 0; i < kWidth; ++i) sums[i] += product[i];
        product += width.dilation * step + out;
      }
    }
    std::copy_n(sums, out, y);
  }
}

void activate_row(const ConvParams& p, float* y, const KernelTable& table) {
  if (p.activation.kind == ActivationKind::kNone) return;
  const bool dense = p.y_pixel_stride == p.out_channels;
  const int64_t floats = p.out_channels * (dense ? p.out[2] : 1);
  for (int64_t ow = 0; ow < (dense ? 1 : p.out[2]); ++ow, y += p.y_pixel_stride)
    table.activate(p.activation, y, y, static_cast<size_t>(floats));
}

struct Planes {
  int64_t in, out;
};
// Rows of a plane of the result by the taps on one of the input.
void add_plane(const ConvParams& p, const ShiftPlan& plan, Planes planes, Range strip, float* ring,
               const KernelTable& table) {
  const WindowDim height = window_dim(p, 1);
  const auto add = p.out_channels <= 4   ? add_row<4>
                   : p.out_channels <= 8 ? add_row<8>
                                         : add_row<16>;
  int64_t done = 0;  // products of input rows below this one are in the ring, or needed no more
  for (int64_t oh = strip.begin; oh < strip.end; oh += plan.rows) {
    const int64_t rows = std::min(plan.rows, strip.end - oh);
    const int64_t begin = std::max(done, height.start(oh));
    const int64_t end = std::min(
        height.in, height.start(oh + rows - 1) + (height.kernel - 1) * height.dilation + 1);
    multiply_rows(p, planes.in, begin, end, plan.ring_rows, ring, table);
    done = std::max(done, end);
    for (int64_t r = oh; r < oh + rows; ++r) {
      const int64_t pixel = (planes.out * height.out + r) * p.out[2];
      float* const y = p.y + pixel * p.y_pixel_stride;
      add(p, r, plan.ring_rows, ring,
          p.residual == nullptr ? nullptr : p.residual + pixel * p.residual_pixel_stride, y);
      activate_row(p, y, table);
    }
  }
}

// [tap, channel, filter] as [channel, tap, filter].
template <typename T>
std::vector<T> filters_of_taps(const ConvParams& p, int64_t channels, const T* filter) {
  const int64_t taps = taps_of(p), out = p.out_channels;
  std::vector<T> columns(static_cast<size_t>(channels * taps * out));
  for (int64_t tap = 0; tap < taps; ++tap)
    for (int64_t c = 0; c < channels; ++c)
      std::copy_n(filter + (tap * channels + c) * out, out,
                  columns.data() + (c * taps + tap) * out);
  return columns;
}

}  // namespace

const char* shift_refusal(const ConvParams& p) {
  if (p.groups != 1) return "the channels are grouped";
  for (int64_t od = 0; od < p.out[0]; ++od)
    if (window_dim(p, 0).taps(od).size() <= 0) return "a window lies outside";
  if (p.stride[1] != 1 || p.stride[2] != 1) return "the stride is not 1";
  if (p.batch <= 0 || p.in_channels <= 0 || p.out_channels <= 0 || volume(p.in) <= 0 ||
      volume(p.out) <= 0)
    return "there is nothing to do";
  const int64_t taps = taps_of(p);
  if (taps <= 1) return "the kernel is a single tap";
  if (p.out_channels > kMaxWidth) return "many filters";
  // In vectors multiplied, stored and added per pixel.
  const int64_t vectors = ceil_div(taps * p.out_channels, kPanelColumns);
  const int64_t together = p.in_channels * vectors + 2 * vectors + 2 * taps;
  if (6 * together >= 5 * taps * p.in_channels)
    return "the filters fill vectors, or channels are few";
  return nullptr;
}

int64_t shift_filter_floats(const ConvParams& p) {
  return p.kernel[0] * packed_b_floats(p.in_channels, taps_of(p) * p.out_channels);
}

void pack_shift(const ConvParams& p, const float* filter, float* packed) {
  const int64_t columns = taps_of(p) * p.out_channels, plane = p.in_channels * columns;
  for (int64_t kd = 0; kd < p.kernel[0]; ++kd, packed += packed_b_floats(p.in_channels, columns))
    pack_b(p.in_channels, columns, filters_of_taps(p, p.in_channels, filter + kd * plane).data(),
           columns, false, packed);
}
void pack_shift_pairs(const ConvParams& p, const BFloat16* filter, float* packed) {
  const int64_t channels = 2 * p.in_channels, columns = taps_of(p) * p.out_channels;
  for (int64_t kd = 0; kd < p.kernel[0]; ++kd, packed += packed_b_floats(p.in_channels, columns))
    pack_pairs(channels, columns,
               filters_of_taps(p, channels, filter + kd * channels * columns).data(), columns,
               false, packed);
}

int64_t shift_scratch_bytes(const ConvParams& p, int threads, const KernelTable&) {
  return slots_bytes(plan_shift(p, threads).ring_floats, threads);
}

void run_shift(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  const ShiftPlan plan = plan_shift(p, pool.threads());
  const WindowDim depth = window_dim(p, 0);
  parallel_with_slots(pool, images_of(p) * plan.strips, [&](int64_t task, int64_t slot) {
    const int64_t image = task / plan.strips, first = task % plan.strips * plan.strip;
    const int64_t n = image / p.out[0], od = image % p.out[0];
    const Range taps = depth.taps(od);
    for (int64_t kd = taps.begin; kd < taps.end; ++kd) {
      ConvParams q = p;
      q.filter = p.filter + kd * (shift_filter_floats(p) / p.kernel[0]);
      if (kd > taps.begin) {
        q.bias = nullptr;
        q.residual = p.y;
        q.residual_pixel_stride = p.y_pixel_stride;
      }
      if (kd + 1 < taps.end) q.activation = {};
      add_plane(q, plan, {n * p.in[0] + depth.start(od) + kd * depth.dilation, image},
                {first, std::min(p.out[1], first + plan.strip)},
                slot_floats(scratch, slot, plan.ring_floats), table);
    }
  });
}

}  // namespace tenon::cpu
