// Windows over channels-last rows, vectorised over channels: depthwise convolution and pooling.
// Several output pixels are computed at a time, so that a weight is loaded once for all of them.
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/isa/dilated_rows.h"
#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/simd.h"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr int kMaxPixels = 8;

TENON_INLINE int64_t line_offset(const WindowRow& row, int64_t i, int64_t j) {
  return i * row.x_taps[0] + j * row.x_taps[1] - (j >= row.wrap ? row.x_wrap : 0);
}

// Calls op(acc[pixel], x, tap offset of the filter) for every tap; kPart: `lanes` lanes exist.
template <int kPixels, bool kPart, typename T, typename Load, typename Op>
TENON_INLINE void for_taps(const WindowRow& row, const int64_t* filter_taps,
                           const T* const (&x)[kPixels], int lanes, Load load_tap, Op op) {
  for (int64_t i = 0; i < row.taps[0]; ++i)
    for (int64_t j = 0; j < row.taps[1]; ++j) {
      int64_t offset = line_offset(row, i, j);
      int64_t filter = i * filter_taps[0] + j * filter_taps[1];
      for (int64_t k = 0; k < row.taps[2]; ++k) {
        const Floats w = load_tap(filter);
#pragma GCC unroll 8
        for (int p = 0; p < kPixels; ++p)
          op(p, kPart ? load_number(x[p] + offset, lanes) : load_number(x[p] + offset), w);
        offset += row.x_taps[2];
        filter += filter_taps[2];
      }
    }
}

// The sums of taps of any window.
template <int kPixels, bool kPart>
TENON_INLINE void sum_any(const DepthwiseRow& row, int64_t pixel, int64_t channel, int lanes,
                          Floats (&acc)[kPixels]) {
  const float* x[kPixels];
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) x[p] = row.x + (pixel + p) * row.x_pixel + channel;
  const float* filter = row.filter + channel;
  for_taps<kPixels, kPart>(
      row, row.filter_taps, x,
      lanes, [&](int64_t at) __attribute__((always_inline)) { return load(filter + at); },
      [&](int p, Floats value, Floats w)
          __attribute__((always_inline)) { accumulate(acc[p], value, w); });
}

// What is left of a row of windows for the loop over vectors of channels: held in registers, since
// the compiler must take any store for one to the row itself.
struct Line {
  int64_t x, filter;  // from the first tap of a window to the first tap in this line of it
};
struct Lines {
  static constexpr int64_t kMost = 32;
  Line line[kMost];
  int64_t count = 0;
};

// The sums of windows kTaps wide, neighbours kStride apart: every input is loaded once for all the
// pixels that need it. kEdge: some columns may be outside [begin, end), of each pixel's all but
// one.
template <int kPixels, int kTaps, int kStride, bool kEdge, bool kPart>
TENON_INLINE void sum_columns(const Lines& lines, const float* x, int64_t x_step,
                              const float* filter, int64_t filter_step, int64_t begin, int64_t end,
                              int lanes, Floats (&acc)[kPixels]) {
  constexpr int kInputs = (kPixels - 1) * kStride + kTaps;
  for (int64_t i = 0; i < lines.count; ++i) {
    const float* column = x + lines.line[i].x;
    const float* weights = filter + lines.line[i].filter;
    Floats w[kTaps];
#pragma GCC unroll 8
    for (int k = 0; k < kTaps; ++k) w[k] = load(weights + k * filter_step);
#pragma GCC unroll 24
    for (int c = 0; c < kInputs; ++c, column += x_step) {
      if (kEdge && c < kTaps - 1 && c < begin) continue;
      if (kEdge && c > kInputs - kTaps && c >= end) continue;
      const Floats value = kPart ? load_part(column, lanes) : load(column);
#pragma GCC unroll 8
      for (int k = 0; k < kTaps; ++k) {
        const int p = (c - k) / kStride;
        if (c >= k && (c - k) % kStride == 0 && p < kPixels) accumulate(acc[p], value, w[k]);
      }
    }
  }
}

