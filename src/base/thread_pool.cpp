#include "base/thread_pool.h"

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace tenon {
namespace {
// Spins this long before sleeping: loops inside one execution follow each other within
// microseconds.
constexpr int kSpins = 4000;
}  // namespace

struct ThreadPool::State {
  std::mutex busy;  // held by the one caller whose loop the workers serve

  TaskFunction function = nullptr;
  void* context = nullptr;
  int64_t tasks = 0;
  std::atomic<int64_t> next{0};
  std::atomic<int> running{0};  // workers that have not finished the current generation

  std::atomic<uint64_t> generation{0};
  std::atomic<bool> stop{false};
  std::atomic<int> sleepers{0};
  std::mutex sleep_mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;

  void drain() {
    for (int64_t i = next.fetch_add(1, std::memory_order_relaxed); i < tasks;
         i = next.fetch_add(1, std::memory_order_relaxed))
      function(context, i);
  }

  void work() {
    uint64_t seen = 0;
    while (true) {
      int spins = 0;
      while (generation.load(std::memory_order_acquire) == seen && !stop.load()) {
        if (++spins < kSpins) {
          _mm_pause();
          continue;
        }
        std::unique_lock lock(sleep_mutex);
        sleepers.fetch_add(1);
        wake.wait(lock, [&] { return generation.load() != seen || stop.load(); });
        sleepers.fetch_sub(1);
      }
      if (stop.load()) return;
      seen = generation.load(std::memory_order_acquire);
      drain();
      running.fetch_sub(1, std::memory_order_release);
    }
  }
};

ThreadPool::ThreadPool(int threads)
    : threads_(std::clamp(threads, 1, 256)), state_(std::make_unique<State>()) {
  for (int i = 1; i < threads_; ++i) state_->workers.emplace_back([this] { state_->work(); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(state_->sleep_mutex);
    state_->stop = true;
  }
  state_->wake.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

void ThreadPool::run(int64_t tasks, TaskFunction function, void* context) {
  State& s = *state_;
  std::unique_lock busy(s.busy, std::defer_lock);
  if (threads_ == 1 || tasks <= 1 || !busy.try_lock()) {
    for (int64_t i = 0; i < tasks; ++i) function(context, i);
    return;
  }
  s.function = function;
  s.context = context;
  s.tasks = tasks;
  s.next.store(0, std::memory_order_relaxed);
  s.running.store(threads_ - 1, std::memory_order_relaxed);
  s.generation.fetch_add(1);
  if (s.sleepers.load() > 0) {
    const std::lock_guard lock(s.sleep_mutex);
    s.wake.notify_all();
  }
  s.drain();
  for (int spins = 0; s.running.load(std::memory_order_acquire) != 0; ++spins)
    if (spins < kSpins)
      _mm_pause();
    else
      std::this_thread::yield();
}

}  // namespace tenon
