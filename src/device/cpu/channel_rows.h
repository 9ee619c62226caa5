// Rows of channels times a scale, plus a shift, activated: what stands in front of products where
// batch normalisation could not be folded. Rows may be put together from parts (a concat), and the
// whole joined to the 1x1 convolution that reads it.
#pragma once

#include <memory>
#include <string>

#include "device/cpu/kernel.h"

namespace tenon::cpu {

// Of `fused` steps, and of `mul`, whose zeros may have another sign.
std::string refuses_channel_rows(const StepInfo& step);
std::unique_ptr<Kernel> make_channel_rows(const StepInfo& step);

}  // namespace tenon::cpu
