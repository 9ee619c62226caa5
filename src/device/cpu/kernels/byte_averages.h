// Averages of bytes over windows, as bytes or real numbers. See gemm.h for the rules on pointers.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "device/cpu/kernels/int8.h"
#include "device/cpu/kernels/pool.h"

namespace tenon::cpu {

// Windows as those of `pool`, whose x, y and padded positions do not count. With the bytes inside a
// window y = mean(x - x_zero) * x_scale, as kF32, or as kU8 and kI8 round(… / y_scale) + y_zero,
// saturated; 0 of an empty window.
struct ByteAverages {
  PoolParams pool;
  const uint8_t* x = nullptr;
  bool x_signed = false;
  int32_t x_zero = 0;
  float x_scale = 1;
  Int8Result result = Int8Result::kF32;
  float y_scale = 1;
  int32_t y_zero = 0;
  void* y = nullptr;
};

// Whether the sums of a window fit into 16 bits, which they are added in.
bool can_average_bytes(const PoolParams& pool);
int64_t byte_averages_scratch_bytes(const ByteAverages& p, int threads);
void average_bytes(const ByteAverages& p, ThreadPool& pool, void* scratch,
                   const Int8Table& table = int8_kernels());

}  // namespace tenon::cpu
