// Fourier transforms as products with the matrices of their waves, over real tensors.
#pragma once

#include "ir/graph.h"

namespace tenon {

// Complex numbers as two real tensors of one shape.
struct ComplexParts {
  Value* re = nullptr;
  Value* im = nullptr;  // null where every one is 0
};

// Over the last axis of x, cut or zero-padded to `length`: the first `kept` frequencies, or, as the
// inverse, samples divided by the length. Null parts where the matrices would be too large and the
// length has no factors to do it in two steps.
Result<ComplexParts> transform_parts(Builder& builder, ComplexParts x, int64_t length, int64_t kept,
                                     bool inverse);

// The real signal of this length that x are the first frequencies of, over the last axis. Null
// where the matrices would be too large.
Result<Value*> real_signal(Builder& builder, ComplexParts x, int64_t length);

// (a + i b) (c + i d), the product of two parts by an op of two operands that is linear in both.
Result<ComplexParts> multiply_parts(Builder& builder, const Op& op, const ComplexParts& a,
                                    const ComplexParts& b);

}  // namespace tenon
