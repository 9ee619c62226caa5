// Row operations dealt to threads.
#include "device/cpu/kernels/rows.h"

#include <algorithm>

#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/transpose8.h"

namespace tenon::cpu {
namespace {

// Floats a task works on: enough to be worth handing out, few enough for L1.
constexpr int64_t kTaskFloats = 8192;
// Columns that a softmax across rows turns into rows at a time.
constexpr int64_t kStrip = 16;

// f(first, last) over ranges of rows of `cols` floats.
template <typename F>
void for_rows(ThreadPool& pool, int64_t rows, int64_t cols, F&& f) {
  if (rows <= 0) return;
  const int64_t step = std::max<int64_t>(1, kTaskFloats / std::max<int64_t>(cols, 1));
  pool.parallel_for((rows + step - 1) / step,
                    [&](int64_t task) { f(task * step, std::min(rows, (task + 1) * step)); });
}

// y[c, r] = x[r, c] for r < rows, c < cols.
void transpose_block(int64_t rows, int64_t cols, const float* x, int64_t ldx, float* y,
                     int64_t ldy) {
  int64_t r = 0;
  for (; r + 8 <= rows; r += 8) {
    int64_t c = 0;
    for (; c + 8 <= cols; c += 8)
      transpose8<false>(x + r * ldx + c, ldx, y + c * ldy + r, ldy, 1.0f);
    for (; c < cols; ++c)
      for (int64_t i = r; i < r + 8; ++i) y[c * ldy + i] = x[i * ldx + c];
  }
  for (; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) y[c * ldy + r] = x[r * ldx + c];
}

}  // namespace

int64_t softmax_scratch_bytes(const SoftmaxParams& p, int threads) {
  return p.inner == 1 ? 0 : slots_bytes(kStrip * p.cols, threads);
}

void softmax(const SoftmaxParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  if (p.cols <= 0 || p.inner <= 0) return;
  if (p.inner == 1) {
    for_rows(pool, p.rows, p.cols, [&](int64_t first, int64_t last) {
      for (int64_t r = first; r < last; ++r)
        table.softmax_row(p.x + r * p.cols, p.y + r * p.cols, static_cast<size_t>(p.cols), p.log);
    });
    return;
  }
  const int64_t strips = (p.inner + kStrip - 1) / kStrip;
  parallel_with_slots(pool, p.rows * strips, [&](int64_t task, int64_t slot) {
    float* const block = slot_floats(scratch, slot, kStrip * p.cols);
    const int64_t column = task % strips * kStrip;
    const int64_t columns = std::min(kStrip, p.inner - column);
    const int64_t offset = task / strips * p.cols * p.inner + column;
    transpose_block(p.cols, columns, p.x + offset, p.inner, block, p.cols);
    for (int64_t c = 0; c < columns; ++c)
      table.softmax_row(block + c * p.cols, block + c * p.cols, static_cast<size_t>(p.cols), p.log);
    transpose_block(columns, p.cols, block, p.cols, p.y + offset, p.inner);
  });
}

void layer_norm(const LayerNormParams& p, ThreadPool& pool, const KernelTable& table) {
  for_rows(pool, p.rows, p.cols, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const int64_t at = r * p.cols;
      table.layer_norm_row({p.cols, element(p.x, at, p.narrow_x),
                            p.residual != nullptr ? p.residual + at : nullptr, p.gamma, p.beta,
                            p.epsilon, p.rms, element(p.y, at, p.narrow_y), p.narrow_x,
                            p.narrow_y});
    }
  });
}

void reduce(const ReduceParams& p, ThreadPool& pool, const KernelTable& table) {
  if (p.outer <= 0 || p.inner <= 0) return;
  const auto kind = static_cast<size_t>(p.kind);
  if (p.inner == 1) {
    for_rows(pool, p.outer, p.reduce, [&](int64_t first, int64_t last) {
      for (int64_t o = first; o < last; ++o)
        p.y[o] = table.reduce_row[kind](p.x + o * p.reduce, static_cast<size_t>(p.reduce));
    });
    return;
  }
  // Strips of columns where there are too few outer ones to go round.
  const int64_t unit = 4 * table.lanes;
  const int64_t units = (p.inner + unit - 1) / unit;
  const int64_t wanted = pool.threads() == 1 ? 1 : 4 * pool.threads();
  int64_t strips = std::clamp<int64_t>(wanted / p.outer, 1, units);
  if (p.reduce * p.inner < 2 * kTaskFloats) strips = 1;
  const int64_t width = (units + strips - 1) / strips * unit;
  strips = (p.inner + width - 1) / width;
  for_rows(pool, p.outer * strips, p.reduce * std::min(width, p.inner),
           [&](int64_t first, int64_t last) {
             for (int64_t task = first; task < last; ++task) {
               const int64_t o = task / strips, column = task % strips * width;
               const float* x = element(p.x, o * p.reduce * p.inner + column, p.narrow_x);
               const int64_t columns = std::min(width, p.inner - column);
               float* const y = p.y + o * p.inner + column;
               if (p.narrow_x)
                 table.average_columns_bf16(reinterpret_cast<const uint16_t*>(x), p.reduce, p.inner,
                                            columns, y);
               else
                 table.reduce_columns[kind](x, p.reduce, p.inner, columns, y);
             }
           });
}

}  // namespace tenon::cpu
