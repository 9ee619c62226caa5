// The depthwise method of conv.h.
#pragma once

#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

const char* depthwise_refusal(const ConvParams& p);
int64_t depthwise_filter_floats(const ConvParams& p);
void pack_depthwise(const ConvParams& p, const float* filter, float* packed);
int64_t depthwise_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table);
void run_depthwise(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table);

}  // namespace tenon::cpu
