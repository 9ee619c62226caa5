// What the kernels of conv share: its sizes as the convolution kernels have them.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "device/cpu/kernel.h"
#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

// Why no convolution kernel takes the step whatever its types; empty where they may.
std::string refuses_conv(const StepInfo& step);
// Sizes and attributes of a step that is not refused, which are all that methods look at.
ConvParams conv_params(const StepInfo& step);

// What a concat put side by side and a convolution reads where it lies: Kernel::with_parts. None:
// operand 0 is read whole.
struct InputParts {
  using List = std::array<ChannelPart, 8>;

  // Null where `method` reads none, where they are too many, or where one is not a multiple of
  // `unit` channels.
  static std::optional<InputParts> make(const ConvMethod& method, std::vector<int64_t> channels,
                                        int64_t unit);
  // Operands before operand 0, which they are in the place of.
  size_t count() const { return channels.size(); }
  // Sets the input of `p`, whose floats are of `per_float` channels; `list` must outlive it.
  void set_input(const RunContext& context, int64_t per_float, List& list, ConvParams& p) const;

  std::vector<int64_t> channels;
};

// The share of an op's multiplications that its kernel does for operands and results of these
// types, all static: 1 but where a convolution of f32 is done by an algorithm that needs fewer.
double multiplied_share(const Op& op, std::span<const TensorType> inputs,
                        std::span<const TensorType> outputs);

}  // namespace tenon::cpu
