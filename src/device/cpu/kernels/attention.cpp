// Attention head by head: keys and values are packed once, then blocks of query rows whose scores
// stay in cache are scored, normalised and mixed.
#include "device/cpu/kernels/attention.h"

#include <algorithm>
#include <limits>

#include "base/numbers.h"
#include "device/cpu/kernels/elementwise.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/pairs.h"
#include "device/cpu/kernels/rows.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
// Scores held at a time.
constexpr int64_t kScoreFloats = 32 << 10;
constexpr int64_t kRowUnit = 12, kMostRows = 96;

// How the work is cut, and what a task's scratch holds.
struct Plan {
  int64_t block = 0;      // query rows scored at a time
  int64_t row_parts = 1;  // parts of the query rows of one head group, a task each
  int64_t rows_per_part = 0;
  int64_t key_floats = 0;
  int64_t value_floats = 0;
  int64_t result_floats = 0;  // of a block, before it is rounded
  int64_t floats = 0;
};

// Floats, or pairs, that so many numbers are multiplied as.
int64_t depth_of(const AttentionParams& p, int64_t count) {
  return p.narrow ? ceil_div(count, 2) : count;
}

Plan make_plan(const AttentionParams& p, int threads) {
  const auto whole_lines = [](int64_t floats) { return (floats + 15) / 16 * 16; };
  Plan plan;
  plan.block =
      std::clamp<int64_t>(kScoreFloats / std::max<int64_t>(p.kv_len, 1), kRowUnit, kMostRows) /
      kRowUnit * kRowUnit;
  plan.block = std::min(plan.block, std::max<int64_t>(p.q_len, 1));
  const int64_t groups = std::max<int64_t>(1, p.batch * p.kv_heads);
  const int64_t blocks = std::max<int64_t>(1, ceil_div(p.q_len, plan.block));
  const int64_t wanted = threads == 1 ? 1 : 2 * threads;
  if (groups < wanted) plan.row_parts = std::clamp<int64_t>(ceil_div(wanted, groups), 1, blocks);
  plan.rows_per_part = ceil_div(blocks, plan.row_parts) * plan.block;
  plan.row_parts = std::max<int64_t>(1, ceil_div(p.q_len, plan.rows_per_part));
  plan.key_floats = whole_lines(packed_b_floats(depth_of(p, p.head_dim), p.kv_len));
  plan.value_floats = whole_lines(packed_b_floats(depth_of(p, p.kv_len), p.value_dim));
  if (p.narrow_y) plan.result_floats = whole_lines(plan.block * p.value_dim);
  plan.floats = plan.key_floats + plan.value_floats + plan.result_floats + plan.block * p.kv_len;
  return plan;
}

template <typename T>
int64_t offset(const HeadView<T>& view, int64_t b, int64_t h, int64_t row) {
  return b * view.batch_stride + h * view.head_stride + row * view.row_stride;
}
template <typename T>
T* at(const HeadView<T>& view, int64_t b, int64_t h, int64_t row) {
  return view.data + offset(view, b, h, row);
}
const BFloat16* narrow_at(const HeadView<const float>& view, int64_t b, int64_t h, int64_t row) {
  return reinterpret_cast<const BFloat16*>(view.data) + offset(view, b, h, row);
}

class Head {
 public:
  Head(const AttentionParams& p, int64_t b, int64_t h, const float* keys, const float* values,
       float* results, float* scores, const KernelTable& table)
      : p_(p),
        b_(b),
        h_(h),
        keys_(keys),
        values_(values),
        results_(results),
        scores_(scores),
        table_(table) {}

  void run(int64_t first, int64_t rows) const {
    // A causal block ends where its last row does.
    int64_t seen = p_.kv_len;
    if (p_.causal) seen = std::clamp<int64_t>(first + rows + p_.kv_len - p_.q_len, 0, p_.kv_len);
    GemmRegion score;
    score.m = rows;
    score.n = seen;
    score.k = depth_of(p_, p_.head_dim);
    score.a = p_.narrow ? as_pairs(narrow_at(p_.q, b_, h_, first)) : at(p_.q, b_, h_, first);
    score.lda = depth_of(p_, p_.q.row_stride);
    score.b = keys_;
    score.b_panel_stride = score.k * kPanelColumns;
    score.c = scores_;
    score.ldc = p_.kv_len;
    gemm_region(score, table_);
    float factors[kMostRows];  // of the rows of results, where weights were not divided
    for (int64_t r = 0; r < rows; ++r)
      factors[r] = normalise(first + r, scores_ + r * p_.kv_len, seen);
    GemmRegion mix;
    mix.m = rows;
    mix.n = p_.value_dim;
    mix.k = depth_of(p_, seen);
    mix.a = scores_;
    mix.lda = p_.kv_len;
    mix.b = values_;
    mix.b_panel_stride = depth_of(p_, p_.kv_len) * kPanelColumns;
    mix.c = p_.narrow_y ? results_ : at(p_.y, b_, h_, first);
    mix.ldc = p_.narrow_y ? p_.value_dim : p_.y.row_stride;
    gemm_region(mix, table_);
    if (!p_.narrow_y) return;
    auto* y = reinterpret_cast<uint16_t*>(p_.y.data) + offset(p_.y, b_, h_, first);
    for (int64_t r = 0; r < rows; ++r, y += p_.y.row_stride) {
      float* const row = results_ + r * p_.value_dim;
      if (p_.narrow) scale(row, factors[r], static_cast<size_t>(p_.value_dim));
      table_.round_bf16(row, y, p_.value_dim);
    }
  }

