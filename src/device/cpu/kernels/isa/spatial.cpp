// Windows over channels-last rows, vectorised over channels: depthwise convolution and pooling.
// Several output pixels are computed at a time, so that a weight is loaded once for all of them.
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/simd.h"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr int kMaxPixels = TENON_LANES == 8 ? 6 : 8;

TENON_INLINE Floats load_lanes(const float* p, int lanes) {
  return lanes == kLanes ? load(p) : load_part(p, lanes);
}
TENON_INLINE void store_lanes(float* p, Floats x, int lanes) {
  if (lanes == kLanes)
    store(p, x);
  else
    store_part(p, x, lanes);
}

// Calls op(acc[pixel], x, tap offset of the filter) for every tap; kPart: `lanes` lanes exist.
template <int kPixels, bool kPart, typename Load, typename Op>
TENON_INLINE void for_taps(const WindowRow& row, const int64_t* filter_taps,
                           const float* const (&x)[kPixels], int lanes, Load load_tap, Op op) {
  for (int64_t i = 0; i < row.taps[0]; ++i)
    for (int64_t j = 0; j < row.taps[1]; ++j) {
      int64_t offset = i * row.x_taps[0] + j * row.x_taps[1];
      int64_t filter = i * filter_taps[0] + j * filter_taps[1];
      for (int64_t k = 0; k < row.taps[2]; ++k) {
        const Floats w = load_tap(filter);
#pragma GCC unroll 8
        for (int p = 0; p < kPixels; ++p)
          op(p, kPart ? load_part(x[p] + offset, lanes) : load(x[p] + offset), w);
        offset += row.x_taps[2];
        filter += filter_taps[2];
      }
    }
}

template <int kPixels, bool kPart>
TENON_INLINE void depthwise_vector(const DepthwiseRow& row, int64_t pixel, int64_t channel,
                                   int lanes) {
  const float* x[kPixels];
  Floats acc[kPixels];
  const Floats bias =
      row.bias == nullptr ? Floats{} : load_lanes(row.bias + channel, kPart ? lanes : kLanes);
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) {
    x[p] = row.x + (pixel + p) * row.x_pixel + channel;
    acc[p] = bias;
  }
  const float* filter = row.filter + channel;
  for_taps<kPixels, kPart>(
      row, row.filter_taps, x,
      lanes, [&](int64_t at) __attribute__((always_inline)) { return load(filter + at); },
      [&](int p, Floats value, Floats w)
          __attribute__((always_inline)) { accumulate(acc[p], value, w); });
  const Floats low = splat(row.low), high = splat(row.high);
  float* y = row.y + pixel * row.y_pixel + channel;
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) {
    if (row.add != nullptr)
      acc[p] += load_lanes(row.add + (pixel + p) * row.add_pixel + channel, kPart ? lanes : kLanes);
    store_lanes(y + p * row.y_pixel, clip(acc[p], low, high), kPart ? lanes : kLanes);
  }
}

template <int kPixels>
void depthwise_pixels(const DepthwiseRow& row, int64_t pixel) {
  int64_t channel = 0;
  for (; channel + kLanes <= row.channels; channel += kLanes)
    depthwise_vector<kPixels, false>(row, pixel, channel, kLanes);
  if (channel < row.channels)
    depthwise_vector<kPixels, true>(row, pixel, channel, static_cast<int>(row.channels - channel));
  if (row.post.kind == ActivationKind::kNone) return;
  for (int p = 0; p < kPixels; ++p) {
    float* y = row.y + (pixel + p) * row.y_pixel;
    activate(row.post, y, y, static_cast<size_t>(row.channels));
  }
}

template <int kPixels, bool kAverage, bool kPart>
TENON_INLINE void pool_vector(const PoolRow& row, int64_t pixel, int64_t channel, int lanes) {
  const float* x[kPixels];
  Floats acc[kPixels];
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) {
    x[p] = row.x + (pixel + p) * row.x_pixel + channel;
    acc[p] = kAverage ? Floats{} : splat(-__builtin_inff());
  }
  constexpr int64_t kNoFilter[3] = {};
  for_taps<kPixels, kPart>(
      row, kNoFilter, x, lanes, [](int64_t) __attribute__((always_inline)) { return Floats{}; },
      [&](int p, Floats value, Floats) __attribute__((always_inline)) {
        acc[p] = kAverage ? acc[p] + value : maximum(acc[p], value);
      });
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p)
    store_lanes(row.y + (pixel + p) * row.y_pixel + channel,
                kAverage ? acc[p] * splat(row.scale) : acc[p], kPart ? lanes : kLanes);
}

template <int kPixels, bool kAverage>
void pool_pixels(const PoolRow& row, int64_t pixel) {
  int64_t channel = 0;
  for (; channel + kLanes <= row.channels; channel += kLanes)
    pool_vector<kPixels, kAverage, false>(row, pixel, channel, kLanes);
  if (channel < row.channels)
    pool_vector<kPixels, kAverage, true>(row, pixel, channel,
                                         static_cast<int>(row.channels - channel));
}

// Splits a row into blocks of kMaxPixels and one of the rest.
template <typename Row>
using PixelFunction = void (*)(const Row&, int64_t);

template <typename Row>
void for_pixels(const Row& row, const PixelFunction<Row> (&functions)[kMaxPixels]) {
  int64_t pixel = 0;
  for (; pixel + kMaxPixels <= row.pixels; pixel += kMaxPixels)
    functions[kMaxPixels - 1](row, pixel);
  if (pixel < row.pixels) functions[row.pixels - pixel - 1](row, pixel);
}

constexpr PixelFunction<DepthwiseRow> kDepthwise[] = {
    depthwise_pixels<1>, depthwise_pixels<2>, depthwise_pixels<3>,
    depthwise_pixels<4>, depthwise_pixels<5>, depthwise_pixels<6>,
#if TENON_LANES == 16
    depthwise_pixels<7>, depthwise_pixels<8>,
#endif
};

template <bool kAverage>
constexpr PixelFunction<PoolRow> kPool[] = {
    pool_pixels<1, kAverage>, pool_pixels<2, kAverage>, pool_pixels<3, kAverage>,
    pool_pixels<4, kAverage>, pool_pixels<5, kAverage>, pool_pixels<6, kAverage>,
#if TENON_LANES == 16
    pool_pixels<7, kAverage>, pool_pixels<8, kAverage>,
#endif
};

void depthwise_row(const DepthwiseRow& row) {
  for_pixels(row, kDepthwise);
}

void pool_row(const PoolRow& row) {
  if (row.average)
    for_pixels(row, kPool<true>);
  else
    for_pixels(row, kPool<false>);
}

}  // namespace

void fill_spatial(KernelTable& table) {
  table.depthwise_row = depthwise_row;
  table.pool_row = pool_row;
}

}  // namespace tenon::cpu::TENON_ISA
