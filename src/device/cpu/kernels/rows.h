// Operations along rows: softmax, normalisation, reductions. See gemm.h for the rules on pointers.
// Only softmax needs scratch. Outputs may be the input itself where shapes are equal.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {

// y = softmax over the middle axis of x[rows, cols, inner] (dense); `log`: the logarithm of it.
struct SoftmaxParams {
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t inner = 1;
  const float* x = nullptr;
  float* y = nullptr;
  bool log = false;
};
int64_t softmax_scratch_bytes(const SoftmaxParams& p, int threads);
void softmax(const SoftmaxParams& p, ThreadPool& pool, void* scratch,
             const KernelTable& table = kernels());

// y = (x + residual - mean) / sqrt(variance + epsilon) * gamma + beta over the last axis of
// x[rows, cols] (dense). rms: no mean is taken off, variance is the mean of squares.
struct LayerNormParams {
  int64_t rows = 0;
  int64_t cols = 0;
  const float* x = nullptr;
  const float* residual = nullptr;  // [rows, cols] or null
  const float* gamma = nullptr;     // [cols] or null (ones)
  const float* beta = nullptr;      // [cols] or null (zeros)
  float epsilon = 1e-5f;
  bool rms = false;
  float* y = nullptr;
  bool narrow_x = false;  // x is of bf16; without a residual
  bool narrow_y = false;
};
// One row of it.
struct LayerNormRow {
  int64_t cols = 0;
  const float* x = nullptr;
  const float* residual = nullptr;
  const float* gamma = nullptr;
  const float* beta = nullptr;
  float epsilon = 0;
  bool rms = false;
  float* y = nullptr;
  bool narrow_x = false;
  bool narrow_y = false;
};
void layer_norm(const LayerNormParams& p, ThreadPool& pool, const KernelTable& table = kernels());

enum class ReduceKind : uint8_t { kSum, kMean, kMax, kMin, kSumSquares, kSumAbs, kProd, kCount };

// y[outer, inner] = reduction over the middle of x[outer, reduce, inner] (dense). An empty
// reduction gives 0 for the sums, NaN for kMean, 1 for kProd, -inf and inf for kMax and kMin. Sums
// are pairwise-like: the error grows with the logarithm of the length.
struct ReduceParams {
  ReduceKind kind = ReduceKind::kSum;
  int64_t outer = 1;
  int64_t reduce = 1;
  int64_t inner = 1;
  const float* x = nullptr;
  float* y = nullptr;
  bool narrow_x = false;  // x is of bf16: kMean with inner > 1 alone
};
void reduce(const ReduceParams& p, ThreadPool& pool, const KernelTable& table = kernels());

}  // namespace tenon::cpu