 private:
  void scale(float* x, float by, size_t n) const {
    table_.binary_vs[static_cast<size_t>(BinaryOp::kMul)](x, &by, x, n);
  }

  // Where nothing is left to look at.
  float fill(float* scores, int64_t seen) const {
    const float value = p_.nan_when_empty ? kNan : 0.0f;
    if (p_.narrow)
      end_row(std::fill_n(reinterpret_cast<uint16_t*>(scores), seen, BFloat16(value).bits), scores,
              seen);
    else
      std::fill_n(scores, seen, value);
    return 1;
  }
  // Weights from `end` on are 0, and so is what the last of an odd number is paired with.
  static void end_row(uint16_t* end, float* scores, int64_t seen) {
    std::fill(end, reinterpret_cast<uint16_t*>(scores) + (seen + 1) / 2 * 2, uint16_t{0});
  }

  // Turns a row of scores into weights under the masks; those from `seen` on are not looked at.
  // What the mixture by them is to be multiplied by.
  float normalise(int64_t row, float* scores, int64_t seen) const {
    int64_t n = seen;
    if (p_.causal) n = std::clamp<int64_t>(row + 1 + p_.kv_len - p_.q_len, 0, seen);
    if (p_.keep.data != nullptr) {
      const bool* keep = at(p_.keep, b_, h_, row);
      for (int64_t i = 0; i < n; ++i) scores[i] = keep[i * p_.mask_step] ? scores[i] : kNever;
    }
    const float* mask = p_.mask.data == nullptr ? nullptr : at(p_.mask, b_, h_, row);
    return p_.narrow ? weigh_narrow(scores, mask, n, seen) : weigh(scores, mask, n, seen);
  }

  float weigh_narrow(float* scores, const float* mask, int64_t n, int64_t seen) const {
    float factor = p_.scale;  // keys are not scaled
    const bool together = (mask == nullptr || p_.mask_step != 0) && factor > 0;
    if (!together) {
      scale(scores, factor, static_cast<size_t>(n));
      add_mask(scores, mask, static_cast<size_t>(n));
      factor = 1;
    }
    auto* const weights = reinterpret_cast<uint16_t*>(scores);
    const float sum = table_.weigh_row({scores, together ? mask : nullptr, factor, weights, n});
    if (sum == 0) return fill(scores, seen);
    end_row(weights + n, scores, seen);
    return 1 / sum;
  }

  float weigh(float* scores, const float* mask, int64_t n, int64_t seen) const {
    const auto count = static_cast<size_t>(n);
    std::fill(scores + n, scores + seen, 0.0f);
    add_mask(scores, mask, count);
    const bool masked = mask != nullptr || p_.keep.data != nullptr;
    if (n == 0 || (masked && table_.reduce_row[static_cast<size_t>(ReduceKind::kMax)](
                                 scores, count) == kNever))
      return fill(scores, seen);
    table_.softmax_row(scores, scores, count, false);
    return 1;
  }

  void add_mask(float* scores, const float* mask, size_t n) const {
    const auto add = static_cast<size_t>(BinaryOp::kAdd);
    if (mask != nullptr)
      (p_.mask_step == 0 ? table_.binary_vs : table_.binary)[add](scores, mask, scores, n);
  }

  const AttentionParams& p_;
  int64_t b_, h_;
  const float* keys_;
  const float* values_;
  float* results_;
  float* scores_;
  const KernelTable& table_;
};

}  // namespace

int64_t attention_scratch_bytes(const AttentionParams& p, int threads) {
  return slots_bytes(make_plan(p, threads).floats, threads);
}

void attention(const AttentionParams& p, ThreadPool& pool, void* scratch,
               const KernelTable& table) {
  if (p.batch <= 0 || p.heads <= 0 || p.q_len <= 0 || p.value_dim <= 0) return;
  const Plan plan = make_plan(p, pool.threads());
  const int64_t heads_per_group = p.heads / p.kv_heads;
  const int64_t tasks = p.batch * p.kv_heads * plan.row_parts;
  parallel_with_slots(pool, tasks, [&](int64_t task, int64_t slot) {
    const int64_t part = task % plan.row_parts;
    const int64_t group = task / plan.row_parts % p.kv_heads;
    const int64_t b = task / plan.row_parts / p.kv_heads;
    float* const keys = slot_floats(scratch, slot, plan.floats);
    float* const values = keys + plan.key_floats;
    float* const results = values + plan.value_floats;
    float* const scores = results + plan.result_floats;
    if (p.narrow) {
      pack_pairs(p.head_dim, p.kv_len, narrow_at(p.k, b, group, 0), p.k.row_stride, true, keys);
      pack_pairs(p.kv_len, p.value_dim, narrow_at(p.v, b, group, 0), p.v.row_stride, false, values);
    } else {
      pack_b_scaled(p.head_dim, p.kv_len, at(p.k, b, group, 0), p.k.row_stride, true, p.scale,
                    keys);
      pack_b(p.kv_len, p.value_dim, at(p.v, b, group, 0), p.v.row_stride, false, values);
    }
    const int64_t end = std::min(p.q_len, (part + 1) * plan.rows_per_part);
    for (int64_t h = group * heads_per_group; h < (group + 1) * heads_per_group; ++h) {
      const Head head(p, b, h, keys, values, results, scores, table);
      for (int64_t row = part * plan.rows_per_part; row < end; row += plan.block)
        head.run(row, std::min(plan.block, end - row));
    }
  });
}

}  // namespace tenon::cpu
