// Products of floats with weights of 8 or 4 bits that are widened in registers: what is bound by
// the weights' bytes, above all products of few rows. See gemm.h for the rules on pointers and
// scratch.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "device/cpu/kernels/activation.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {

// c[m, n] = activation(a x (w * scale) + bias + residual), dense but for a's rows.
struct NbitsParams {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  int64_t groups = 1;  // of k / groups rows of w that share a scale
  int bits = 8;
  const float* a = nullptr;
  const void* b = nullptr;  // pack_nbits()
  const float* bias = nullptr;
  const float* residual = nullptr;
  float* c = nullptr;
  Activation activation;
};

// The packed form of `b` and `scale` as the op matmul_nbits has them: panels of 16 columns, per
// group 16 scales and its rows of 16 bytes.
int64_t packed_nbits_floats(const NbitsParams& p);
void pack_nbits(const NbitsParams& p, const void* b, const float* scale, void* packed);

// What the inner loops are given: up to 4 rows, panels side by side.
struct NbitsBlock {
  int64_t m = 0;
  int64_t panels = 0;
  int64_t panel_bytes = 0;
  int64_t groups = 1;
  int64_t group_rows = 0;
  int bits = 8;
  const float* a = nullptr;
  int64_t lda = 0;
  const uint8_t* b = nullptr;
  float* sums = nullptr;  // [m, 16 * panels], rows ld apart
  int64_t ld = 0;
};
constexpr int64_t kNbitsRows = 4;
using NbitsFunction = void (*)(const NbitsBlock& block);
// Of the instruction set of kernels().
NbitsFunction nbits_function();

int64_t nbits_scratch_bytes(const NbitsParams& p, int threads);
void nbits_gemm(const NbitsParams& p, ThreadPool& pool, void* scratch,
                NbitsFunction block = nbits_function(), const KernelTable& table = kernels());

}  // namespace tenon::cpu
