// A small fork-join pool for data-parallel loops inside one execution. Not a task scheduler.
#pragma once

#include <cstdint>
#include <memory>

namespace tenon {

class ThreadPool {
 public:
  // `threads` counts the caller; 1 means no worker threads.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Calls body(i) for every i in [0, tasks), each once, on the caller and the workers; returns
  // when all are done. One loop at a time: concurrent callers from different threads queue up
  // (a caller that finds the pool busy runs its loop alone). Allocates nothing. Must not nest.
  template <typename Body>
  void parallel_for(int64_t tasks, Body&& body) {
    run(
        tasks,
        [](void* context, int64_t i) {
          (*static_cast<std::remove_reference_t<Body>*>(context))(i);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using TaskFunction = void (*)(void* context, int64_t index);
  void run(int64_t tasks, TaskFunction function, void* context);

  struct State;
  int threads_;
  std::unique_ptr<State> state_;
};

}  // namespace tenon
