// Where each buffer of one execution lies in the arena.
#pragma once

#include <cstdint>
#include <vector>

namespace tenon::runtime {

// A buffer and the steps it lives through, both ends included.
struct Lifetime {
  int64_t bytes = 0;
  int first_step = 0;
  int last_step = 0;
  int64_t offset = 0;  // set by plan_memory
};

// Gives every buffer an offset so that no two that live at the same time overlap: largest first,
// each at the lowest place where it fits. Returns the size of the arena. Offsets are multiples
// of 64.
int64_t plan_memory(std::vector<Lifetime>& buffers);

}  // namespace tenon::runtime
