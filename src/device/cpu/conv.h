// What the kernels of conv share: its sizes as the convolution kernels have them.
#pragma once

#include <string>

#include "device/cpu/kernel.h"
#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

// Why no convolution kernel takes the step whatever its types; empty where they may.
std::string refuses_conv(const StepInfo& step);
// Sizes and attributes of a step that is not refused, which are all that methods look at.
ConvParams conv_params(const StepInfo& step);

}  // namespace tenon::cpu
