// Convolutions of few filters over two spatial dims: one product of every pixel by the filters of
// all taps, side by side to fill vectors, whose columns are added up for the pixels that see them
// (kn2row: Vasudevan et al., Parallel Multi Channel Convolution using General Matrix
// Multiplication, 2017). The gemm_shift method of conv.h.
#pragma once

#include "base/half.h"
#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

const char* shift_refusal(const ConvParams& p);
int64_t shift_filter_floats(const ConvParams& p);
void pack_shift(const ConvParams& p, const float* filter, float* packed);
// The same for products of pairs (pairs.h), of which p has in_channels.
void pack_shift_pairs(const ConvParams& p, const BFloat16* filter, float* packed);
int64_t shift_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table);
void run_shift(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table);

}  // namespace tenon::cpu
