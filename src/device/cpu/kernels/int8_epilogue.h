// What the drivers of 8-bit products share: vectors of the epilogue, made per run.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "device/cpu/kernels/int8.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {

// Arrays per column are padded to this, the widest tile.
inline constexpr int64_t kInt8ColumnUnit = 32;

// The zero point of a channel's weights as they are multiplied, and that of x.
int32_t int8_weights_zero(const Int8Params& p, int64_t channel);
inline int32_t int8_x_zero(const Int8Params& p) {
  return p.x_zero + (p.x_signed ? 128 : 0);
}
// Of a column on.
Int8Epilogue int8_epilogue(const Int8Params& p, const Int8Vectors& v, int64_t column);
inline int64_t int8_result_bytes(Int8Result result) {
  return result == Int8Result::kI32 || result == Int8Result::kF32 ? 4 : 1;
}

// How many tasks a loop of so many cycles is worth: waking others and waiting for them takes about
// as long as the least of them.
inline int64_t tasks_worth(int64_t cycles, int threads) {
  constexpr int64_t kTaskCycles = 3000;
  const int64_t tasks = std::min<int64_t>(cycles / kTaskCycles, 4 * threads);
  if (threads == 1 || tasks <= 1) return 1;
  return tasks < threads ? tasks : tasks / threads * threads;
}
// parallel_with_slots() of tasks that together are worth `most_tasks`.
template <typename Body>
void deal_with_slots(ThreadPool& pool, int64_t tasks, int64_t most_tasks, Body&& body) {
  if (most_tasks > 1) return parallel_with_slots(pool, tasks, body);
  for (int64_t task = 0; task < tasks; ++task) body(task, 0);
}

// A copy of mostly few bytes, where a call would cost more than they do.
inline void copy_few(uint8_t* to, const uint8_t* from, int64_t count) {
  if (count > 512) {
    std::memcpy(to, from, static_cast<size_t>(count));
  } else if (count >= 32) {
    for (int64_t i = 0; i + 32 < count; i += 32) std::memcpy(to + i, from + i, 32);
    std::memcpy(to + count - 32, from + count - 32, 32);
  } else if (count >= 16) {
    std::memcpy(to, from, 16);
    std::memcpy(to + count - 16, from + count - 16, 16);
  } else if (count >= 8) {
    std::memcpy(to, from, 8);
    std::memcpy(to + count - 8, from + count - 8, 8);
  } else if (count >= 4) {
    std::memcpy(to, from, 4);
    std::memcpy(to + count - 4, from + count - 4, 4);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
  }
}

// Depthwise convolutions (int8_depthwise.cpp). `vectors` are as rows at a time have them where
// p.depthwise is given: spread over a period, from those by channel, in memory of as many bytes.
int64_t int8_spread_bytes(const Int8Params& p);
Int8Vectors spread_int8_vectors(const Int8Params& p, const Int8Vectors& by_channel, void* memory);
int64_t int8_depthwise_scratch_bytes(const Int8Params& p, int threads, const Int8Table& table);
void run_int8_depthwise(const Int8Params& p, const Int8Vectors& vectors, ThreadPool& pool,
                        char* scratch, const Int8Table& table);

}  // namespace tenon::cpu
