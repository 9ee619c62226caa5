// The vector unit of a core, of either family: its memory and the queues around it.
#pragma once

#include <algorithm>

#include "lower/lowering.h"

namespace tenon::lower {

struct VectorCore {
  int memory, load, compute, store;

  explicit VectorCore(const isa::Architecture& a) {
    const bool ascend = a.family == AscendChip::family;
    memory = *a.memory(ascend ? "ub" : "nram");
    load = *a.queue(ascend ? "mte2" : "io");
    compute = *a.queue(ascend ? "v" : "compute");
    store = *a.queue(ascend ? "mte3" : "io");
  }
};

// Turns of a block that does every blocks-th of `count` tiles.
inline Expr turns(const ProgramBuilder& b, int64_t count) {
  return (Expr(count + b.blocks() - 1) - b.block()) / b.blocks();
}

inline int64_t bytes_of(DType dtype) {
  return static_cast<int64_t>(dtype_size(dtype));
}

}  // namespace tenon::lower
