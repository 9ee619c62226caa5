// Products in bf16 on the drivers for floats. Two neighbours along k, 32 bits, are handled as one
// float: an array of bf16 with an even number of channels is one of floats with half as many, the
// packed form has a panel row for every two rows of the weights, and all that a KernelTable of
// pair_kernels() does otherwise is to multiply and add both halves. Sums and results are floats.
#pragma once

#include <cstdint>

#include "base/half.h"

namespace tenon::cpu {

inline const float* as_pairs(const BFloat16* x) {
  return reinterpret_cast<const float*>(x);
}

// pack_b() of b[k, n] or, transposed, b[n, k]: packed_b_floats(ceil(k / 2), n) floats. The last of
// an odd number of rows is paired with zeros.
void pack_pairs(int64_t k, int64_t n, const BFloat16* b, int64_t ldb, bool transposed,
                float* packed);
// pack_conv_filter() of a filter whose groups have an even number of input channels:
// packed_conv_filter_floats(taps, group_in / 2, out, groups) floats.
void pack_conv_pairs(int64_t taps, int64_t group_in, int64_t out, int64_t groups,
                     const BFloat16* filter, float* packed);

// A depthwise filter [kernel…, channels] for a table's depthwise_row (blocks.h): [depth][pairs of
// rows][width][groups of 32 channels], each group those of 0 to 3, 8 to 11, … and then those
// between them. The last group is the last 32 channels; of fewer channels it is padded.
inline constexpr int64_t kDepthwisePairChannels = 32;
// A window has at most so many pairs of rows, one more where the first is above the input.
inline constexpr int64_t kDepthwisePairRows = 32;
int64_t packed_depthwise_pairs_floats(const int64_t (&kernel)[3], int64_t channels);
void pack_depthwise_pairs(const int64_t (&kernel)[3], int64_t channels, const BFloat16* filter,
                          float* packed);

}  // namespace tenon::cpu
