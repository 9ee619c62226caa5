// Normalisation over the pixels of groups of channels. See gemm.h for the rules on pointers and
// scratch.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"

namespace tenon::cpu {

// y = (x - mean) / sqrt(variance + epsilon) * scale + bias for x [batch, pixels, channels], mean
// and variance over the pixels and the channels of each of `groups` runs of neighbouring channels.
// groups = channels is instance normalisation.
struct GroupNormParams {
  int64_t batch = 0;
  int64_t pixels = 0;
  int64_t channels = 0;
  int64_t groups = 1;
  float epsilon = 0;
  const float* x = nullptr;
  const float* scale = nullptr;  // [channels]
  const float* bias = nullptr;   // [channels]
  float* y = nullptr;            // may be x
};
int64_t group_norm_scratch_bytes(const GroupNormParams& p, int threads);
void group_norm(const GroupNormParams& p, ThreadPool& pool, void* scratch);

}  // namespace tenon::cpu
