// What the drivers of 8-bit products share: vectors of the epilogue, made per run.
#pragma once

#include <cstdint>
#include <cstring>

#include "device/cpu/kernels/int8.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {

// Arrays per column are padded to this, the widest tile.
inline constexpr int64_t kInt8ColumnUnit = 32;

// The vectors of the epilogue, each of padded_columns elements.
struct Int8Vectors {
  int32_t* column_add;
  int32_t* weights_zero;
  float* scale;
  float* bias;
  bool any_zero = false;
  bool small = false;  // all results are far within the range of i32
};

// The zero point of a channel's weights as they are multiplied, and that of x.
int32_t int8_weights_zero(const Int8Params& p, int64_t channel);
inline int32_t int8_x_zero(const Int8Params& p) {
  return p.x_zero + (p.x_signed ? 128 : 0);
}
// Of a column on.
Int8Epilogue int8_epilogue(const Int8Params& p, const Int8Vectors& v, int64_t column);
inline int64_t int8_result_bytes(Int8Result result) {
  return result == Int8Result::kI32 || result == Int8Result::kF32 ? 4 : 1;
}

// A copy of mostly few bytes, where a call would cost more than they do.
inline void copy_few(uint8_t* to, const uint8_t* from, int64_t count) {
  if (count > 512) {
    std::memcpy(to, from, static_cast<size_t>(count));
  } else if (count >= 32) {
    for (int64_t i = 0; i + 32 < count; i += 32) std::memcpy(to + i, from + i, 32);
    std::memcpy(to + count - 32, from + count - 32, 32);
  } else if (count >= 16) {
    std::memcpy(to, from, 16);
    std::memcpy(to + count - 16, from + count - 16, 16);
  } else if (count >= 8) {
    std::memcpy(to, from, 8);
    std::memcpy(to + count - 8, from + count - 8, 8);
  } else if (count >= 4) {
    std::memcpy(to, from, 4);
    std::memcpy(to + count - 4, from + count - 4, 4);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
  }
}

// Depthwise convolutions (int8_depthwise.cpp). `vectors` has out_channels elements that count.
int64_t int8_depthwise_scratch_bytes(const Int8Params& p, int threads);
void run_int8_depthwise(const Int8Params& p, const Int8Vectors& vectors, ThreadPool& pool,
                        char* scratch, const Int8Table& table);

}  // namespace tenon::cpu
