// With A, B and C in quarters, A11 A12 above A21 A22:
//   S1 = A21 + A22, S2 = S1 - A11, S3 = A11 - A21, S4 = A12 - S2
//   T1 = B12 - B11, T2 = B22 - T1, T3 = B22 - B12, T4 = B21 - T2
//   P = A11 B11, U = P + S2 T2, V = S1 T1, Z = U + S3 T3
//   C11 = P + A12 B21, C12 = U + V + S4 B22, C21 = Z + A22 T4, C22 = Z + V
// What is summed is cut so that all A has of it stays in L2, and the columns so that the sums of B
// are read from L2 as soon as they are made.
#include "device/cpu/kernels/strassen.h"

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "base/numbers.h"
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {
namespace {

// Of a half: rows, what is summed, columns at a time.
constexpr int64_t kMaxRows = 128, kMaxDepth = 768, kColumns = 2 * kPanelColumns;
constexpr int64_t kLine = 16, kLanes = 8;
constexpr double kMostOfSums = 0.085;

struct Plan {
  int64_t row_blocks = 1, rows = 0;  // a block has so many rows in each half, the last ones fewer
  int64_t depth_blocks = 1, depth = 0;
  int64_t column_blocks = 0;  // of kColumns in each half
  int64_t column_parts = 1;   // that different tasks take
  int64_t a_stride() const { return (ceil_div(depth, kLine) | 1) * kLine; }
  int64_t a_floats() const { return rows * a_stride(); }
  int64_t b_floats() const { return depth * kColumns; }
  int64_t c_floats() const { return rows * kColumns; }
  int64_t floats() const { return 7 * a_floats() + 4 * b_floats() + 4 * c_floats(); }
  int64_t tasks() const { return row_blocks * column_parts; }
};

// What sums take of the time that eight products would, by what they are shared by: those of B, of
// C and of A.
double share_of_sums(const GemmParams& p, int64_t rows) {
  const auto part = [](double cycles, int64_t size) { return cycles / static_cast<double>(size); };
  return part(4, rows) + part(5, p.k) + part(5, p.n);
}

Plan make_plan(const GemmParams& p, int threads) {
  Plan plan;
  plan.depth_blocks = std::max<int64_t>(1, ceil_div(p.k, 2 * kMaxDepth));
  plan.depth = ceil_div(ceil_div(p.k, plan.depth_blocks), 2);
  plan.column_blocks = p.n / (2 * kColumns);
  // Threads have blocks of rows of their own, or share the columns of each, with sums of A of their
  // own: whatever keeps the busiest for the shorter time.
  const int64_t fewest = std::max<int64_t>(1, ceil_div(p.m, 2 * kMaxRows));
  double least = INFINITY;
  for (const auto& [blocks, parts] : {std::pair<int64_t, int64_t>{fewest, 1},
                                      {fewest, std::clamp<int64_t>(plan.column_blocks, 1, threads)},
                                      {round_up(fewest, threads), 1}}) {
    const int64_t rows = std::max<int64_t>(1, ceil_div(ceil_div(p.m, blocks), 2));
    const int64_t row_blocks = ceil_div(p.m, 2 * rows);
    const int64_t steps =
        ceil_div(row_blocks * parts, threads) * ceil_div(plan.column_blocks, parts) * rows;
    const double time = static_cast<double>(steps) * (7.0 / 8 + share_of_sums(p, rows));
    if (time >= least) continue;
    least = time;
    plan.row_blocks = row_blocks;
    plan.rows = rows;
    plan.column_parts = parts;
  }
  return plan;
}

enum { kA11, kA12, kA22, kS1, kS2, kS3, kS4 };

// B's quarters of some columns: where panel i of quarter q begins.
struct Quarters {
  const float* first = nullptr;  // null: of nothing
  int64_t below = 0, beside = 0, panel = 0;

  const float* at(int q, int64_t i = 0) const {
    return first + (q & 1) * beside + (q >> 1) * below + i * panel;
  }
};

// A's quarters that are multiplied, and its sums; `low` rows are in the lower half. What is summed
// is read in whole vectors, the last of which may begin before the one before it ends.
[[gnu::noinline]] void sum_rows(const float* a, int64_t lda, int64_t high, int64_t low,
                                int64_t depth, const Plan& plan, float* to) {
  const int64_t apart = plan.a_floats();
  for (int64_t r = 0; r < high; ++r) {
    const float* const upper = a + r * lda;
    const float* const lower = a + (high + r) * lda;
    float* const out = to + r * plan.a_stride();
    for (int64_t at = 0; at < depth; at += kLanes) {
      const int64_t i = std::min(at, depth - kLanes);
      const __m256 x11 = _mm256_loadu_ps(upper + i), x12 = _mm256_loadu_ps(upper + depth + i);
      __m256 x21 = _mm256_setzero_ps(), x22 = x21;
      if (r < low) x21 = _mm256_loadu_ps(lower + i), x22 = _mm256_loadu_ps(lower + depth + i);
      const __m256 s1 = _mm256_add_ps(x21, x22), s2 = _mm256_sub_ps(s1, x11);
      _mm256_storeu_ps(out + kA11 * apart + i, x11);
      _mm256_storeu_ps(out + kA12 * apart + i, x12);
      _mm256_storeu_ps(out + kA22 * apart + i, x22);
      _mm256_storeu_ps(out + kS1 * apart + i, s1);
      _mm256_storeu_ps(out + kS2 * apart + i, s2);
      _mm256_storeu_ps(out + kS3 * apart + i, _mm256_sub_ps(x11, x21));
      _mm256_storeu_ps(out + kS4 * apart + i, _mm256_sub_ps(x12, s2));
    }
  }
}

// Whether no row's largest element is much smaller than that of another, and all are finite.
[[gnu::noinline]] bool are_alike(const float* a, int64_t lda, int64_t rows, int64_t k) {
  constexpr float kMostRatio = 64;
  float least = INFINITY, most = 0;
  for (int64_t r = 0; r < rows; ++r, a += lda) {
    // Compared as integers: what is not finite is larger than all that is.
    const __m256i magnitude = _mm256_set1_epi32(INT32_MAX);
    __m256i x = _mm256_setzero_si256();
    for (int64_t at = 0; at < k; at += kLanes) {
      const float* const from = a + std::min(at, k - kLanes);
      const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
      x = _mm256_max_epi32(x, _mm256_and_si256(bits, magnitude));
    }
    int32_t lanes[kLanes];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), x);
    const float largest = std::bit_cast<float>(*std::max_element(lanes, lanes + kLanes));
    if (!std::isfinite(largest)) return false;
    least = std::min(least, largest);
    most = std::max(most, largest);
  }
  return most <= kMostRatio * least;
}

