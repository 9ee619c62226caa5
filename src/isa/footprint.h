// What a tile program takes of each memory of a core, without running it.
#pragma once

#include <vector>

#include "isa/architecture.h"

namespace tenon::isa {

// Per memory of the architecture, the first byte behind all that any block touches; 0 where nothing
// does, and of the global memory. Of a program that check_program lets pass. It is exact but for
// views whose place and size depend on each other in ways that a few thousand trials do not show:
// then it is what they cannot exceed.
std::vector<int64_t> footprint(const Program& program, const Architecture& architecture);

}  // namespace tenon::isa
