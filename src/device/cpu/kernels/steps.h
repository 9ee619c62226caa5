// Loops whose steps wait for each other, on several threads.
#pragma once

#include <immintrin.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>

#include "base/thread_pool.h"

namespace tenon::cpu {

constexpr int64_t kMostParts = 64;

// `count` steps in up to kMostParts parts, all of a step's before any of the next. Each thread has
// a part of its own in every step, whose data stays in its cache, and takes one of a thread that is
// late: any number of threads gets to the end, and none that is kept waiting holds a part.
template <typename Body>
void steps_in_parts(ThreadPool& pool, int64_t count, int64_t parts, Body body) {
  constexpr int kSpins = 8000, kPatience = 64;
  alignas(64) std::array<std::atomic<int64_t>, kMostParts> next{};  // the step to take of each part
  alignas(64) std::atomic<int64_t> done{0};
  pool.parallel_for(pool.threads(), [&](int64_t, int thread) {
    const int64_t own = thread % parts;
    // Who was late at a step is not waited for at the next, unless it has come.
    int patience = kPatience;
    bool helped = false;
    for (int spins = 0;;) {
      const int64_t step = done.load(std::memory_order_acquire) / parts;
      if (step >= count) return;
      const auto take = [&](int64_t part) {
        int64_t expected = step;
        return next[static_cast<size_t>(part)].load(std::memory_order_relaxed) == step &&
               next[static_cast<size_t>(part)].compare_exchange_strong(expected, step + 1,
                                                                       std::memory_order_relaxed);
      };
      int64_t part = own;
      if (take(own)) {
        patience = helped ? 0 : kPatience;
        helped = false;
      } else {
        part = spins < patience ? parts : 0;
        while (part < parts && !take(part)) ++part;
        if (part == parts) {
          if (++spins < kSpins)
            _mm_pause();
          else
            std::this_thread::yield();
          continue;
        }
        helped = true;
      }
      body(step, part);
      done.fetch_add(1, std::memory_order_release);
      spins = 0;
    }
  });
}

}  // namespace tenon::cpu
