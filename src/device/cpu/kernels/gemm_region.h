// A product on one thread, cut so that its operands stay in the caches; what the parallel drivers
// (gemm, convolution, recurrent, attention) hand out as tasks.
#pragma once

#include <cstdint>
#include <limits>

#include "device/cpu/kernels/activation.h"
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {

// Sets the clip that a micro kernel applies, and what is left for after it.
template <typename Block>
void set_activation(Block& block, const Activation& activation) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  block.low = -kInfinity;
  block.high = kInfinity;
  block.post = {};
  if (activation.kind == ActivationKind::kRelu) {
    block.low = 0;
  } else if (activation.kind == ActivationKind::kClip) {
    block.low = activation.alpha;
    block.high = activation.beta;
  } else {
    block.post = activation;
  }
}

// c[m, n] = activation(a x b + bias + residual), b packed with `b_panel_stride` floats from one
// panel to the next (k * 16 when all of k is used).
struct GemmRegion {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  const float* a = nullptr;
  int64_t lda = 0;
  const float* b = nullptr;
  int64_t b_panel_stride = 0;
  float* c = nullptr;
  int64_t ldc = 0;
  const float* bias = nullptr;
  const float* residual = nullptr;
  int64_t ld_residual = 0;
  Activation activation;
  // c and the residual are of bf16, and so are their strides: products of pairs only.
  bool narrow_c = false;
  bool narrow_residual = false;
  bool fetch_c = false;     // see GemmBlock
  float* sums = nullptr;    // gemm_region_sums() floats, where c is of bf16
  float* copies = nullptr;  // gemm_region_copies() floats, or null for none
};
// Whether results of so many numbers are more than caches near by hold.
inline bool is_far(int64_t count, bool narrow) {
  constexpr int64_t kFarBytes = int64_t{1} << 20;
  return count * (narrow ? 2 : 4) > kFarBytes;
}
// Floats that a region of these sizes needs where its sums, of several parts of k, are rounded in
// the end.
int64_t gemm_region_sums(int64_t m, int64_t n, int64_t k, const KernelTable& table);
// Floats for copies of rows of A that begin in one set of L1, which holds fewer lines than a tile
// has rows: Zen 4 takes a tenth longer for such products. 0 where they do not, or pay for no copy.
int64_t gemm_region_copies(int64_t m, int64_t n, int64_t k, int64_t lda, const KernelTable& table);
void gemm_region(const GemmRegion& region, const KernelTable& table);

// How m x n x k is dealt to threads: blocks of rows and columns, one task a pair; columns in whole
// tiles.
struct GemmGrid {
  int64_t row_block = 0;
  int64_t column_block = 0;
  int64_t row_blocks = 0;
  int64_t column_blocks = 0;
  int64_t tasks() const { return row_blocks * column_blocks; }
};
GemmGrid choose_gemm_grid(int64_t m, int64_t n, int64_t k, int threads, const KernelTable& table);

}  // namespace tenon::cpu
