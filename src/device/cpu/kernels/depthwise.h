// The depthwise method of conv.h.
#pragma once

#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

const char* depthwise_refusal(const ConvParams& p);
int64_t depthwise_filter_floats(const ConvParams& p);
void pack_depthwise(const ConvParams& p, const float* filter, float* packed);
// Of bf16, for p.narrow_x.
void pack_depthwise_of_pairs(const ConvParams& p, const BFloat16* filter, float* packed);
int64_t depthwise_scratch_bytes(const ConvParams& p, int threads, const KernelTable& table);
// Rows of output pixels, `count` from the one that is the `index`-th of all images, to y and on;
// `channels` channels from `channel` on. The output channels are as many as the input's. With
// ring_rows > 0 the rows of p.x, a single image, lie in a ring of so many.
void depthwise_rows(const ConvParams& p, int64_t index, int64_t count, int64_t channel,
                    int64_t channels, int64_t ring_rows, float* y, const KernelTable& table);
// Channels that are computed for one row after the other, so that the input stays in L1.
int64_t depthwise_channel_block(const ConvParams& p);
void run_depthwise(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table);

}  // namespace tenon::cpu
