// Instructions of the vector unit, and copies that convert.
#pragma once

#include <span>

#include "isa/opcode.h"
#include "simulate/operand.h"

namespace tenon::simulate {

// dst = op(sources), element by element over equal sizes; `number` is the rounding of convert or
// the relation of compare. Also copy and fill.
void run_elementwise(isa::Opcode op, std::span<const Operand> operands, int64_t number,
                     double scalar);

// dst = the sum, maximum or minimum over the innermost axis.
void run_reduction(isa::Opcode op, const Operand& dst, const Operand& source);

}  // namespace tenon::simulate
