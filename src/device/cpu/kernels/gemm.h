// Matrix products: with weights packed beforehand, and batched with both sides computed at run
// time.
//
// For every kernel here and in the sibling headers:
// * pointers are borrowed for the call, floats need natural alignment only;
// * `scratch` is `*_scratch_bytes(params, pool.threads())` bytes, 64-byte aligned, contents
//   irrelevant before and after, not shared between concurrent calls;
// * nothing is allocated; concurrent calls with distinct outputs and scratch are safe;
// * the caller has checked shapes: sizes are not negative, extents fit the buffers. Zero sizes
// work;
// * `*_scratch_bytes` looks at sizes and attributes only, never at data pointers.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "device/cpu/kernels/activation.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {

// c = activation(a x b + bias + residual)
struct GemmParams {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  const float* a = nullptr;  // [m, k], rows lda floats apart
  int64_t lda = 0;
  const float* b = nullptr;  // pack_b(k, n, …)
  float* c = nullptr;        // [m, n], rows ldc floats apart; no overlap with a
  int64_t ldc = 0;
  const float* bias = nullptr;      // [n] or null
  const float* residual = nullptr;  // [m, n], rows ld_residual apart, or null; may be c itself
  int64_t ld_residual = 0;
  Activation activation;
  // c and the residual are of bf16, and so are their strides: products of pairs only.
  bool narrow_c = false;
  bool narrow_residual = false;
};

// Some rows of c and some columns, from a multiple of 16 on; without scratch.
GemmRegion region_of(const GemmParams& p, int64_t row, int64_t rows, int64_t column,
                     int64_t columns);

// Null scratch: rows are read where they lie, in whichever sets of the caches; not where c is of
// bf16.
int64_t gemm_scratch_bytes(const GemmParams& p, int threads, const KernelTable& table = kernels());
void gemm(const GemmParams& p, ThreadPool& pool, void* scratch,
          const KernelTable& table = kernels());

// For every index of a batch of up to four dims: c = activation(alpha * a x b + bias + residual).
// Strides are in floats; a stride of 0 repeats the operand (broadcast).
struct BatchedGemmParams {
  static constexpr int kMaxBatchDims = 4;
  int64_t batch[kMaxBatchDims] = {1, 1, 1, 1};
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  float alpha = 1;
  const float* a = nullptr;  // [m, k], rows lda apart; transpose_a: [k, m]
  int64_t lda = 0;
  bool transpose_a = false;
  int64_t a_batch_strides[kMaxBatchDims] = {};
  const float* b = nullptr;  // [k, n], rows ldb apart; transpose_b: [n, k]
  int64_t ldb = 0;
  bool transpose_b = false;
  int64_t b_batch_strides[kMaxBatchDims] = {};
  float* c = nullptr;  // [m, n]; no overlap with a, b, or another batch index
  int64_t ldc = 0;
  int64_t c_batch_strides[kMaxBatchDims] = {};
  const float* bias = nullptr;      // [n] or null; the same for the whole batch
  const float* residual = nullptr;  // like c, may be c itself, or null
  int64_t ld_residual = 0;
  int64_t residual_batch_strides[kMaxBatchDims] = {};
  Activation activation;
};

int64_t batched_gemm_scratch_bytes(const BatchedGemmParams& p, int threads);
void batched_gemm(const BatchedGemmParams& p, ThreadPool& pool, void* scratch,
                  const KernelTable& table = kernels());

}  // namespace tenon::cpu