// Which channels are computed: those in whole vectors, or all, of which there are less than a
// vector with kPart.
enum class Channels { kWhole, kPart, kAny };

// The pixels from `pixel` on, kPixels of them; kTaps 0: any window, all of it inside.
template <int kPixels, int kTaps, int kStride, bool kEdge, Channels kChannels>
[[gnu::noinline]] void depthwise_pixels(const DepthwiseRow& row, const Lines& lines,
                                        int64_t pixel) {
  const Floats low = splat(row.low), high = splat(row.high);
  const float *const bias = row.bias, *const filter = row.filter;
  const float* const add = row.add == nullptr ? nullptr : row.add + pixel * row.add_pixel;
  const float* const x = row.x + pixel * row.x_pixel;
  float* const y = row.y + pixel * row.y_pixel;
  const int64_t x_step = row.x_taps[2], filter_step = row.filter_taps[2];
  const int64_t y_step = row.y_pixel, add_step = row.add_pixel;
  const int64_t first = row.start + pixel * kStride, begin = -first, end = row.in - first;
  const auto vector = [&]<bool kPart>(int64_t channel, int lanes) __attribute__((always_inline)) {
    Floats acc[kPixels];
    const Floats offset =
        bias == nullptr ? Floats{} : load_lanes(bias + channel, kPart ? lanes : kLanes);
#pragma GCC unroll 8
    for (int p = 0; p < kPixels; ++p) acc[p] = offset;
    if constexpr (kTaps == 0)
      sum_any<kPixels, kPart>(row, pixel, channel, lanes, acc);
    else
      sum_columns<kPixels, kTaps, kStride, kEdge, kPart>(
          lines, x + channel, x_step, filter + channel, filter_step, begin, end, lanes, acc);
    if (add != nullptr) {
      const float* from = add + channel;
#pragma GCC unroll 8
      for (int p = 0; p < kPixels; ++p, from += add_step)
        acc[p] += load_lanes(from, kPart ? lanes : kLanes);
    }
    float* to = y + channel;
#pragma GCC unroll 8
    for (int p = 0; p < kPixels; ++p, to += y_step)
      store_lanes(to, clip(acc[p], low, high), kPart ? lanes : kLanes);
  };
  const int64_t channels = row.channels;
  int64_t channel = 0;
  if constexpr (kChannels != Channels::kPart)
    for (; channel + kLanes <= channels; channel += kLanes)
      vector.template operator()<false>(channel, kLanes);
  if constexpr (kChannels != Channels::kWhole)
    if (channel < channels)
      vector.template operator()<true>(channel, static_cast<int>(channels - channel));
  if (row.post.kind == ActivationKind::kNone) return;
  const int64_t made = kChannels == Channels::kWhole ? channel : channels;
  // Of few channels the vectors are filled by several pixels.
  const int64_t run = y_step == made ? kPixels : 1;
  for (int p = 0; p < kPixels; p += static_cast<int>(run))
    activate(row.post, y + p * y_step, y + p * y_step, static_cast<size_t>(run * made));
}

template <int kPixels, bool kAverage, bool kPart, typename T>
TENON_INLINE void pool_vector(const PoolRow& row, int64_t pixel, int64_t channel, int lanes) {
  const T* x[kPixels];
  Floats acc[kPixels];
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) {
    x[p] = reinterpret_cast<const T*>(row.x) + (pixel + p) * row.x_pixel + channel;
    acc[p] = kAverage ? Floats{} : splat(-__builtin_inff());
  }
  constexpr int64_t kNoFilter[3] = {};
  for_taps<kPixels, kPart>(
      row, kNoFilter, x, lanes, [](int64_t) __attribute__((always_inline)) { return Floats{}; },
      [&](int p, Floats value, Floats) __attribute__((always_inline)) {
        acc[p] = kAverage ? acc[p] + value : maximum(acc[p], value);
      });
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) {
    const Floats y = kAverage ? acc[p] * splat(row.scale) : acc[p];
    const int64_t at = (pixel + p) * row.y_pixel + channel;
    if (row.narrow_y)
      store_bf16_part(reinterpret_cast<uint16_t*>(row.y) + at, y, kPart ? lanes : kLanes);
    else
      store_lanes(row.y + at, y, kPart ? lanes : kLanes);
  }
}

