// The methods of conv.h for groups of several channels.
#pragma once

#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

// Groups narrower than sixteen output channels.
const char* grouped_refusal(const ConvParams& p);
int64_t grouped_filter_floats(const ConvParams& p);
void pack_grouped(const ConvParams& p, const float* filter, float* packed);

// Others, of filters in panels, for vectors of sixteen.
const char* grouped_wide_refusal(const ConvParams& p);

// Either; without scratch.
void run_grouped(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table);

}  // namespace tenon::cpu
