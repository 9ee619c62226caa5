// Steps in parts: the order, whose part is whose, and threads that do not come.
#include "device/cpu/kernels/steps.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace tenon::cpu {
namespace {

TEST(StepsInParts, EveryPartOfAStepBeforeTheNext) {
  for (const int threads : {1, 2, 5})
    for (const int64_t parts : {int64_t{1}, int64_t{3}, kMostParts}) {
      constexpr int64_t kSteps = 200;
      ThreadPool pool(threads);
      std::vector<std::atomic<int64_t>> done(kSteps);
      std::atomic<int> early{0};
      const auto run = [&] {
        steps_in_parts(pool, kSteps, parts, [&](int64_t step, int64_t part) {
          if (step > 0 && done[static_cast<size_t>(step - 1)] < parts) ++early;
          done[static_cast<size_t>(step)] += part < parts ? 1 : parts;
        });
      };
      run();
      EXPECT_EQ(early, 0);
      for (auto& d : done) EXPECT_EQ(d.exchange(0), parts);
      // Within a task of the pool there is one thread, which waits for nobody.
      pool.parallel_for(2, [&](int64_t i) {
        if (i == 0) run();
      });
      EXPECT_EQ(early, 0);
      for (const auto& d : done) EXPECT_EQ(d, parts);
    }
}

// Each waits within its part for the other, so that none is late.
TEST(StepsInParts, AThreadKeepsItsPart) {
  constexpr int64_t kSteps = 500;
  ThreadPool pool(2);
  std::thread::id last[2];
  std::atomic<int64_t> entered{0};
  int changes = 0;
  for (int call = 0; call < 3; ++call) {
    entered = 0;
    std::atomic<int> changed{0};
    steps_in_parts(pool, kSteps, 2, [&](int64_t step, int64_t part) {
      const std::thread::id self = std::this_thread::get_id();
      if (last[part] != std::thread::id() && last[part] != self) ++changed;
      last[part] = self;
      ++entered;
      while (entered < 2 * (step + 1)) std::this_thread::yield();
    });
    changes += changed;
  }
  EXPECT_EQ(changes, 0);
}

}  // namespace
}  // namespace tenon::cpu
