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

// Floats of scratch of a task.
struct TaskFloats {
  int64_t sums = 0;
  int64_t copies = 0;
  int64_t all() const { return sums + copies; }
};

TaskFloats task_floats(const GemmParams& p, const GemmGrid& grid, const KernelTable& table) {
  const int64_t m = std::min(p.m, grid.row_block), n = std::min(p.n, grid.column_block);
  return {p.narrow_c ? gemm_region_sums(m, n, p.k, table) : 0,
          gemm_region_copies(m, n, p.k, p.lda, table)};
}

}  // namespace

GemmRegion region_of(const GemmParams& p, int64_t row, int64_t rows, int64_t column,
                     int64_t columns) {
  GemmRegion region;
  region.m = rows;
  region.n = columns;
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
  region.fetch_c = is_far(p.m * p.ldc, p.narrow_c);
  region.narrow_residual = p.narrow_residual;
  return region;
}

int64_t gemm_scratch_bytes(const GemmParams& p, int threads, const KernelTable& table) {
  if (p.m <= 0 || p.n <= 0) return 0;
  const GemmGrid grid = choose_gemm_grid(p.m, p.n, p.k, threads, table);
  return slots_bytes(task_floats(p, grid, table).all(), threads);
}

void gemm(const GemmParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  if (p.m <= 0 || p.n <= 0) return;
  const GemmGrid grid = choose_gemm_grid(p.m, p.n, p.k, pool.threads(), table);
  const TaskFloats floats = task_floats(p, grid, table);
  parallel_with_slots(pool, grid.tasks(), [&](int64_t task, int64_t slot) {
    const int64_t row = task / grid.column_blocks * grid.row_block;
    const int64_t column = task % grid.column_blocks * grid.column_block;
    GemmRegion region = region_of(p, row, std::min(grid.row_block, p.m - row), column,
                                  std::min(grid.column_block, p.n - column));
    if (floats.all() > 0 && scratch != nullptr) {
      float* const own = slot_floats(scratch, slot, floats.all());
      if (floats.sums > 0) region.sums = own;
      if (floats.copies > 0) region.copies = own + floats.sums;
    }
    gemm_region(region, table);
  });
}

int64_t batched_gemm_scratch_bytes(const BatchedGemmParams& p, int threads) {
  const BatchedPlan plan = plan_batched(p, threads);
  return slots_bytes(plan.packed_floats, threads) + slots_bytes(plan.transposed_floats, threads);
}

namespace {

// Multiply-adds worth a task.
constexpr int64_t kVectorTaskWork = 64 << 10;

bool is_by_vectors(const BatchedGemmParams& p) {
  return p.n == 1 && p.ldc == 1 && (p.transpose_b || p.ldb == 1) && !p.transpose_a &&
         p.bias == nullptr && p.residual == nullptr && p.activation.kind == ActivationKind::kNone;
}

// y[r] = alpha * the sum of a[r * lda + i] * x[i] over i: eight rows by eight columns at a time.
void rows_times_vector(int64_t rows, int64_t k, const float* a, int64_t lda, const float* x,
                       float alpha, float* y) {
  constexpr int64_t kUnit = 8;
  int64_t r = 0;
  for (; r + kUnit <= rows; r += kUnit, a += kUnit * lda) {
    float sums[kUnit] = {}, columns[kUnit * kUnit];
    int64_t i = 0;
    for (; i + kUnit <= k; i += kUnit) {
      transpose8<false>(a + i, lda, columns, kUnit, 1.0f);
      for (int64_t c = 0; c < kUnit; ++c)
        for (int64_t j = 0; j < kUnit; ++j) sums[j] += columns[c * kUnit + j] * x[i + c];
    }
    for (; i < k; ++i)
      for (int64_t j = 0; j < kUnit; ++j) sums[j] += a[j * lda + i] * x[i];
    for (int64_t j = 0; j < kUnit; ++j) y[r + j] = alpha * sums[j];
  }
  for (; r < rows; ++r, a += lda) {
    float sum = 0;
    for (int64_t i = 0; i < k; ++i) sum += a[i] * x[i];
    y[r] = alpha * sum;
  }
}

// Where the operands of a batch begin.
struct BatchOffsets {
  int64_t a = 0, b = 0, c = 0, residual = 0;

