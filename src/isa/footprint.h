// What a tile program takes of each memory of a core, and for what, without running it.
#pragma once

#include <vector>

#include "isa/architecture.h"

namespace tenon::isa {

// Per memory of the architecture, the first byte behind all that any block touches; 0 where nothing
// does, and of the global memory. Of a program that check_program lets pass. It is exact but for
// views whose place and size depend on each other in ways that a few thousand trials do not show:
// then it is what they cannot exceed.
std::vector<int64_t> footprint(const Program& program, const Architecture& architecture);

// A part of a core's memory that is used for one thing, and when.
struct Resident {
  int memory = 0;
  int64_t begin = 0, end = 0;  // in bytes; parts do not overlap
  // Of the program whose elements pass through it, loaded or to be stored; none: what is computed
  // there stays on the core.
  std::vector<int> buffers;
  std::vector<Opcode> written_by;
  int64_t first = 0, last = 0;  // instructions in the order of the text, the first is 1
  std::vector<int> loops;       // variables of those around all of these: it is there for one turn
};

// By memory and place. What lies in a memory one after the other at overlapping places is one part.
std::vector<Resident> residents(const Program& program);

}  // namespace tenon::isa
