// What rules about bytes share: tensors between a quantisation and a dequantisation.
#pragma once

#include "ir/graph.h"

namespace tenon {

bool is_byte(DType t);
// One element, as a scalar or a vector.
bool is_single(const Value* v);

// A quantize_linear from f32 to bytes, or a dequantize_linear back, by one constant scale and at
// most one constant zero point.
bool quantises_by_constants(const Node* node);
bool dequantises_by_constants(const Node* node);

// Whether a node of any type gives elements of its first operand, a concat of any, as they are.
bool moves_elements(const Node& node);
// Whether integers are made of it by someone who reads it, perhaps moved: a convolution, a matrix
// product or a quantisation.
bool becomes_integers(const Value* v);

}  // namespace tenon