  BatchOffsets(const BatchedGemmParams& p, int64_t index) {
    for (int d = BatchedGemmParams::kMaxBatchDims - 1; d >= 0; --d) {
      const int64_t i = index % p.batch[d];
      index /= p.batch[d];
      a += i * p.a_batch_strides[d];
      b += i * p.b_batch_strides[d];
      c += i * p.c_batch_strides[d];
      residual += i * p.residual_batch_strides[d];
    }
  }
};

// Products with vectors, where panels of columns would be all but empty.
void multiply_vectors(const BatchedGemmParams& p, int64_t batches, ThreadPool& pool) {
  const int64_t work = std::max<int64_t>(1, p.m * p.k);
  const int64_t step = std::max<int64_t>(1, kVectorTaskWork / work);
  const int64_t blocks = std::clamp<int64_t>(work / kVectorTaskWork, 1, ceil_div(p.m, int64_t{8}));
  const int64_t block = round_up(ceil_div(p.m, blocks), 8);
  const int64_t row_blocks = ceil_div(p.m, block);
  pool.parallel_for(ceil_div(batches, step) * row_blocks, [&](int64_t task) {
    const int64_t first = task / row_blocks * step, row = task % row_blocks * block;
    for (int64_t i = first; i < std::min(batches, first + step); ++i) {
      const BatchOffsets at(p, i);
      rows_times_vector(std::min(block, p.m - row), p.k, p.a + at.a + row * p.lda, p.lda,
                        p.b + at.b, p.alpha, p.c + at.c + row);
    }
  });
}

}  // namespace

void batched_gemm(const BatchedGemmParams& p, ThreadPool& pool, void* scratch,
                  const KernelTable& table) {
  const BatchedPlan plan = plan_batched(p, pool.threads());
  if (plan.batches <= 0 || p.m <= 0 || p.n <= 0) return;
  if (is_by_vectors(p)) return multiply_vectors(p, plan.batches, pool);
  char* const transposed_scratch =
      static_cast<char*>(scratch) + slots_bytes(plan.packed_floats, pool.threads());
  const int64_t tasks = plan.batches * plan.column_blocks * plan.row_blocks;
  parallel_with_slots(pool, tasks, [&](int64_t task, int64_t slot) {
    const int64_t row = task % plan.row_blocks * plan.row_block;
    const int64_t column = task / plan.row_blocks % plan.column_blocks * plan.column_block;
    const BatchOffsets at(p, task / plan.row_blocks / plan.column_blocks);
    GemmRegion region;
    const int64_t rows = std::min(plan.row_block, p.m - row);
    region.n = std::min(plan.column_block, p.n - column);
    region.k = p.k;
    float* const packed = slot_floats(scratch, slot, plan.packed_floats);
    pack_b_scaled(p.k, region.n, p.b + at.b + (p.transpose_b ? column * p.ldb : column), p.ldb,
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
      region.a = p.a + at.a + r * p.lda;
      region.lda = p.lda;
      if (p.transpose_a) {
        float* const block = slot_floats(transposed_scratch, slot, plan.transposed_floats);
        transpose_rows(region.m, p.k, p.a + at.a + r, p.lda, block);
        region.a = block;
        region.lda = p.k;
      }
      region.c = p.c + at.c + r * p.ldc + column;
      if (p.residual != nullptr)
        region.residual = p.residual + at.residual + r * p.ld_residual + column;
      gemm_region(region, table);
    }
  });
}

}  // namespace tenon::cpu
