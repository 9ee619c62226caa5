#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace tenon {
namespace {

TEST(ThreadPool, EveryTaskOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 2000; ++round) {
      const int64_t tasks = round % 17;
      std::vector<std::atomic<int>> counts(17);
      pool.parallel_for(tasks, [&](int64_t i) { counts[static_cast<size_t>(i)].fetch_add(1); });
      for (int64_t i = 0; i < 17; ++i)
        ASSERT_EQ(counts[static_cast<size_t>(i)].load(), i < tasks ? 1 : 0) << round << " " << i;
    }
  }
}

TEST(ThreadPool, WhatTasksWroteIsSeenAfterTheLoop) {
  ThreadPool pool(3);
  std::vector<int64_t> values(1000);
  for (int64_t round = 0; round < 300; ++round) {
    pool.parallel_for(1000, [&](int64_t i) { values[static_cast<size_t>(i)] = i + round; });
    int64_t sum = 0;
    for (const int64_t v : values) sum += v;
    ASSERT_EQ(sum, 1000 * 999 / 2 + 1000 * round);
  }
}

TEST(ThreadPool, WorkersAreUsed) {
  ThreadPool pool(2);
  const auto caller = std::this_thread::get_id();
  std::atomic<bool> other{false};
  // The caller's task waits for one that only a worker can take.
  pool.parallel_for(2, [&](int64_t) {
    if (std::this_thread::get_id() != caller) other = true;
    while (!other) std::this_thread::yield();
  });
  EXPECT_TRUE(other);
}

TEST(ThreadPool, CallersAtOnce) {
  ThreadPool pool(2);
  std::atomic<int64_t> total{0};
  std::vector<std::thread> callers;
  callers.reserve(3);
  for (int c = 0; c < 3; ++c)
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round)
        pool.parallel_for(7, [&](int64_t i) { total.fetch_add(i); });
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total.load(), int64_t{3} * 500 * 21);
}

TEST(ThreadPool, WakesAfterSleeping) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> ran{0};
    pool.parallel_for(50, [&](int64_t) { ran.fetch_add(1); });
    EXPECT_EQ(ran.load(), 50);
  }
}

}  // namespace
}  // namespace tenon
