// Sums of bytes times factors as bytes again: what residual additions, scales and shifts by channel
// and gates come to between products of integers.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "device/cpu/kernels/int8.h"

namespace tenon::cpu {

// y[i] = round(clip(sum over t of x[t][i] * factor[t][i] + offset[i], low, high)) + zero, factors
// and offsets repeating after `blocks` blocks of 64, within each in the order of
// byte_sum_channel(). An x of signed bytes is read as x + 128.
struct ByteSum {
  static constexpr int kMaxTerms = 4;
  int64_t n = 0;
  int terms = 0;
  const uint8_t* x[kMaxTerms] = {};
  bool x_signed[kMaxTerms] = {};
  const float* factor[kMaxTerms] = {};
  const float* offset = nullptr;
  int64_t blocks = 1;
  bool uniform = false;  // a term's factors are all the same, and so are the offsets
  float low = 0;
  float high = 0;
  bool saturates = false;  // low and high are all that a byte holds, and factors_are_small()
  int32_t zero = 0;
  bool y_signed = false;
  uint8_t* y = nullptr;
};

// Which element of a block of 64 the factor at `position` is for: vectors of 16 are made by
// interleaving bytes within 16 elements.
constexpr int64_t byte_sum_channel(int64_t position) {
  return position % 16 / 4 * 16 + position / 16 * 4 + position % 4;
}
// Blocks after which `channels` begin with a block again.
int64_t byte_sum_blocks(int64_t channels);
// Factors for `channels` channels, over and over, in the order of ByteSum: 64 floats per block.
void spread_factors(const float* by_channel, int64_t channels, float* factors);

// Whether no sum with these n factors and offsets is beyond an i32.
bool factors_are_small(const float* factors, int64_t n);

void sum_bytes(const ByteSum& sum, ThreadPool& pool, const Int8Table& table = int8_kernels());

// y = round(x / scale) + zero, saturated; 0 for NaN.
struct ByteQuantizer {
  float scale = 1;
  int32_t zero = 0;
  bool is_signed = false;
};

// y[i] = table[x[i]].
void look_up_bytes(const uint8_t* x, const uint8_t* table, uint8_t* y, int64_t n);

}  // namespace tenon::cpu
