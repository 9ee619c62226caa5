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

// A loop is published by one store to the share of each thread: the tasks not yet taken of it, from
// one in the upper half to the one in the lower. Their owner takes the first of them, others the
// last, by a compare-and-swap. Whoever succeeds has a task of the open loop, however long ago it
// looked: what a loop is made of changes only while no task is taken or to be taken. The caller
// waits for tasks, not for workers that have yet to notice the loop.
struct ThreadPool::State {
  struct alignas(64) Share {
    std::atomic<uint64_t> tasks{0};

    static uint64_t of(int64_t begin, int64_t end) {
      return static_cast<uint64_t>(begin) << 32 | static_cast<uint64_t>(end);
    }
    static int64_t begin(uint64_t tasks) { return static_cast<int64_t>(tasks >> 32); }
    static int64_t end(uint64_t tasks) { return static_cast<int64_t>(tasks & 0xffffffffu); }

    bool empty() const {
      const uint64_t now = tasks.load();
      return begin(now) >= end(now);
    }
    // The task taken; -1 where there is none left.
    int64_t take(bool first) {
      uint64_t now = tasks.load(std::memory_order_acquire);
      while (begin(now) < end(now)) {
        const uint64_t rest = first ? now + (uint64_t{1} << 32) : now - 1;
        if (tasks.compare_exchange_weak(now, rest, std::memory_order_acquire))
          return first ? begin(now) : end(rest);
      }
      return -1;
    }
  };

  explicit State(int threads) : shares(static_cast<size_t>(threads)) {}

  std::mutex busy;  // held by the one caller whose loop the workers serve

  // Of the open loop.
  TaskFunction function = nullptr;
  void* context = nullptr;
  int64_t first = 0;

  std::vector<Share> shares;
  alignas(64) std::atomic<int64_t> done{0};

  alignas(64) std::atomic<bool> stop{false};
  std::atomic<int> sleepers{0};
  std::mutex sleep_mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;

  // Runs tasks until none is left to take.
  void drain(size_t thread) {
    int64_t ran = 0;
    for (size_t i = 0; i < shares.size(); ++i) {
      Share& share = shares[(thread + i) % shares.size()];
      for (int64_t task = 0; (task = share.take(i == 0)) >= 0; ++ran)
        function(context, first + task, static_cast<int>(thread));
    }
    // Until this report the loop cannot end.
    if (ran > 0) done.fetch_add(ran, std::memory_order_release);
  }

  void work(size_t thread) {
    Share& own = shares[thread];
    int spins = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      if (!own.empty()) {
        drain(thread);
        spins = 0;
      } else if (++spins < kSpins) {
        _mm_pause();
      } else {
        std::unique_lock lock(sleep_mutex);
        sleepers.fetch_add(1);
        wake.wait(lock, [&] { return !own.empty() || stop.load(); });
        sleepers.fetch_sub(1);
        spins = 0;
      }
    }
  }

  void run(int64_t begin, int64_t count) {
    first = begin;
    done.store(0, std::memory_order_relaxed);
    const auto threads = static_cast<int64_t>(shares.size());
    // Where there are fewer tasks than threads, the caller and the first workers have them.
    const auto share_begin = [&](int64_t t) { return (count * t + threads - 1) / threads; };
    for (int64_t t = 0; t < threads; ++t)
      shares[static_cast<size_t>(t)].tasks.store(Share::of(share_begin(t), share_begin(t + 1)));
    if (sleepers.load() > 0) {
      const std::lock_guard lock(sleep_mutex);
      wake.notify_all();
    }
    drain(0);
    for (int spins = 0; done.load(std::memory_order_acquire) != count; ++spins)
      if (spins < kSpins)
        _mm_pause();
      else
        std::this_thread::yield();
  }
};

ThreadPool::ThreadPool(int threads)
    : threads_(std::clamp(threads, 1, 256)), state_(std::make_unique<State>(threads_)) {
  for (int i = 1; i < threads_; ++i)
    state_->workers.emplace_back([this, i] { state_->work(static_cast<size_t>(i)); });
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
    for (int64_t i = 0; i < tasks; ++i) function(context, i, 0);
    return;
  }
  s.function = function;
  s.context = context;
  for (int64_t begin = 0; begin < tasks; begin += kMaxTasks)
    s.run(begin, std::min(kMaxTasks, tasks - begin));
}

}  // namespace tenon
