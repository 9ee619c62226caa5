#include "device/cpu/kernels/pairs.h"

#include <algorithm>
#include <cstring>

#include "base/numbers.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/transpose8.h"

namespace tenon::cpu {

namespace {

// A panel of 16 columns that are there, `rows` pairs of rows.
void pack_whole_panel(int64_t rows, const BFloat16* b, int64_t ldb, bool transposed,
                      float* packed) {
  auto* to = reinterpret_cast<uint16_t*>(packed);
  const auto* from = reinterpret_cast<const uint16_t*>(b);
  if (!transposed) {
    for (int64_t i = 0; i < rows; ++i, from += 2 * ldb, to += 2 * kPanelColumns)
      for (int64_t j = 0; j < kPanelColumns; ++j) {
        to[2 * j] = from[j];
        to[2 * j + 1] = from[ldb + j];
      }
    return;
  }
  const int64_t whole = ldb % 2 == 0 ? rows / 8 * 8 : 0;
  for (int64_t i = 0; i < whole; i += 8)
    for (int64_t j = 0; j < kPanelColumns; j += 8)
      transpose8<false>(as_pairs(b + j * ldb + 2 * i), ldb / 2, packed + i * kPanelColumns + j,
                        kPanelColumns, 1.0f);
  for (int64_t i = whole; i < rows; ++i)
    for (int64_t j = 0; j < kPanelColumns; ++j)
      std::memcpy(packed + i * kPanelColumns + j, from + j * ldb + 2 * i, 4);
}

}  // namespace

void pack_pairs(int64_t k, int64_t n, const BFloat16* b, int64_t ldb, bool transposed,
                float* packed) {
  // Bits, not numbers: a pair may look like a float that arithmetic would change.
  const int64_t row = transposed ? 1 : ldb, column = transposed ? ldb : 1;
  const int64_t rows = ceil_div(k, 2);
  for (int64_t panel = 0; panel < n; panel += kPanelColumns, packed += rows * kPanelColumns) {
    const bool is_whole = panel + kPanelColumns <= n;
    if (is_whole) pack_whole_panel(k / 2, b + panel * column, ldb, transposed, packed);
    for (int64_t i = is_whole ? k / 2 : 0; i < rows; ++i)
      for (int64_t j = panel; j < panel + kPanelColumns; ++j) {
        BFloat16 pair[2];
        if (j < n) {
          pair[0] = b[2 * i * row + j * column];
          if (2 * i + 1 < k) pair[1] = b[(2 * i + 1) * row + j * column];
        }
        std::memcpy(packed + i * kPanelColumns + j - panel, pair, sizeof pair);
      }
  }
}

void pack_conv_pairs(int64_t taps, int64_t group_in, int64_t out, int64_t groups,
                     const BFloat16* filter, float* packed) {
  const int64_t k = taps * group_in, group_out = out / groups;
  for (int64_t g = 0; g < groups; ++g)
    pack_pairs(k, group_out, filter + g * group_out, out, false,
               packed + g * packed_b_floats(k / 2, group_out));
}

int64_t packed_depthwise_pairs_floats(const int64_t (&kernel)[3], int64_t channels) {
  return kernel[0] * ceil_div(kernel[1], 2) * kernel[2] *
         round_up(channels, kDepthwisePairChannels);
}

void pack_depthwise_pairs(const int64_t (&kernel)[3], int64_t channels, const BFloat16* filter,
                          float* packed) {
  auto* to = reinterpret_cast<char*>(packed);
  const int64_t padded = round_up(channels, kDepthwisePairChannels);
  for (int64_t d = 0; d < kernel[0]; ++d)
    for (int64_t h = 0; h < kernel[1]; h += 2)
      for (int64_t w = 0; w < kernel[2]; ++w)
        for (int64_t i = 0; i < padded; ++i, to += 4) {
          const int64_t group = i / 32 * 32, lane = i % 16;
          const int64_t first = std::max<int64_t>(0, std::min(group, channels - 32));
          const int64_t c = first + lane / 4 * 8 + i % 32 / 16 * 4 + lane % 4;
          const auto weight = [&](int64_t row) {
            return row < kernel[1] && c < channels
                       ? filter[((d * kernel[1] + row) * kernel[2] + w) * channels + c]
                       : BFloat16();
          };
          const BFloat16 pair[2] = {weight(h), weight(h + 1)};
          std::memcpy(to, pair, sizeof pair);
        }
}

}  // namespace tenon::cpu
