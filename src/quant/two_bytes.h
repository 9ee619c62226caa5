// Dense layers that multiply two bytes of each number: the second is what rounding to the first
// leaves.
#pragma once

#include "ir/graph.h"
#include "quant/statistics.h"
#include "quant/weights.h"

namespace tenon::quant {

// Whether a product is a matrix product with few rows per sample.
bool is_dense(const Node& product);

// What stands in place of a dense layer, whose input is real and held `input` on calibration data:
// act(x1 w + x2 w + bias), x1 being the input in bytes whose range is twice what was seen, x2 what
// that leaves in bytes of 1/256 of the step. `bias` may be null.
Result<Value*> multiply_two_bytes(Graph& graph, Node& node, const TensorStatistics& input,
                                  const QuantizedWeights& weights, Value* bias);

// The product of the other byte where this one is of one of two; null for any other.
const Node* other_byte_of(const Node& product);

}  // namespace tenon::quant
