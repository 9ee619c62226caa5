// The text form of tile programs: one line an instruction, names of memories, queues and
// instructions from the architecture. It reads back as the same program (parse_program.h).
//
//   program conv1 algorithm=img2col target=ascend310p3 blocks=8 {
//     x: input f16 [150528]
//     y: output f16 [802816]
//     for i0 in 4 {
//       mte2: copy l1[i0 % 2 * 65536] f16 (64:16, 16:1) <- gm x[block * 1024] f16 (64:147, 16:1)
//       set_flag mte2 -> mte1 #i0 % 2
//     }
//     sync all
//   }
//
// A view is memory[offset in bytes] type (size:stride, …), outermost axis first, strides in
// elements; in the global memory the name of the buffer stands after the memory's.
#pragma once

#include <string>

#include "isa/architecture.h"

namespace tenon::isa {

std::string print_program(const Program& program, const Architecture& architecture);
// The line of one instruction, without indentation.
std::string print_instruction(const Instruction& instruction, const Program& program,
                              const Architecture& architecture);
// The line of a statement in the text form, from 1; 0 if the program does not hold it. Either an
// Instruction or a Loop of the program.
int line_of(const Program& program, const void* statement);

std::string_view role_name(Buffer::Role role);

}  // namespace tenon::isa
