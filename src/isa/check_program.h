// The verifier of tile programs: what it lets pass can be run and printed, touches nothing outside
// of its memories and buffers and respects the limits of the chip. Whether instructions wait for
// what they need, only running them tells (simulate/).
#pragma once

#include "base/result.h"
#include "isa/architecture.h"

namespace tenon::isa {

// Offsets, sizes and ids are looked at for all values of block and loop variables. Errors name the
// program, the line of the text form, the instruction and the values it breaks a limit at.
// A program whose loops are too intricate to be sure of within a second passes: running it checks
// each access again.
Status check_program(const Program& program, const Architecture& architecture);

// What does not depend on values: operands, types, the route. Errors say only what is wrong.
Status check_instruction(const Instruction& instruction, const Program& program,
                         const Architecture& architecture);

// The error with the program, the line and the text of the instruction.
Error at_instruction(Error error, const Instruction& instruction, const Program& program,
                     const Architecture& architecture);

// Whether programs can have elements of the type.
bool is_tile_dtype(DType dtype);

}  // namespace tenon::isa
