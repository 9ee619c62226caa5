// Padding that depends on the size of the input: as much as makes ceil(size / stride) results.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace tenon {

// Where the odd one of the pads goes.
enum class AutoPad : uint8_t { none, same_upper, same_lower };
inline constexpr std::array<std::string_view, 3> kAutoPadNames{"none", "same_upper", "same_lower"};
constexpr std::span<const std::string_view> enum_names(AutoPad) {
  return kAutoPadNames;
}

// The pads (begins, then ends) of an op with the attributes strides, pads, dilations and auto_pad:
// its own, or with auto_pad those for inputs of these sizes, given per spatial dimension as the
// kernel is. The attributes must have passed infer().
template <typename Op>
std::vector<int64_t> effective_pads(const Op& op, std::span<const int64_t> kernel,
                                    std::span<const int64_t> sizes) {
  if (op.auto_pad == AutoPad::none) return op.pads;
  const size_t n = kernel.size();
  std::vector<int64_t> pads(2 * n);
  for (size_t i = 0; i < n; ++i) {
    const int64_t stride = op.strides.empty() ? 1 : op.strides[i];
    const int64_t dilation = op.dilations.empty() ? 1 : op.dilations[i];
    const int64_t results = (sizes[i] + stride - 1) / stride;
    const int64_t total =
        std::max<int64_t>((results - 1) * stride + (kernel[i] - 1) * dilation + 1 - sizes[i], 0);
    pads[i] = op.auto_pad == AutoPad::same_upper ? total / 2 : total - total / 2;
    pads[i + n] = total - pads[i];
  }
  return pads;
}

}  // namespace tenon
