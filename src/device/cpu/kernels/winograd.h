// Winograd convolution F(4x4, 3x3): the "winograd" method of conv.h. A quarter of the
// multiplications of the direct form, for an error some ten times as large (2e-6 of the output's
// scale).
#pragma once

#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

const char* winograd_refusal(const ConvParams& p);
int64_t winograd_filter_floats(const ConvParams& p);
void pack_winograd(const ConvParams& p, const float* filter, float* packed);
int64_t winograd_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table);
void run_winograd(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table);

}  // namespace tenon::cpu
