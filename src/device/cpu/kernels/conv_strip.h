// Convolutions of few channels: the rows of windows, from a padded copy of a strip of the input.
// The "gemm_strip" method of conv.h.
#pragma once

#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

const char* strip_refusal(const ConvParams& p);
int64_t strip_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table);
void run_strip(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table);

}  // namespace tenon::cpu
