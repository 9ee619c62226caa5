// Pooling over channels-last tensors. See gemm.h for the rules on pointers.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {

enum class PoolKind : uint8_t { kMax, kAverage };

// x is [batch, depth, height, width, channels], dense; unused leading dims are 1. What a window
// covers outside x is skipped; kMax of an empty window is -inf, kAverage of an empty window 0. NaN
// propagates. With count_include_pad the divisor counts the positions inside x extended by
// pad_begin and pad_end, else those inside x.
struct PoolParams {
  PoolKind kind = PoolKind::kMax;
  int64_t batch = 1;
  int64_t in[3] = {1, 1, 1};
  int64_t out[3] = {1, 1, 1};
  int64_t kernel[3] = {1, 1, 1};
  int64_t stride[3] = {1, 1, 1};
  int64_t dilation[3] = {1, 1, 1};
  int64_t pad_begin[3] = {0, 0, 0};
  int64_t pad_end[3] = {0, 0, 0};
  bool count_include_pad = false;
  int64_t channels = 0;
  const float* x = nullptr;
  float* y = nullptr;
  bool narrow_x = false;  // x is of bf16
  bool narrow_y = false;
};

void pooling(const PoolParams& p, ThreadPool& pool, const KernelTable& table = kernels());

// Mean over all pixels of each image is reduce() in rows.h with outer = batch, reduce = pixels,
// inner = channels.

}  // namespace tenon::cpu
