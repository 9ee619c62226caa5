// Loops whose steps wait for each other, on several threads.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <cstdint>
#include <thread>

#include "base/thread_pool.h"

namespace tenon::cpu {

// `count` steps in parts, all of a step's before any of the next. A part is taken when it can be
// computed: any number of threads gets to the end, and none that is kept waiting holds one.
template <typename Body>
void steps_in_parts(ThreadPool& pool, int64_t count, int64_t parts, Body body) {
  constexpr int kSpins = 8000;
  alignas(64) std::atomic<int64_t> next{0};
  alignas(64) std::atomic<int64_t> done{0};
  pool.parallel_for(pool.threads(), [&](int64_t) {
    for (int spins = 0;;) {
      int64_t task = next.load(std::memory_order_relaxed);
      if (task >= count * parts) return;
      if (done.load(std::memory_order_acquire) < task / parts * parts) {
        if (++spins < kSpins)
          _mm_pause();
        else
          std::this_thread::yield();
      } else if (next.compare_exchange_strong(task, task + 1, std::memory_order_relaxed)) {
        body(task / parts, task % parts);
        done.fetch_add(1, std::memory_order_release);
        spins = 0;
      }
    }
  });
}

}  // namespace tenon::cpu
