// Which nodes between products can work on bytes, and how. What is said here of an op holds
// whatever the ranges are.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace tenon::quant {

enum class Support : uint8_t {
  none,
  move,       // gives some of the elements it is given: the same parameters before and after
  pointwise,  // of f32, whatever it computes
  average     // a sum over windows, as a convolution with ones
};
Support support_of(const Node& node);

// The operands of a node of this kind that carry elements; the others are shapes and the like.
std::vector<Value*> data_operands(const Node& node, Support support);

// An average as a convolution with ones: what it reads, times ones, over the divisor.
struct Average {
  std::vector<int64_t> kernel, strides, pads;
  int64_t channels = 0;
  double divisor = 1;
  std::vector<int64_t> squeeze;  // dimensions to leave out afterwards
};
std::optional<Average> average_of(const Node& node);

}  // namespace tenon::quant
