// Convolutions of few channels: the rows of windows, from a padded copy of a strip of the input.
// The "gemm_strip" method of conv.h.
#pragma once

#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

const char* strip_refusal(const ConvParams& p);
int64_t strip_filter_floats(const ConvParams& p);
void pack_strip(const ConvParams& p, const float* filter, float* packed);
void pack_strip_pairs(const ConvParams& p, const BFloat16* filter, float* packed);
int64_t strip_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table);
void run_strip(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table);

}  // namespace tenon::cpu
