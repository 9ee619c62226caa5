// The functional simulator: executes a tile program on real bytes of the memories it names, with
// the chip's arithmetic, and finds what a chip would do at random: reads of what nobody wrote, and
// accesses to the same bytes that no flag, sync or barrier orders. What it computes is simulated;
// how long a chip would take, it does not say.
//
// Arithmetic: products of f16 and bf16 are summed in f32, those of 8-bit integers in i32. The
// vector unit computes in f32 and rounds to nearest even; integers among themselves exactly, and
// what does not fit is saturated. Sums over f16 are f32 before they are rounded.
#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "isa/architecture.h"
#include "isa/program.h"

namespace tenon::simulate {

// The memory of one buffer of the program, of at least its size.
struct GlobalBuffer {
  std::span<std::byte> bytes;
};

struct RunOptions {
  ThreadPool* pool = nullptr;  // blocks run on its threads; null: on the caller's
  bool check_order = true;     // find races and reads of what nobody wrote
  // Elements that all instructions of a block may touch together: programs of others may loop for
  // ever.
  int64_t max_work = std::numeric_limits<int64_t>::max();
  bool writes_all = false;  // beside that: an output that is not written throughout is an error
  // Where given, what the program keeps its tiles in: an operand in a core's memory lies within
  // one.
  std::span<const isa::Place> places;
  // Where given, per memory of a core the first byte behind all that any block touched; it grows.
  std::vector<int64_t>* peaks = nullptr;
};

// Runs all blocks. The program must have passed check_program; `buffers` are its buffers in order:
// inputs and constants hold their values, outputs and scratch are written. Errors name the program,
// the line and text of the instruction, the block and the loop variables.
Status run_program(const isa::Program& program, const isa::Architecture& architecture,
                   std::span<const GlobalBuffer> buffers, const RunOptions& options = {});

}  // namespace tenon::simulate
