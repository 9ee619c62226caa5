// Filters of Winograd convolutions: transformed, in the order in which their products read them.
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/half.h"
#include "base/numbers.h"
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/winograd.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kColumns = kWinogradColumns;

// The finite points of tiles of 6 or 8 inputs; infinity is the last.
template <size_t kSide>
constexpr auto points() {
  if constexpr (kSide == 6)
    return std::array<float, 5>{0, 0.75f, -0.75f, 1.5f, -1.5f};
  else
    return std::array<float, 7>{0, 0.5f, -0.5f, 1, -1, 2, -2};
}

// G: the filter's side of the points: powers over the product of the distances to the others.
template <size_t kTaps, size_t kSide>
constexpr auto filter_matrix() {
  constexpr auto kPoints = points<kSide>();
  std::array<std::array<float, kTaps>, kSide> g = {};
  for (size_t i = 0; i + 1 < kSide; ++i) {
    double distances = 1;
    for (size_t j = 0; j + 1 < kSide; ++j)
      if (j != i) distances *= double{kPoints[i]} - double{kPoints[j]};
    double power = 1 / distances;
    for (size_t t = 0; t < kTaps; ++t, power *= double{kPoints[i]})
      g[i][t] = static_cast<float>(power);
  }
  g[kSide - 1][kTaps - 1] = 1;
  return g;
}

constexpr int64_t kMaxTaps = 4;
using FilterTaps = float[kMaxTaps * kMaxTaps][kPanelColumns];

// The values of kTaps taps. Those of the points a and -a have the same even powers.
template <size_t kTaps, size_t kSide>
void transform_line(const __m256 (&taps)[kTaps], __m256 (&values)[kSide]) {
  static constexpr auto kG = filter_matrix<kTaps, kSide>();
  const auto sum_from = [&](size_t row, size_t first) __attribute__((always_inline)) {
    __m256 sum = _mm256_mul_ps(_mm256_set1_ps(kG[row][first]), taps[first]);
    for (size_t t = first + 2; t < kTaps; t += 2)
      sum = _mm256_fmadd_ps(_mm256_set1_ps(kG[row][t]), taps[t], sum);
    return sum;
  };
  values[0] = _mm256_mul_ps(_mm256_set1_ps(kG[0][0]), taps[0]);
  for (size_t row = 1; row + 1 < kSide; row += 2) {
    const __m256 even = sum_from(row, 0), odd = sum_from(row, 1);
    values[row] = _mm256_add_ps(even, odd);
    values[row + 1] = _mm256_sub_ps(even, odd);
  }
  values[kSide - 1] = taps[kTaps - 1];
}

// The values of sixteen filters at one input channel, `stride` floats apart in `out`.
template <size_t kTaps, size_t kSide, bool kIsLine>
void transform_filters(const FilterTaps& g, float* out, int64_t stride) {
  constexpr size_t kLanes = 8;
  for (size_t o = 0; o < kPanelColumns; o += kLanes) {
    __m256 rows[kSide][kTaps];
    for (size_t j = 0; j < kTaps; ++j) {
      if constexpr (kIsLine) {
        rows[0][j] = _mm256_loadu_ps(&g[j][o]);
      } else {
        __m256 taps[kTaps], values[kSide];
        for (size_t i = 0; i < kTaps; ++i) taps[i] = _mm256_loadu_ps(&g[kTaps * i + j][o]);
        transform_line(taps, values);
        for (size_t i = 0; i < kSide; ++i) rows[i][j] = values[i];
      }
    }
    float* to = out + o;
    for (size_t i = 0; i < (kIsLine ? 1 : kSide); ++i) {
      __m256 values[kSide];
      transform_line(rows[i], values);
      for (size_t j = 0; j < kSide; ++j, to += stride) _mm256_storeu_ps(to, values[j]);
    }
  }
}

// Rows of sixteen columns; of pairs, every two of them rounded side by side.
void put_rows(const float* rows, int64_t count, int64_t unit, float* to) {
  if (unit == 1) {
    // Past the caches: they would first read what is overwritten whole.
    for (int64_t i = 0; i < count * kPanelColumns; i += 8)
      _mm256_stream_ps(to + i, _mm256_loadu_ps(rows + i));
    return;
  }
  for (int64_t i = 0; i < count; i += 2, rows += 2 * kPanelColumns)
    for (int64_t j = 0; j < kPanelColumns; ++j, ++to) {
      const BFloat16 pair[] = {BFloat16(rows[j]), BFloat16(rows[kPanelColumns + j])};
      std::memcpy(to, pair, sizeof pair);
    }
}

