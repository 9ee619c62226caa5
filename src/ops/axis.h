// A tensor seen as outer × size × inner around one axis, for ops that work along an axis.
#pragma once

#include <span>

#include "ops/op.h"

namespace tenon {

struct AxisView {
  int64_t outer = 1;
  int64_t size = 1;
  int64_t inner = 1;
};

// `axis` may be negative and has passed inference. A scalar is one element.
inline AxisView axis_view(std::span<const int64_t> dims, int64_t axis) {
  AxisView view;
  const auto rank = static_cast<int64_t>(dims.size());
  if (axis < 0) axis += rank;
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t d = dims[static_cast<size_t>(i)];
    (i < axis ? view.outer : i > axis ? view.inner : view.size) *= d;
  }
  return view;
}

// The type of operand 0, whose elements must satisfy `accepts` and which must have the axis.
// Errors name the op.
Result<TensorType> check_axis_operand(std::string_view op, const InferContext& context,
                                      int64_t axis, bool (*accepts)(DType));

}  // namespace tenon
