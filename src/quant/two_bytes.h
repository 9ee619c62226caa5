// Dense layers that multiply two bytes of each number: the second is what rounding to the first
// leaves.
#pragma once

#include "ir/graph.h"
#include "quant/quantize.h"
#include "quant/statistics.h"
#include "quant/weights.h"

namespace tenon::quant {

// Whether a product is a matrix product with few rows per sample.
bool is_dense(const Node& product);

// How an input that held this on calibration data becomes its first byte: by twice the range.
QuantParams first_byte_params(const TensorStatistics& input);

// The range, with room for values that were not seen, and the error of a tensor read in two bytes.
TensorChoice two_byte_choice(const std::string& name, const TensorStatistics& input);

// What stands in place of a dense layer, whose input is real and held `input` on calibration data:
// act(x1 w + x2 w + bias), x1 being the input's first byte, x2 what that leaves in bytes of 1/256
// of the step. `bias` may be null.
Result<Value*> multiply_two_bytes(Graph& graph, Node& node, const TensorStatistics& input,
                                  const QuantizedWeights& weights, Value* bias);

// The product of the other byte where this one is of one of two; null for any other.
const Node* other_byte_of(const Node& product);

}  // namespace tenon::quant
