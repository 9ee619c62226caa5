// Which operands take part in shape arithmetic.
#pragma once

#include "ops/op.h"

namespace tenon {

// Whether operand i may hold the sizes of a shape: at most one axis, and short. Spares looking into
// large integer constants.
inline bool may_be_sizes(const InferContext& context, int i) {
  constexpr int64_t kMost = 256;
  const Shape& shape = context.shape(i);
  return shape.ranked() && shape.rank() <= 1 && shape.elements().value_or(kMost + 1) <= kMost;
}

}  // namespace tenon
