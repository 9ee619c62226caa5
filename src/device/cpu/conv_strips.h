// Convolutions that follow one another, joined by strips of rows (kernels/conv_strips.h).
#pragma once

#include <memory>
#include <vector>

#include "device/cpu/conv_chain.h"

namespace tenon::cpu {

// The kernel of `parts`, in the order of data, and `next`, whose operands begin at `operands`; null
// where they are none or it would be no faster.
std::unique_ptr<Kernel> join_strips(std::vector<ChainPart> parts, const Kernel& next,
                                    size_t operands);

}  // namespace tenon::cpu
