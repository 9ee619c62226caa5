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

// Spins this long, some 100 us, before sleeping: loops inside one execution follow each other
// closely.
constexpr int kSpins = 8000;
// One loop hands out at most this many tasks; longer ones are several loops.
constexpr int64_t kMaxTasks = int64_t{1} << 31;

}  // namespace

// A loop is published by one store to `open`: its number in the upper half, tasks not yet taken in
// the lower. A thread takes a task by lowering that count with a compare-and-swap, so a worker that
// was away while loops came and went cannot take part in the wrong one, and the caller waits for
// taken tasks only, not for workers that have yet to notice the loop.
struct ThreadPool::State {
  std::mutex busy;  // held by the one caller whose loop the workers serve

  // Of the open loop. Written while no task is taken or to be taken.
  TaskFunction function = nullptr;
  void* context = nullptr;
  int64_t first = 0;
  int64_t tasks = 0;

  alignas(64) std::atomic<uint64_t> open{0};
  alignas(64) std::atomic<int64_t> done{0};

  alignas(64) std::atomic<bool> stop{false};
  std::atomic<int> sleepers{0};
  std::mutex sleep_mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;

  static int64_t left(uint64_t loop) { return static_cast<int64_t>(loop & 0xffffffffu); }

  // Runs tasks until none is left to take.
  void drain() {
    int64_t ran = 0;
    uint64_t loop = open.load(std::memory_order_acquire);
    while (left(loop) > 0) {
      if (!open.compare_exchange_weak(loop, loop - 1, std::memory_order_acquire)) continue;
      function(context, first + tasks - left(loop));
      ++ran;
      loop = open.load(std::memory_order_acquire);
    }
    // Until this report the loop cannot end.
    if (ran > 0) done.fetch_add(ran, std::memory_order_release);
  }

  bool has_work() const { return left(open.load(std::memory_order_acquire)) > 0; }

  void work() {
    int spins = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      if (has_work()) {
        drain();
        spins = 0;
      } else if (++spins < kSpins) {
        _mm_pause();
      } else {
        std::unique_lock lock(sleep_mutex);
        sleepers.fetch_add(1);
        wake.wait(lock, [&] { return left(open.load()) > 0 || stop.load(); });
        sleepers.fetch_sub(1);
        spins = 0;
      }
    }
  }

  void run(int64_t begin, int64_t count) {
    first = begin;
    tasks = count;
    done.store(0, std::memory_order_relaxed);
    const uint64_t number = (open.load(std::memory_order_relaxed) >> 32) + 1;
    open.store(number << 32 | static_cast<uint64_t>(count));
    if (sleepers.load() > 0) {
      const std::lock_guard lock(sleep_mutex);
      wake.notify_all();
    }
    drain();
    for (int spins = 0; done.load(std::memory_order_acquire) != count; ++spins)
      if (spins < kSpins)
        _mm_pause();
      else
        std::this_thread::yield();
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
  for (int64_t begin = 0; begin < tasks; begin += kMaxTasks)
    s.run(begin, std::min(kMaxTasks, tasks - begin));
}

}  // namespace tenon
