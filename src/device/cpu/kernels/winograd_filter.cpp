// Filters of Winograd convolutions: transformed, in the order in which their products read them.
#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "base/numbers.h"
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/winograd.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kSide = WinogradInput::kSide;
constexpr int64_t kColumns = kWinogradColumns;

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

// The 36 or 6 values of sixteen filters at one input channel, `stride` floats apart in `out`.
void transform_filters(const float (&g)[9][kPanelColumns], bool is_line, float* out,
                       int64_t stride) {
  float rows[kSide][3][kPanelColumns];
  const int64_t lines = is_line ? 1 : kSide;
  for (int64_t j = 0; j < 3; ++j)
    for (int64_t o = 0; o < kPanelColumns; ++o) {
      if (is_line) rows[0][j][o] = g[j][o];
      for (int64_t i = 0; !is_line && i < kSide; ++i)
        rows[i][j][o] = kG[i][0] * g[j][o] + kG[i][1] * g[3 + j][o] + kG[i][2] * g[6 + j][o];
    }
  for (int64_t i = 0; i < lines; ++i)
    for (int64_t j = 0; j < kSide; ++j, out += stride)
      for (int64_t o = 0; o < kPanelColumns; ++o)
        out[o] = kG[j][0] * rows[i][0][o] + kG[j][1] * rows[i][1][o] + kG[j][2] * rows[i][2][o];
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
  const bool is_line = winograd_line(p) >= 0;
  const int64_t taps = is_line ? 3 : 9, frequencies = is_line ? kSide : kSide * kSide;
  const int64_t depth = is_line ? 1 : p.kernel[0], k = depth * p.in_channels;
  const int64_t in_channels = unit * p.in_channels;
  for (int64_t channel = 0; channel < p.out_channels; channel += kPanelColumns) {
    const int64_t first = channel / kColumns * kColumns;
    const int64_t panels = ceil_div(std::min(kColumns, p.out_channels - first), kPanelColumns);
    float* const panel = packed + frequencies * first * k + (channel - first) * k;
    const int64_t columns = std::min(kPanelColumns, p.out_channels - channel);
    const int64_t frequency = panels * kPanelColumns * k;
    // Some channels at a time: 36 streams that advance by lines are slow to write.
    constexpr int64_t kChannels = 16, kBlock = kChannels * kPanelColumns;
    float block[kSide * kSide * kBlock];
    int64_t channels = 0;
    for (int64_t at = 0; at < depth * in_channels; at += channels) {
      const int64_t kd = at / in_channels, begin = at % in_channels;
      channels = std::min(kChannels, in_channels - begin);
      for (int64_t c = 0; c < channels; ++c) {
        float g[9][kPanelColumns] = {};
        for (int64_t tap = 0; tap < taps; ++tap)
          std::copy_n(
              filter + ((kd * taps + tap) * in_channels + begin + c) * p.out_channels + channel,
              columns, g[tap]);
        transform_filters(g, is_line, block + c * kPanelColumns, kBlock);
      }
      for (int64_t f = 0; f < frequencies; ++f)
        put_rows(block + f * kBlock, channels, unit,
                 panel + f * frequency + at / unit * kPanelColumns);
    }
  }
}

}  // namespace

int winograd_line(const ConvParams& p) {
  for (int d = 0; d < 3; ++d)
    if (p.kernel[0] * p.kernel[1] * p.kernel[2] == 3 && p.kernel[d] == 3) return d;
  return -1;
}

int64_t winograd_filter_floats(const ConvParams& p) {
  const int64_t frequencies = winograd_line(p) >= 0 ? kSide : kSide * kSide * p.kernel[0];
  return frequencies * p.in_channels * ceil_div(p.out_channels, kPanelColumns) * kPanelColumns;
}

void pack_winograd(const ConvParams& p, const float* filter, float* packed) {
  pack(p, 1, filter, packed);
}
void pack_winograd_pairs(const ConvParams& p, const float* filter, float* packed) {
  pack(p, 2, filter, packed);
}

}  // namespace tenon::cpu