// B's sums, of one panel in each half of the columns, `apart` floats from one to the next.
[[gnu::noinline]] void sum_panels(const float* left, const float* right, int64_t next,
                                  int64_t floats, int64_t apart, float* t) {
  for (int64_t i = 0; i < floats; i += kLanes) {
    const __m256 x12 = _mm256_loadu_ps(right + i), x22 = _mm256_loadu_ps(right + next + i);
    const __m256 t1 = _mm256_sub_ps(x12, _mm256_loadu_ps(left + i)), t2 = _mm256_sub_ps(x22, t1);
    _mm256_store_ps(t + i, t1);
    _mm256_store_ps(t + apart + i, t2);
    _mm256_store_ps(t + 2 * apart + i, _mm256_sub_ps(x22, x12));
    _mm256_store_ps(t + 3 * apart + i, _mm256_sub_ps(_mm256_loadu_ps(left + next + i), t2));
  }
}

struct Task {
  const GemmParams& p;
  const Plan& plan;
  const KernelTable& table;
  float* scratch;
  int64_t row, high, low;  // rows of C
  int64_t k, depth;        // what is summed: depth from k on, and from k + depth on
  bool first, last;        // of what is summed

  Quarters ahead = {};  // of the columns that come next

  Quarters quarters(int64_t column) const {
    return {p.b + column * p.k + k * kPanelColumns, depth * kPanelColumns, p.n / 2 * p.k,
            p.k * kPanelColumns};
  }

  // The product number `part` of the seven; the first four fetch B's quarters of the next columns.
  void product(int part, int a, const float* b, int64_t b_stride, int64_t rows, const float* add,
               int64_t ld_add, float* c, int64_t ldc, int64_t column = -1) const {
    GemmBlock block;
    block.m = rows;
    block.n = kColumns;
    block.a = scratch + a * plan.a_floats();
    block.lda = plan.a_stride();
    block.run = depth;
    block.b = b;
    block.b_panel_stride = b_stride;
    block.c = c;
    block.ldc = ldc;
    block.add = add;
    block.ld_add = ld_add;
    const bool of_c = column >= 0;
    if (of_c && first && p.bias != nullptr) block.bias = p.bias + column;
    set_activation(block, of_c && last ? p.activation : Activation{});
    if (ahead.first != nullptr && part < 4) {
      block.next_columns = kColumns;
      block.next = ahead.at(part);
      block.next_panel_stride = ahead.panel;
    }
    table.gemm_block(block);
  }

