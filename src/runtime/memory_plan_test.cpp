#include "runtime/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace tenon::runtime {
namespace {

// Random lifetimes and sizes: what is alive together never overlaps, and the arena holds it all.
TEST(MemoryPlan, ValuesAliveTogetherNeverOverlap) {
  uint32_t state = 11;
  const auto pick = [&](uint32_t n) {
    state = state * 1664525u + 1013904223u;
    return static_cast<int>((state >> 8) % n);
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<ArenaRequest> requests(static_cast<size_t>(1 + pick(60)));
    int64_t bytes = 0;
    for (ArenaRequest& r : requests) {
      r.first = pick(50);
      r.last = r.first + pick(12);
      r.bytes = pick(10) == 0 ? 0 : 1 + pick(5000);
      bytes += (r.bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    }
    const std::vector<ArenaRequest> asked = requests;
    const int64_t total = place(requests);
    EXPECT_LE(total, bytes);
    for (size_t i = 0; i < requests.size(); ++i) {
      const ArenaRequest& a = requests[i];
      EXPECT_GE(a.offset, 0);
      EXPECT_EQ(a.offset % kArenaAlignment, 0);
      EXPECT_GE(a.bytes, asked[i].bytes);
      EXPECT_LE(a.offset + a.bytes, total);
      for (size_t k = 0; k < i; ++k) {
        const ArenaRequest& b = requests[k];
        const bool together = a.first <= b.last && b.first <= a.last;
        const bool overlap = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
        EXPECT_FALSE(together && overlap) << i << " and " << k << " in round " << round;
      }
    }
  }
}

// A chain in which each value dies as the next but one is made needs room for two.
TEST(MemoryPlan, ReusesWhatIsDead) {
  std::vector<ArenaRequest> chain;
  chain.reserve(10);
  for (int i = 0; i < 10; ++i) chain.push_back({640, i, i + 1});
  EXPECT_EQ(place(chain), 2 * 640);
}

}  // namespace
}  // namespace tenon::runtime
