// Short-hands for rules of sparse tensors: places [n, rank], values [n], size [rank].
#pragma once

#include "import/tensorflow/compose.h"

namespace tenon::tf {

// Elements of a row-major tensor of `size` that one step of each dimension stands for.
Result<Value*> strides_of(RuleContext& c, Value* size);
// The places as numbers of elements of a row-major tensor, [n], and back.
Result<Value*> flat_places(RuleContext& c, Value* places, Value* size);
Result<Value*> places_of(RuleContext& c, Value* flat, Value* size);
// A dense tensor of `fill` with the values at their places.
Result<Value*> as_dense(RuleContext& c, Value* places, Value* size, Value* values, Value* fill);
// Where the numbers come from in ascending order, equal ones in their order.
Result<Value*> order_of(RuleContext& c, Value* keys);

}  // namespace tenon::tf
