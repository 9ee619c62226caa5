// What the kernels of conv share: its sizes as the convolution kernels have them.
#pragma once

#include <span>
#include <string>

#include "device/cpu/kernel.h"
#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

// Why no convolution kernel takes the step whatever its types; empty where they may.
std::string refuses_conv(const StepInfo& step);
// Sizes and attributes of a step that is not refused, which are all that methods look at.
ConvParams conv_params(const StepInfo& step);
// The share of an op's multiplications that its kernel does for operands and results of these
// types, all static: 1 but where a convolution of f32 is done by an algorithm that needs fewer.
double multiplied_share(const Op& op, std::span<const TensorType> inputs,
                        std::span<const TensorType> outputs);

}  // namespace tenon::cpu
