// Matrix products dealt to threads.
#include "device/cpu/kernels/gemm.h"

#include <algorithm>

#include "base/numbers.h"
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/transpose8.h"

namespace tenon::cpu {
namespace {

// Floats of B packed at a time; half of a small L2.
constexpr int64_t kPackedFloats = 64 << 10;
constexpr int64_t kTransposedRows = 48;

// How a batched product is cut: per batch index, blocks of columns (packed by the task that takes
// one) and, where that leaves threads idle, blocks of rows.
struct BatchedPlan {
  int64_t batches = 0;
  int64_t column_block = 0;
  int64_t column_blocks = 0;
  int64_t row_block = 0;
  int64_t row_blocks = 0;
  int64_t packed_floats = 0;
  int64_t transposed_floats = 0;
};

// Blocks are multiples of this whatever the table, so that scratch does not depend on it.
constexpr int64_t kColumnUnit = 32;
constexpr int64_t kRowUnit = 12;

BatchedPlan plan_batched(const BatchedGemmParams& p, int threads) {
  BatchedPlan plan;
  plan.batches = p.batch[0] * p.batch[1] * p.batch[2] * p.batch[3];
  const int64_t units = std::max<int64_t>(1, ceil_div(p.n, kColumnUnit));
  int64_t blocks = std::clamp<int64_t>(ceil_div(p.k * p.n, kPackedFloats), 1, units);
  const int64_t wanted = threads == 1 ? 1 : 2 * threads;
  if (plan.batches > 0 && plan.batches * blocks < wanted)
    blocks = std::min(units, ceil_div(wanted, plan.batches));
  plan.column_block = ceil_div(units, blocks) * kColumnUnit;
  plan.column_blocks = std::max<int64_t>(1, ceil_div(p.n, plan.column_block));
  const int64_t row_units = std::max<int64_t>(1, ceil_div(p.m, kRowUnit));
  int64_t row_blocks = 1;
  if (plan.batches > 0 && plan.batches * plan.column_blocks < wanted)
    row_blocks = std::min(row_units, ceil_div(wanted, plan.batches * plan.column_blocks));
  plan.row_block = ceil_div(row_units, row_blocks) * kRowUnit;
  plan.row_blocks = std::max<int64_t>(1, ceil_div(p.m, plan.row_block));
  plan.packed_floats = packed_b_floats(p.k, std::min(plan.column_block, p.n));
  plan.transposed_floats = p.transpose_a ? kTransposedRows * p.k : 0;
  return plan;
}

void transpose_rows(int64_t rows, int64_t k, const float* a, int64_t lda, float* out) {
  int64_t i = 0;
  for (; i + 8 <= k; i += 8) {
    int64_t r = 0;
    for (; r + 8 <= rows; r += 8) transpose8<false>(a + i * lda + r, lda, out + r * k + i, k, 1.0f);
    for (; r < rows; ++r)
      for (int64_t j = i; j < i + 8; ++j) out[r * k + j] = a[j * lda + r];
  }
  for (; i < k; ++i)
    for (int64_t r = 0; r < rows; ++r) out[r * k + i] = a[i * lda + r];
}

int64_t sums_of(const GemmParams& p, const GemmGrid& grid, const KernelTable& table) {
  if (!p.narrow_c) return 0;
  return gemm_region_sums(std::min(p.m, grid.row_block), std::min(p.n, grid.column_block), p.k,
                          table);
}

}  // namespace

int64_t gemm_scratch_bytes(const GemmParams& p, int threads, const KernelTable& table) {
  if (!p.narrow_c || p.m <= 0 || p.n <= 0) return 0;
  return slots_bytes(sums_of(p, choose_gemm_grid(p.m, p.n, p.k, threads, table), table), threads);
}

void gemm(const GemmParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  if (p.m <= 0 || p.n <= 0) return;
  const GemmGrid grid = choose_gemm_grid(p.m, p.n, p.k, pool.threads(), table);
  const int64_t sums = sums_of(p, grid, table);
  parallel_with_slots(pool, grid.tasks(), [&](int64_t task, int64_t slot) {
    const int64_t row = task / grid.column_blocks * grid.row_block;
    const int64_t column = task % grid.column_blocks * grid.column_block;
    GemmRegion region;
    region.m = std::min(grid.row_block, p.m - row);
    region.n = std::min(grid.column_block, p.n - column);
    region.k = p.k;
    region.a = p.a + row * p.lda;
    region.lda = p.lda;
    region.b = p.b + column * p.k;
    region.b_panel_stride = p.k * kPanelColumns;
    region.c = element(p.c, row * p.ldc + column, p.narrow_c);
    region.ldc = p.ldc;
    region.bias = p.bias != nullptr ? p.bias + column : nullptr;
    if (p.residual != nullptr)
      region.residual = element(p.residual, row * p.ld_residual + column, p.narrow_residual);
    region.ld_residual = p.ld_residual;
    region.activation = p.activation;
    region.narrow_c = p.narrow_c;
    region.narrow_residual = p.narrow_residual;
    if (sums > 0) region.sums = slot_floats(scratch, slot, sums);
    gemm_region(region, table);
  });
}

int64_t batched_gemm_scratch_bytes(const BatchedGemmParams& p, int threads) {
  const BatchedPlan plan = plan_batched(p, threads);
  return slots_bytes(plan.packed_floats, threads) + slots_bytes(plan.transposed_floats, threads);
}

void batched_gemm(const BatchedGemmParams& p, ThreadPool& pool, void* scratch,
                  const KernelTable& table) {
  const BatchedPlan plan = plan_batched(p, pool.threads());
  if (plan.batches <= 0 || p.m <= 0 || p.n <= 0) return;
  char* const transposed_scratch =
      static_cast<char*>(scratch) + slots_bytes(plan.packed_floats, pool.threads());
  const int64_t tasks = plan.batches * plan.column_blocks * plan.row_blocks;
  parallel_with_slots(pool, tasks, [&](int64_t task, int64_t slot) {
    const int64_t row = task % plan.row_blocks * plan.row_block;
    const int64_t column = task / plan.row_blocks % plan.column_blocks * plan.column_block;
    int64_t index = task / plan.row_blocks / plan.column_blocks;
    int64_t a_offset = 0, b_offset = 0, c_offset = 0, residual_offset = 0;
    for (int d = BatchedGemmParams::kMaxBatchDims - 1; d >= 0; --d) {
      const int64_t i = index % p.batch[d];
      index /= p.batch[d];
      a_offset += i * p.a_batch_strides[d];
      b_offset += i * p.b_batch_strides[d];
      c_offset += i * p.c_batch_strides[d];
      residual_offset += i * p.residual_batch_strides[d];
    }
    GemmRegion region;
    const int64_t rows = std::min(plan.row_block, p.m - row);
    region.n = std::min(plan.column_block, p.n - column);
    region.k = p.k;
    float* const packed = slot_floats(scratch, slot, plan.packed_floats);
    pack_b_scaled(p.k, region.n, p.b + b_offset + (p.transpose_b ? column * p.ldb : column), p.ldb,
                  p.transpose_b, p.alpha, packed);
    region.b = packed;
    region.b_panel_stride = p.k * kPanelColumns;
    region.ldc = p.ldc;
    region.bias = p.bias != nullptr ? p.bias + column : nullptr;
    region.ld_residual = p.ld_residual;
    region.activation = p.activation;
    const int64_t step = p.transpose_a ? kTransposedRows : rows;
    for (int64_t r = row; r < row + rows; r += step) {
      region.m = std::min(step, row + rows - r);
      region.a = p.a + a_offset + r * p.lda;
      region.lda = p.lda;
      if (p.transpose_a) {
        float* const block = slot_floats(transposed_scratch, slot, plan.transposed_floats);
        transpose_rows(region.m, p.k, p.a + a_offset + r, p.lda, block);
        region.a = block;
        region.lda = p.k;
      }
      region.c = p.c + c_offset + r * p.ldc + column;
      if (p.residual != nullptr)
        region.residual = p.residual + residual_offset + r * p.ld_residual + column;
      gemm_region(region, table);
    }
  });
}

}  // namespace tenon::cpu
