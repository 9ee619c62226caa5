#include "runtime/memory_plan.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace tenon::runtime {

int64_t place(std::span<ArenaRequest> requests) {
  std::vector<ArenaRequest*> order;
  for (ArenaRequest& r : requests) {
    r.bytes = (r.bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    order.push_back(&r);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto* a, const auto* b) { return a->bytes > b->bytes; });
  int64_t total = 0;
  std::vector<ArenaRequest*> placed;  // by offset
  for (ArenaRequest* r : order) {
    int64_t end = 0, best = -1, best_gap = std::numeric_limits<int64_t>::max();
    for (const ArenaRequest* p : placed) {
      if (p->last < r->first || r->last < p->first) continue;
      const int64_t gap = p->offset - end;
      if (gap >= r->bytes && gap < best_gap) best = end, best_gap = gap;
      end = std::max(end, p->offset + p->bytes);
    }
    r->offset = best >= 0 ? best : end;
    total = std::max(total, r->offset + r->bytes);
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), r,
                         [](const auto* a, const auto* b) { return a->offset < b->offset; }),
        r);
  }
  return total;
}

}  // namespace tenon::runtime
