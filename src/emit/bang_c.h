// Tile programs of Cambricon chips as BANG C.
#pragma once

#include "emit/kernel.h"

namespace tenon::emit {

// Of NRAM, for windows of convolutions with pads, dilation or partial sums, which the vendor's
// convolution does not have: programs are to be lowered for a chip with so much less.
constexpr int64_t kWindowRoom = int64_t{48} << 10;

// The kernel of one program. Errors: unsupported, naming the layer and the instruction.
Result<Kernel> bang_c_kernel(const isa::Program& program, const isa::Architecture& architecture,
                             std::string name);

}  // namespace tenon::emit