  // What C holds of the blocks before, or what is added to it.
  void add_before(int64_t row_of_c, int64_t column, int64_t rows, float* y) const {
    const float* c = first ? p.residual : p.c;
    if (c == nullptr) return;
    const int64_t ld = first ? p.ld_residual : p.ldc;
    c += row_of_c * ld + column;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < kColumns; ++i) y[r * kColumns + i] += c[r * ld + i];
  }

  void columns(int64_t column) const {
    const Quarters b = quarters(column);
    const int64_t half = p.n / 2, own = depth * kPanelColumns;
    float* const t1 = scratch + 7 * plan.a_floats();
    float *const t2 = t1 + plan.b_floats(), *const t3 = t2 + plan.b_floats(),
                 *const t4 = t3 + plan.b_floats();
    for (int64_t i = 0; i < kColumns / kPanelColumns; ++i)
      sum_panels(b.at(0, i), b.at(1, i), b.below, own, plan.b_floats(), t1 + i * own);
    float* const x = t1 + 4 * plan.b_floats();
    float *const u = x + plan.c_floats(), *const v = u + plan.c_floats(),
                 *const z = v + plan.c_floats();
    float* const c = p.c + row * p.ldc + column;
    float* const below = c + high * p.ldc;
    product(0, kA11, b.at(0), b.panel, high, nullptr, 0, x, kColumns);
    product(1, kS2, t2, own, high, x, kColumns, u, kColumns);
    product(2, kS1, t1, own, high, nullptr, 0, v, kColumns);
    product(3, kS3, t3, own, high, u, kColumns, z, kColumns);
    add_before(row, column, high, x);
    product(4, kA12, b.at(2), b.panel, high, x, kColumns, c, p.ldc, column);
    for (int64_t i = 0; i < high * kColumns; ++i) u[i] += v[i];
    add_before(row, column + half, high, u);
    product(5, kS4, b.at(3), b.panel, high, u, kColumns, c + half, p.ldc, column + half);
    if (low == 0) return;
    for (int64_t i = 0; i < low * kColumns; ++i) v[i] += z[i];
    add_before(row + high, column + half, low, v);
    add_before(row + high, column, low, z);
    product(6, kA22, t4, own, low, z, kColumns, below, p.ldc, column);
    finish(v, below + half, column + half);
  }

  void finish(const float* v, float* c, int64_t column) const {
    GemmBlock clip;
    set_activation(clip, last ? p.activation : Activation{});
    const float* const bias = first && p.bias != nullptr ? p.bias + column : nullptr;
    for (int64_t r = 0; r < low; ++r, v += kColumns, c += p.ldc) {
      for (int64_t i = 0; i < kColumns; ++i)
        c[i] = std::min(std::max(v[i] + (bias == nullptr ? 0.0f : bias[i]), clip.low), clip.high);
      if (clip.post.kind != ActivationKind::kNone) table.activate(clip.post, c, c, kColumns);
    }
  }
};

}  // namespace

const char* strassen_refusal(const GemmParams& p, bool wide) {
  if (p.narrow_c || p.narrow_residual) return "the results are rounded";
  if (p.n % (2 * kColumns) != 0) return "the columns are no whole blocks";
  if (p.k % 2 != 0 || p.k < 2 * kLanes) return "what is summed has no halves";
  const double sums = (wide ? 2 : 1) * share_of_sums(p, make_plan(p, 1).rows);
  return sums < kMostOfSums ? nullptr : "too small to pay for sums of its operands";
}

int64_t strassen_scratch_bytes(const GemmParams& p, int threads) {
  return slots_bytes(make_plan(p, threads).floats(), threads);
}

void strassen_gemm(const GemmParams& p, ThreadPool& pool, void* scratch, const KernelTable& table) {
  const Plan plan = make_plan(p, pool.threads());
  parallel_with_slots(pool, plan.tasks(), [&](int64_t index, int64_t slot) {
    const int64_t block = index / plan.column_parts, part = index % plan.column_parts;
    const int64_t row = block * 2 * plan.rows, rows = std::min(2 * plan.rows, p.m - row);
    float* const own = slot_floats(scratch, slot, plan.floats());
    const int64_t begin = plan.column_blocks * part / plan.column_parts;
    const int64_t end = plan.column_blocks * (part + 1) / plan.column_parts;
    if (!are_alike(p.a + row * p.lda, p.lda, rows, p.k)) {
      for (const int64_t half : {int64_t{0}, p.n / 2})
        gemm_region(region_of(p, row, rows, half + begin * kColumns, (end - begin) * kColumns),
                    table);
      return;
    }
    for (int64_t d = 0; d < plan.depth_blocks; ++d) {
      const int64_t k = d * 2 * plan.depth, all = std::min(2 * plan.depth, p.k - k);
      Task task{p,
                plan,
                table,
                own,
                row,
                ceil_div(rows, 2),
                rows / 2,
                k,
                all / 2,
                d == 0,
                d + 1 == plan.depth_blocks};
      sum_rows(p.a + row * p.lda + k, p.lda, task.high, task.low, task.depth, plan, own);
      for (int64_t i = begin; i < end; ++i) {
        task.ahead = i + 1 < end ? task.quarters((i + 1) * kColumns) : Quarters{};
        task.columns(i * kColumns);
      }
    }
  });
}

}  // namespace tenon::cpu
