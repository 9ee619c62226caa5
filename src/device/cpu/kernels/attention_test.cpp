#include "device/cpu/kernels/attention.h"

#include <algorithm>
#include <memory>

#include "device/cpu/kernels/pairs.h"
#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace wide16 {
const KernelTable& pair_table();
}
namespace {

struct AttentionCase {
  int64_t batch, heads, kv_heads, q_len, kv_len, head_dim, value_dim;
  bool causal = false;
  int mask = 0;  // 1: added, 2: boolean, 3: boolean with rows that keep nothing
  int threads = 1;
};

// Heads side by side in a row, as projections leave them.
template <typename T>
HeadView<T> interleaved(T* data, int64_t heads, int64_t length, int64_t width) {
  return {data, length * heads * width, width, heads * width};
}

void check(const AttentionCase& c, const KernelTable& table) {
  const auto q = random_floats(c.batch * c.heads * c.q_len * c.head_dim, -2, 2),
             k = random_floats(c.batch * c.kv_heads * c.kv_len * c.head_dim, -2, 2),
             v = random_floats(c.batch * c.kv_heads * c.kv_len * c.value_dim),
             mask = random_floats(c.q_len * c.kv_len, -3, 3);
  const auto keep = std::make_unique<bool[]>(static_cast<size_t>(c.q_len * c.kv_len + 1));
  for (int64_t i = 0; i < c.q_len * c.kv_len; ++i)
    keep[static_cast<size_t>(i)] =
        mask[static_cast<size_t>(i)] > 0 && !(c.mask == 3 && i / c.kv_len % 3 == 1);
  GuardedFloats y(c.batch * c.heads * c.q_len * c.value_dim);
  AttentionParams p;
  p.batch = c.batch, p.heads = c.heads, p.kv_heads = c.kv_heads;
  p.q_len = c.q_len, p.kv_len = c.kv_len, p.head_dim = c.head_dim, p.value_dim = c.value_dim;
  p.scale = 0.3f;
  p.q = interleaved(q.data(), c.heads, c.q_len, c.head_dim);
  p.k = interleaved(k.data(), c.kv_heads, c.kv_len, c.head_dim);
  p.v = interleaved(v.data(), c.kv_heads, c.kv_len, c.value_dim);
  p.y = interleaved(y.data(), c.heads, c.q_len, c.value_dim);
  p.causal = c.causal;
  if (c.mask == 1) p.mask = {mask.data(), 0, 0, c.kv_len};
  if (c.mask > 1) p.keep = {keep.get(), 0, 0, c.kv_len};
  ThreadPool pool(c.threads);
  Scratch scratch(attention_scratch_bytes(p, c.threads));
  attention(p, pool, scratch.get(), table);

  std::vector<double> expected(static_cast<size_t>(y.size()));
  for (int64_t row = 0; row < c.batch * c.heads * c.q_len; ++row) {
    const int64_t s = row % c.q_len, h = row / c.q_len % c.heads, b = row / c.q_len / c.heads;
    const int64_t g = h * c.kv_heads / c.heads;
    std::vector<double> scores;
    double top = -INFINITY, sum = 0;
    for (int64_t t = 0; t < c.kv_len; ++t) {
      double score = 0;
      for (int64_t i = 0; i < c.head_dim; ++i)
        score += 0.3 * q[static_cast<size_t>(((b * c.q_len + s) * c.heads + h) * c.head_dim + i)] *
                 k[static_cast<size_t>(((b * c.kv_len + t) * c.kv_heads + g) * c.head_dim + i)];
      const auto at = static_cast<size_t>(s * c.kv_len + t);
      if (c.mask == 1) score += mask[at];
      if (c.mask > 1 && !keep[at]) score = -INFINITY;
      if (c.causal && t > s + c.kv_len - c.q_len) score = -INFINITY;
      scores.push_back(score);
      top = std::max(top, score);
    }
    if (std::isinf(top)) continue;
    for (double& e : scores) sum += e = std::exp(e - top);
    for (int64_t t = 0; t < c.kv_len; ++t)
      for (int64_t i = 0; i < c.value_dim; ++i)
        expected[static_cast<size_t>(((b * c.q_len + s) * c.heads + h) * c.value_dim + i)] +=
            scores[static_cast<size_t>(t)] / sum *
            v[static_cast<size_t>(((b * c.kv_len + t) * c.kv_heads + g) * c.value_dim + i)];
  }
  expect_near(y, expected, 1e-5,
              std::string(table.name) + " " + std::to_string(c.q_len) + "x" +
                  std::to_string(c.kv_len) + " mask " + std::to_string(c.mask) + " causal " +
                  std::to_string(c.causal) + " threads " + std::to_string(c.threads));
  GuardedFloats rounded(y.size());
  p.y = interleaved(rounded.data(), c.heads, c.q_len, c.value_dim);
  p.narrow_y = true;
  Scratch larger(attention_scratch_bytes(p, c.threads));
  attention(p, pool, larger.get(), table);
  expect_rounded(rounded, y, table.name);
}

// Of bf16 in pairs against the same numbers in f32: weights are rounded before they mix.
void check_pairs(const AttentionCase& c, const KernelTable& pairs, const KernelTable& table) {
  const auto narrowed = [](int64_t n) {
    const auto values = random_floats(n, -2, 2);
    return std::vector<BFloat16>(values.begin(), values.end());
  };
  const auto q = narrowed(c.batch * c.heads * c.q_len * c.head_dim),
             k = narrowed(c.batch * c.kv_heads * c.kv_len * c.head_dim),
             v = narrowed(c.batch * c.kv_heads * c.kv_len * c.value_dim);
  const std::vector<float> wide_q(q.begin(), q.end()), wide_k(k.begin(), k.end()),
      wide_v(v.begin(), v.end());
  const auto mask = random_floats(c.q_len * c.kv_len, -3, 3);
  AttentionParams p;
  p.batch = c.batch, p.heads = c.heads, p.kv_heads = c.kv_heads;
  p.q_len = c.q_len, p.kv_len = c.kv_len, p.head_dim = c.head_dim, p.value_dim = c.value_dim;
  p.scale = 0.3f, p.causal = c.causal;
  if (c.mask == 1) p.mask = {mask.data(), 0, 0, c.kv_len};
  ThreadPool pool(c.threads);
  const auto run = [&](const float* x, const float* y, const float* z, float* out,
                       const KernelTable& by) {
    p.q = interleaved(x, c.heads, c.q_len, c.head_dim);
    p.k = interleaved(y, c.kv_heads, c.kv_len, c.head_dim);
    p.v = interleaved(z, c.kv_heads, c.kv_len, c.value_dim);
    p.y = interleaved(out, c.heads, c.q_len, c.value_dim);
    Scratch scratch(attention_scratch_bytes(p, c.threads));
    attention(p, pool, scratch.get(), by);
  };
  GuardedFloats wide(c.batch * c.heads * c.q_len * c.value_dim), narrow(wide.size());
  run(wide_q.data(), wide_k.data(), wide_v.data(), wide.data(), table);
  p.narrow = p.narrow_y = true;
  run(as_pairs(q.data()), as_pairs(k.data()), as_pairs(v.data()), narrow.data(), pairs);
  EXPECT_TRUE(narrow.guards_intact());
  for (int64_t i = 0; i < wide.size(); ++i) {
    const float y = static_cast<float>(reinterpret_cast<const BFloat16*>(narrow.data())[i]);
    ASSERT_NEAR(y, wide[i], 2e-2) << pairs.name << " " << c.q_len << "x" << c.kv_len << " at " << i;
  }
}

TEST(AttentionKernel, OfPairsStaysNearThatOfFloats) {
  std::vector<std::pair<const KernelTable*, const KernelTable*>> tables{
      {&wide16::pair_table(), &wide16::kernel_table()}};
  if (pair_kernels() != nullptr) tables.push_back({pair_kernels(), &kernels()});
  for (const auto& [pairs, table] : tables)
    for (const bool causal : {false, true})
      for (const int mask : {0, 1})
        for (const int64_t keys : {1, 17, 40, 197}) {
          check_pairs({2, 4, 2, keys, keys, 32, 24, causal, mask, 1}, *pairs, *table);
          check_pairs({1, 2, 2, 5, keys, 6, 17, causal, mask, 2}, *pairs, *table);
        }
}

TEST(AttentionKernel, MatchesNaive) {
  for (const KernelTable* table : tables_under_test())
    for (int mask = 0; mask <= 3; ++mask)
      for (const bool causal : {false, true})
        for (const int threads : {1, 3}) {
          check({2, 4, 2, 17, 23, 8, 11, causal, mask, threads}, *table);
          check({1, 3, 3, 130, 70, 32, 16, causal, mask, threads}, *table);
          check({1, 1, 1, 1, 37, 5, 3, causal, mask, threads}, *table);
          check({1, 2, 1, 40, 300, 16, 32, causal, mask, threads}, *table);
        }
}

TEST(AttentionKernel, NothingToDo) {
  for (const KernelTable* table : tables_under_test()) {
    check({0, 2, 2, 3, 3, 4, 4}, *table);
    check({1, 2, 2, 0, 3, 4, 4}, *table);
    check({1, 2, 2, 3, 0, 4, 4}, *table);
    check({1, 2, 2, 3, 5, 0, 4}, *table);
  }
}

}  // namespace
}  // namespace tenon::cpu
