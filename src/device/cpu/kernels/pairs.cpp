#include "device/cpu/kernels/pairs.h"

#include <cstring>

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

}  // namespace tenon::cpu
