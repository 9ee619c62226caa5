// Elementwise loops over broadcast operands, cut into rows and dealt to threads.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "device/cpu/strides.h"
#include "tensor/shape.h"

namespace tenon::cpu {

// The loop nest of N operands under the result's shape; the innermost loop is one call, in which
// every operand has a step: 0 where it is repeated.
template <size_t N>
class BroadcastRows {
 public:
  BroadcastRows() = default;
  BroadcastRows(const std::vector<int64_t>& shape,
                const std::array<std::vector<int64_t>, N>& operands) {
    std::vector<std::vector<int64_t>> strides;
    strides.reserve(N);
    for (const auto& dims : operands) strides.push_back(broadcast_strides(dims, shape));
    loops_ = collapse(shape, strides);
    if (loops_.shape.empty()) return;
    inner_ = loops_.shape.back();
    for (size_t i = 0; i + 1 < loops_.shape.size(); ++i) rows_ *= loops_.shape[i];
    for (size_t k = 0; k < N; ++k) steps_[k] = loops_.strides[k].back();
  }

  const std::array<int64_t, N>& steps() const { return steps_; }

  // f(at, y, n): n elements of the result from y on stem from the operands' elements from at[k] on,
  // steps()[k] apart.
  template <typename F>
  void run(ThreadPool& pool, F&& f) const {
    if (rows_ == 1) {
      pool.parallel_for((inner_ + kTask - 1) / kTask, [&](int64_t task) {
        const int64_t first = task * kTask;
        std::array<int64_t, N> at;
        for (size_t k = 0; k < N; ++k) at[k] = first * steps_[k];
        f(at, first, std::min(kTask, inner_ - first));
      });
      return;
    }
    const int64_t per_task = std::max<int64_t>(1, kTask / std::max<int64_t>(inner_, 1));
    pool.parallel_for((rows_ + per_task - 1) / per_task, [&](int64_t task) {
      const int64_t end = std::min(rows_, (task + 1) * per_task);
      for (int64_t row = task * per_task; row < end; ++row) {
        std::array<int64_t, N> at{};
        int64_t rest = row;
        for (size_t d = loops_.shape.size() - 1; d-- > 0;) {
          const int64_t i = rest % loops_.shape[d];
          rest /= loops_.shape[d];
          for (size_t k = 0; k < N; ++k) at[k] += i * loops_.strides[k][d];
        }
        f(at, row * inner_, inner_);
      }
    });
  }

 private:
  static constexpr int64_t kTask = 16384;
  Loops loops_;
  int64_t rows_ = 1, inner_ = 1;
  std::array<int64_t, N> steps_{};
};

}  // namespace tenon::cpu
