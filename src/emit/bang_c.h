// Tile programs of Cambricon chips as BANG C.
#pragma once

#include "emit/kernel.h"

namespace tenon::emit {

// The kernel of one program. Errors: unsupported, naming the layer and the instruction.
Result<Kernel> bang_c_kernel(const isa::Program& program, const isa::Architecture& architecture,
                             std::string name);

}  // namespace tenon::emit