template <int kPixels, bool kAverage, typename T>
void pool_pixels(const PoolRow& row, int64_t pixel) {
  int64_t channel = 0;
  for (; channel + kLanes <= row.channels; channel += kLanes)
    pool_vector<kPixels, kAverage, false, T>(row, pixel, channel, kLanes);
  if (channel < row.channels)
    pool_vector<kPixels, kAverage, true, T>(row, pixel, channel,
                                            static_cast<int>(row.channels - channel));
}

// One function per number of pixels, 1 to kMaxPixels.
using DepthwiseFunction = void (*)(const DepthwiseRow&, const Lines&, int64_t);

template <int kPixels, int kTaps, int kStride>
constexpr DepthwiseFunction kWhole =
    depthwise_pixels<kPixels, kTaps, kStride, true, Channels::kWhole>;
template <int kTaps, int kStride>
constexpr DepthwiseFunction kDepthwise[] = {kWhole<1, kTaps, kStride>, kWhole<2, kTaps, kStride>,
                                            kWhole<3, kTaps, kStride>, kWhole<4, kTaps, kStride>,
                                            kWhole<5, kTaps, kStride>, kWhole<6, kTaps, kStride>,
                                            kWhole<7, kTaps, kStride>, kWhole<8, kTaps, kStride>};

// Calls run<n>(pixel) for 8, 3 or 1 pixels at a time: they share the weights only, so that few
// kinds of parts lose little.
template <typename Run>
TENON_INLINE void by_parts(int64_t pixels, Run run) {
  int64_t pixel = 0;
  for (; pixel + 8 <= pixels; pixel += 8) run.template operator()<8>(pixel);
  for (; pixel + 3 <= pixels; pixel += 3) run.template operator()<3>(pixel);
  for (; pixel < pixels; ++pixel) run.template operator()<1>(pixel);
}

// The channels of `row` from `begin` on.
DepthwiseRow last_channels(const DepthwiseRow& row, int64_t begin) {
  DepthwiseRow part = row;
  part.channels -= begin;
  part.x += begin;
  part.y += begin;
  part.filter += begin;
  if (row.bias != nullptr) part.bias += begin;
  if (row.add != nullptr) part.add += begin;
  return part;
}

template <int kTaps, int kStride>
void depthwise_columns(const DepthwiseRow& row) {
  Lines lines;
  for (int64_t i = 0; i < row.taps[0]; ++i)
    for (int64_t j = 0; j < row.taps[1]; ++j)
      lines.line[lines.count++] = {line_offset(row, i, j),
                                   i * row.filter_taps[0] + j * row.filter_taps[1]};
  const int64_t whole = row.channels / kLanes * kLanes;
  for (int64_t pixel = 0; pixel < row.pixels && whole > 0; pixel += kMaxPixels) {
    const int64_t first = row.start + pixel * kStride;
    if (pixel + kMaxPixels <= row.pixels && first >= 0 &&
        first + (kMaxPixels - 1) * kStride + kTaps <= row.in) {
      depthwise_pixels<kMaxPixels, kTaps, kStride, false, Channels::kWhole>(row, lines, pixel);
      continue;
    }
    const int64_t left = row.pixels - pixel;
    kDepthwise<kTaps, kStride>[(left < kMaxPixels ? left : kMaxPixels) - 1](row, lines, pixel);
  }
  if (whole == row.channels) return;
  const DepthwiseRow rest = last_channels(row, whole);
  by_parts(rest.pixels, [&]<int kPixels>(int64_t pixel) {
    depthwise_pixels<kPixels, kTaps, kStride, true, Channels::kPart>(rest, lines, pixel);
  });
}

