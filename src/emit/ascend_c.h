// Tile programs of Ascend chips as Ascend C.
#pragma once

#include "emit/kernel.h"

namespace tenon::emit {

// The kernel of one program. Errors: unsupported, naming the layer and the instruction.
Result<Kernel> ascend_c_kernel(const isa::Program& program, const isa::Architecture& architecture,
                               std::string name);

}  // namespace tenon::emit