// The taps of sixteen filters at one input channel: those of a group. The lines `ahead` floats on
// are fetched: they are too far apart for the processor to see that they follow.
void gather_taps(const WinogradTaps& taps, int64_t group, const float* filter, int64_t tap_floats,
                 int64_t columns, int64_t ahead, FilterTaps& g) {
  const int64_t side = taps.side;
  const int64_t top = group / taps.columns() * side, left = group % taps.columns() * side;
  const int64_t height = std::min(side, taps.height - top),
                width = std::min(side, taps.width - left);
  const int64_t rows = taps.line >= 0 ? 1 : side;
  const bool is_whole = columns == kPanelColumns && height == rows && width == side;
  if (!is_whole) std::fill_n(&g[0][0], rows * side * kPanelColumns, 0.0f);
  for (int64_t i = 0; i < height; ++i)
    for (int64_t j = 0; j < width; ++j) {
      const float* const from = filter + ((top + i) * taps.width + left + j) * tap_floats;
      __builtin_prefetch(from + ahead);
      if (columns == kPanelColumns)
        std::copy_n(from, kPanelColumns, g[side * i + j]);
      else
        std::copy_n(from, columns, g[side * i + j]);
    }
}

auto transform_of(const WinogradTaps& taps) {
  const bool is_line = taps.line >= 0;
  if (taps.inputs == 8) return transform_filters<3, 8, false>;
  if (taps.side == 3)
    return is_line ? transform_filters<3, 6, true> : transform_filters<3, 6, false>;
  return is_line ? transform_filters<4, 6, true> : transform_filters<4, 6, false>;
}

int64_t filter_floats(const ConvParams& p, const WinogradTaps& taps) {
  return taps.frequencies() * taps.depth * taps.groups() * p.in_channels *
         round_up(p.out_channels, kPanelColumns);
}

// By blocks of columns, then frequency: the order in which they are read.
void pack(const ConvParams& p, const WinogradTaps& taps, int64_t unit, const float* filter,
          float* packed) {
  const auto transform = transform_of(taps);
  const int64_t frequencies = taps.frequencies();
  const int64_t groups = taps.depth * taps.groups(), k = groups * p.in_channels;
  const int64_t in_channels = unit * p.in_channels, tap_floats = in_channels * p.out_channels;
  for (int64_t channel = 0; channel < p.out_channels; channel += kPanelColumns) {
    const int64_t first = channel / kColumns * kColumns;
    const int64_t panels = ceil_div(std::min(kColumns, p.out_channels - first), kPanelColumns);
    float* const panel = packed + frequencies * first * k + (channel - first) * k;
    const int64_t columns = std::min(kPanelColumns, p.out_channels - channel);
    const int64_t frequency = panels * kPanelColumns * k;
    // Some channels at a time: 36 streams that advance by lines are slow to write.
    constexpr int64_t kChannels = 16, kBlock = kChannels * kPanelColumns;
    constexpr int64_t kAhead = 8;
    constexpr int64_t kMostSide = WinogradInput::kMostSide;
    float block[kMostSide * kMostSide * kBlock];
    int64_t channels = 0;
    for (int64_t at = 0; at < groups * in_channels; at += channels) {
      const int64_t group = at / in_channels, begin = at % in_channels;
      const float* const taps_of_depth =
          filter + group / taps.groups() * taps.height * taps.width * tap_floats;
      channels = std::min(kChannels, in_channels - begin);
      for (int64_t c = 0; c < channels; ++c) {
        FilterTaps g;
        gather_taps(taps, group % taps.groups(),
                    taps_of_depth + (begin + c) * p.out_channels + channel, tap_floats, columns,
                    kAhead * p.out_channels, g);
        transform(g, block + c * kPanelColumns, kBlock);
      }
      for (int64_t f = 0; f < frequencies; ++f)
        put_rows(block + f * kBlock, channels, unit,
                 panel + f * frequency + at / unit * kPanelColumns);
    }
  }
  _mm_sfence();
}

}  // namespace

WinogradTaps winograd_taps(const ConvParams& p, bool large) {
  const int64_t(&kernel)[3] = p.kernel;
  WinogradTaps taps{.height = kernel[1], .width = kernel[2], .depth = kernel[0]};
  for (int d = 0; d < 3; ++d)
    if (kernel[d] > 1 && kernel[0] * kernel[1] * kernel[2] == kernel[d])
      taps = {.line = d, .width = kernel[d]};
  if (large) {
    taps.inputs = 8;
    return taps;
  }
  // Multiplications for an output: of every group one a frequency, for as many outputs as a tile
  // has.
  const auto cost = [](const WinogradTaps& t) {
    const double outputs = static_cast<double>(t.outputs());
    return static_cast<double>(t.groups()) / (t.line >= 0 ? outputs : outputs * outputs);
  };
  WinogradTaps of_four = taps;
  of_four.side = 4;
  return cost(of_four) < cost(taps) ? of_four : taps;
}

int64_t winograd_filter_floats(const ConvParams& p) {
  return filter_floats(p, winograd_taps(p));
}
void pack_winograd(const ConvParams& p, const float* filter, float* packed) {
  pack(p, winograd_taps(p), 1, filter, packed);
}
void pack_winograd_pairs(const ConvParams& p, const float* filter, float* packed) {
  pack(p, winograd_taps(p), 2, filter, packed);
}

int64_t winograd_f6_filter_floats(const ConvParams& p) {
  return filter_floats(p, winograd_taps(p, true));
}
void pack_winograd_f6(const ConvParams& p, const float* filter, float* packed) {
  pack(p, winograd_taps(p, true), 1, filter, packed);
}

}  // namespace tenon::cpu
