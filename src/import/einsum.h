// Einstein summation as core ops: transposes, reshapes, matrix products and sums.
#pragma once

#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace tenon {

// The value of an equation such as "bij,bjk->bik" or "...i,i" (spaces are skipped; without an
// arrow the labels that occur once, in alphabetical order). Operands are contracted from left to
// right. Errors: invalid_model for an equation that does not fit the operands, unsupported for an
// operand of unknown rank.
Result<Value*> add_einsum(Builder& builder, std::string_view equation,
                          const std::vector<Value*>& operands);

}  // namespace tenon
