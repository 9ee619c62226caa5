// A small fork-join pool for data-parallel loops inside one execution. Not a task scheduler.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace tenon {

class ThreadPool {
 public:
  // `threads` counts the caller; 1 means no worker threads.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Calls body(i), or body(i, thread), for every i in [0, tasks), each once, on the caller and the
  // workers; returns when all are done. Every thread begins with a run of its own of neighbouring
  // tasks, the same in every loop of as many, and then takes from those of others: what one loop
  // leaves in a thread's caches the next one finds there. `thread` is in [0, threads()), the caller
  // 0; what one thread does at a time has a number no other has. One loop at a time: concurrent
  // callers from different threads queue up (a caller that finds the pool busy runs its loop
  // alone). Allocates nothing. Must not nest.
  template <typename Body>
  void parallel_for(int64_t tasks, Body&& body) {
    run(
        tasks,
        [](void* context, int64_t i, int thread) {
          auto& call = *static_cast<std::remove_reference_t<Body>*>(context);
          if constexpr (std::is_invocable_v<decltype(call), int64_t, int>)
            call(i, thread);
          else
            call(i);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using TaskFunction = void (*)(void* context, int64_t index, int thread);
  void run(int64_t tasks, TaskFunction function, void* context);

  struct State;
  int threads_;
  std::unique_ptr<State> state_;
};

}  // namespace tenon
