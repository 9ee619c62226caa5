// Parallel loops whose bodies need scratch of their own.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"

namespace tenon::cpu {

// Runs body(task, slot) for every task in [0, tasks), slots in [0, pool.threads()), never two
// bodies at a time with the same slot.
template <typename Body>
void parallel_with_slots(ThreadPool& pool, int64_t tasks, Body&& body) {
  pool.parallel_for(tasks, [&](int64_t task, int thread) { body(task, int64_t{thread}); });
}

// A scratch pointer cut into equal slots of whole cache lines.
inline int64_t round_to_lines(int64_t bytes) {
  return (bytes + 63) / 64 * 64;
}
inline float* slot_floats(void* scratch, int64_t slot, int64_t floats) {
  return reinterpret_cast<float*>(static_cast<char*>(scratch) + slot * round_to_lines(floats * 4));
}
inline int64_t slots_bytes(int64_t floats, int64_t slots) {
  return slots * round_to_lines(floats * 4);
}

}  // namespace tenon::cpu