// The pixels of `row` from `begin` on, with the taps [first_tap, end_tap).
DepthwiseRow part_of(const DepthwiseRow& row, int64_t begin, int64_t pixels, int64_t first_tap,
                     int64_t end_tap) {
  DepthwiseRow part = row;
  part.pixels = pixels;
  part.taps[2] = end_tap - first_tap;
  part.x += begin * row.x_pixel + first_tap * row.x_taps[2];
  part.y += begin * row.y_pixel;
  part.filter += first_tap * row.filter_taps[2];
  if (row.add != nullptr) part.add += begin * row.add_pixel;
  return part;
}

void depthwise_any(const DepthwiseRow& row) {
  Lines none;
  int64_t pixel = 0;
  while (pixel < row.pixels) {
    const int64_t first = row.start + pixel * row.stride;
    int64_t begin = 0, end = row.taps[2];
    while (begin < end && first + begin * row.dilation < 0) ++begin;
    while (end > begin && first + (end - 1) * row.dilation >= row.in) --end;
    int64_t count = row.taps[2] == 0 ? row.pixels - pixel : 1;
    if (begin == 0 && end == row.taps[2] && end > 0) {
      const int64_t last = first + (end - 1) * row.dilation;
      count += (row.in - 1 - last) / row.stride;
      if (count > row.pixels - pixel) count = row.pixels - pixel;
    }
    const DepthwiseRow part = part_of(row, pixel, count, begin, end);
    by_parts(count, [&]<int kPixels>(int64_t at) {
      depthwise_pixels<kPixels, 0, 1, false, Channels::kAny>(part, none, at);
    });
    pixel += count;
  }
}

void depthwise_row(const DepthwiseRow& row) {
  if (has_gaps(row)) return for_remainders<false>(row, depthwise_row);
  const bool dense = row.dilation == 1 && row.start > -row.taps[2] &&
                     row.start + (row.pixels - 1) * row.stride < row.in &&
                     row.taps[0] * row.taps[1] <= Lines::kMost;
  if (dense && row.taps[2] == 3 && row.stride == 1) return depthwise_columns<3, 1>(row);
  if (dense && row.taps[2] == 3 && row.stride == 2) return depthwise_columns<3, 2>(row);
  if (dense && row.taps[2] == 5 && row.stride == 1) return depthwise_columns<5, 1>(row);
  if (dense && row.taps[2] == 5 && row.stride == 2) return depthwise_columns<5, 2>(row);
  if (dense && row.taps[2] == 7 && row.stride == 1) return depthwise_columns<7, 1>(row);
  depthwise_any(row);
}

template <bool kAverage, typename T>
void pool_row(const PoolRow& row) {
  by_parts(row.pixels,
           [&]<int kPixels>(int64_t pixel) { pool_pixels<kPixels, kAverage, T>(row, pixel); });
}

void pool_row(const PoolRow& row) {
  if (row.average)
    (row.narrow_x ? pool_row<true, uint16_t> : pool_row<true, float>)(row);
  else
    (row.narrow_x ? pool_row<false, uint16_t> : pool_row<false, float>)(row);
}

TENON_INLINE Floats weighted(const float* const* x, const float* weights, int64_t count, int64_t i,
                             int lanes) {
  Floats sum{};
  for (int64_t t = 0; t < count; ++t)
    accumulate(sum, load_lanes(x[t] + i, lanes), splat(weights[t]));
  return sum;
}

void weighted_sum(const float* const* x, const float* weights, int64_t count, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, weighted(x, weights, count, i, kLanes));
  if (i == n) return;
  const int rest = static_cast<int>(n - i);
  store_part(y + i, weighted(x, weights, count, i, rest), rest);
}

}  // namespace

void fill_spatial(KernelTable& table) {
  table.depthwise_row = depthwise_row;
  table.pool_row = pool_row;
  table.weighted_sum = weighted_sum;
}

}  // namespace tenon::cpu::TENON_ISA
