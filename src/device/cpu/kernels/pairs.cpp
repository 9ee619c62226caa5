#include "device/cpu/kernels/pairs.h"

#include <algorithm>
#include <cstring>

#include "base/numbers.h"
#include "device/cpu/kernels/pack.h"

namespace tenon::cpu {

void pack_pairs(int64_t k, int64_t n, const BFloat16* b, int64_t ldb, bool transposed,
                float* packed) {
  // Bits, not numbers: a pair may look like a float that arithmetic would change.
  auto* to = reinterpret_cast<char*>(packed);
  const int64_t row = transposed ? 1 : ldb, column = transposed ? ldb : 1;
  for (int64_t panel = 0; panel < n; panel += kPanelColumns)
    for (int64_t i = 0; i < k; i += 2)
      for (int64_t j = panel; j < panel + kPanelColumns; ++j, to += 4) {
        BFloat16 pair[2];
        if (j < n) {
          pair[0] = b[i * row + j * column];
          pair[1] = b[(i + 1) * row + j * column];
        }
        std::memcpy(to, pair, sizeof pair);
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
