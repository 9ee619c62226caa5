#include "runtime/memory_plan.h"

#include <algorithm>
#include <numeric>

namespace tenon::runtime {

int64_t plan_memory(std::vector<Lifetime>& buffers) {
  constexpr int64_t kAlignment = 64;
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return buffers[a].bytes > buffers[b].bytes; });
  int64_t arena = 0;
  std::vector<const Lifetime*> placed;  // sorted by offset
  for (const size_t index : order) {
    Lifetime& buffer = buffers[index];
    const int64_t bytes = (buffer.bytes + kAlignment - 1) / kAlignment * kAlignment;
    int64_t offset = 0;
    for (const Lifetime* other : placed) {
      if (other->last_step < buffer.first_step || buffer.last_step < other->first_step) continue;
      if (offset + bytes <= other->offset) break;
      const int64_t end = other->offset + (other->bytes + kAlignment - 1) / kAlignment * kAlignment;
      offset = std::max(offset, end);
    }
    buffer.offset = offset;
    buffer.bytes = bytes;
    arena = std::max(arena, offset + bytes);
    const auto at = std::upper_bound(
        placed.begin(), placed.end(), &buffer,
        [](const Lifetime* a, const Lifetime* b) { return a->offset < b->offset; });
    placed.insert(at, &buffer);
  }
  return arena;
}

}  // namespace tenon::runtime
