#include "device/cpu/kernels/rows.h"

#include <algorithm>
#include <array>

#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::string name_of(const KernelTable& table, std::initializer_list<int64_t> sizes) {
  std::string name = table.name;
  for (const int64_t s : sizes) name += " " + std::to_string(s);
  return name;
}

std::vector<double> reference_softmax(const SoftmaxParams& p) {
  std::vector<double> y(static_cast<size_t>(p.rows * p.cols * p.inner));
  for (int64_t r = 0; r < p.rows; ++r)
    for (int64_t i = 0; i < p.inner; ++i) {
      const auto at = [&](int64_t c) { return (r * p.cols + c) * p.inner + i; };
      double top = -INFINITY, sum = 0;
      for (int64_t c = 0; c < p.cols; ++c) top = std::max(top, double{p.x[at(c)]});
      for (int64_t c = 0; c < p.cols; ++c) sum += std::exp(p.x[at(c)] - top);
      for (int64_t c = 0; c < p.cols; ++c) {
        const double d = p.x[at(c)] - top;
        y[static_cast<size_t>(at(c))] = p.log ? d - std::log(sum) : std::exp(d) / sum;
      }
    }
  return y;
}

TEST(Softmax, MatchesNaive) {
  for (const KernelTable* table : tables_under_test())
    for (const int threads : {1, 3})
      for (const bool log : {false, true})
        for (const int64_t rows : {0, 1, 5})
          for (const int64_t cols : {0, 1, 2, 7, 8, 16, 17, 33, 100, 1001})
            for (const int64_t inner : {0, 1, 3, 8, 16, 37}) {
              auto x = random_floats(rows * cols * inner, -20, 20);
              if (cols == 17 && !x.empty()) x[0] = -kInf, x[x.size() / 2] = -100;
              GuardedFloats y(static_cast<int64_t>(x.size()));
              SoftmaxParams p{rows, cols, inner, x.data(), y.data(), log};
              ThreadPool pool(threads);
              Scratch scratch(softmax_scratch_bytes(p, threads));
              softmax(p, pool, scratch.get(), *table);
              expect_near(y, reference_softmax(p), 3e-6, name_of(*table, {rows, cols, inner}));
            }
}

TEST(Softmax, InPlaceAndNan) {
  for (const KernelTable* table : tables_under_test()) {
    const auto x = random_floats(3 * 50);
    GuardedFloats y(x);
    ThreadPool pool(1);
    softmax({3, 50, 1, y.data(), y.data()}, pool, nullptr, *table);
    SoftmaxParams p{3, 50, 1, x.data(), nullptr};
    expect_near(y, reference_softmax(p), 2e-6, table->name);
    for (const float bad : {kNan, kInf}) {
      GuardedFloats z(x);
      z.data()[60] = bad;
      softmax({3, 50, 1, z.data(), z.data()}, pool, nullptr, *table);
      EXPECT_FALSE(std::isnan(z[0]) || std::isnan(z[149]));
      EXPECT_TRUE(std::isnan(z[60])) << table->name;
    }
  }
}

TEST(LayerNorm, MatchesNaive) {
  for (const KernelTable* table : tables_under_test())
    for (int flags = 0; flags < 16; ++flags)
      for (const int64_t rows : {0, 1, 4})
        for (const int64_t cols : {1, 5, 8, 16, 31, 64, 129, 768, 5000}) {
          const auto x = random_floats(rows * cols, 2, 5), residual = random_floats(rows * cols),
                     gamma = random_floats(cols), beta = random_floats(cols);
          GuardedFloats y(rows * cols);
          LayerNormParams p{rows, cols, x.data()};
          if ((flags & 1) != 0) p.residual = residual.data();
          if ((flags & 2) != 0) p.gamma = gamma.data();
          if ((flags & 4) != 0) p.beta = beta.data();
          p.rms = (flags & 8) != 0;
          p.epsilon = 1e-3f;
          p.y = y.data();
          ThreadPool pool(2);
          layer_norm(p, pool, *table);
          std::vector<double> expected;
          for (int64_t r = 0; r < rows; ++r) {
            std::vector<double> v;
            double mean = 0, square = 0;
            for (int64_t c = 0; c < cols; ++c) {
              const auto i = static_cast<size_t>(r * cols + c);
              v.push_back(double{x[i]} + (p.residual != nullptr ? residual[i] : 0.0f));
              if (!p.rms) mean += v.back() / static_cast<double>(cols);
            }
            for (const double e : v) square += (e - mean) * (e - mean) / static_cast<double>(cols);
            for (int64_t c = 0; c < cols; ++c) {
              const auto i = static_cast<size_t>(c);
              double e = (v[i] - mean) / std::sqrt(square + 1e-3);
              if (p.gamma != nullptr) e *= gamma[i];
              if (p.beta != nullptr) e += beta[i];
              expected.push_back(e);
            }
          }
          expect_near(y, expected, 2e-5, name_of(*table, {rows, cols, flags}));
          if (p.residual != nullptr) continue;
          GuardedFloats rounded(rows * cols);
          p.y = rounded.data();
          p.narrow_y = true;
          layer_norm(p, pool, *table);
          expect_rounded(rounded, y, name_of(*table, {rows, cols, flags}));
          const std::vector<BFloat16> bf16(x.begin(), x.end());
          const std::vector<float> wide(bf16.begin(), bf16.end());
          p.x = reinterpret_cast<const float*>(bf16.data());
          p.narrow_x = true;
          layer_norm(p, pool, *table);
          p.x = wide.data();
          p.narrow_x = p.narrow_y = false;
          p.y = y.data();
          layer_norm(p, pool, *table);
          expect_rounded(rounded, y, name_of(*table, {rows, cols, flags}) + " of bf16");
        }
}

double reference_fold(ReduceKind kind, double a, double v) {
  switch (kind) {
    case ReduceKind::kMax:
      return std::isnan(a) || a > v ? a : v;
    case ReduceKind::kMin:
      return std::isnan(a) || a < v ? a : v;
    case ReduceKind::kProd:
      return a * v;
    case ReduceKind::kSumSquares:
      return a + v * v;
    case ReduceKind::kSumAbs:
      return a + std::abs(v);
    default:
      return a + v;
  }
}

void check_reduce(ReduceParams p, const std::vector<float>& x, int threads,
                  const KernelTable& table) {
  GuardedFloats y(p.outer * p.inner);
  p.x = x.data();
  p.y = y.data();
  ThreadPool pool(threads);
  reduce(p, pool, table);
  std::vector<double> expected;
  for (int64_t o = 0; o < p.outer; ++o)
    for (int64_t i = 0; i < p.inner; ++i) {
      double sum = p.kind == ReduceKind::kMax    ? -INFINITY
                   : p.kind == ReduceKind::kMin  ? INFINITY
                   : p.kind == ReduceKind::kProd ? 1
                                                 : 0;
      for (int64_t r = 0; r < p.reduce; ++r)
        sum = reference_fold(p.kind, sum, x[static_cast<size_t>((o * p.reduce + r) * p.inner + i)]);
      expected.push_back(p.kind == ReduceKind::kMean ? sum / static_cast<double>(p.reduce) : sum);
    }
  expect_near(y, expected, 1e-5 + 4e-7 * std::sqrt(static_cast<double>(p.reduce)),
              name_of(table, {static_cast<int>(p.kind), p.outer, p.reduce, p.inner, threads}));
}

TEST(Reduce, MatchesNaive) {
  for (const KernelTable* table : tables_under_test())
    for (size_t kind = 0; kind < kReduceKinds; ++kind)
      for (const int64_t reduce : {0, 1, 3, 8, 17, 65, 200})
        for (const auto& [outer, inner] : {std::array<int64_t, 2>{0, 1},
                                           {1, 1},
                                           {5, 1},
                                           {1, 3},
                                           {2, 8},
                                           {3, 37},
                                           {2, 0},
                                           {1, 70}})
          for (const float nan_at : {-1.0f, 0.5f}) {
            auto x = random_floats(outer * reduce * inner, 0.8f, 1.2f);
            if (nan_at > 0 && !x.empty()) x[x.size() / 2] = kNan, x[0] = -kInf;
            check_reduce({static_cast<ReduceKind>(kind), outer, reduce, inner}, x, 1, *table);
          }
}

TEST(Reduce, MeansOfBfloat16) {
  for (const KernelTable* table : tables_under_test())
    for (const int threads : {1, 3})
      for (const auto& [outer, reduce, inner] :
           {std::array<int64_t, 3>{2, 7, 5}, {3, 65, 37}, {1, 200, 70}, {1, 3000, 130}}) {
        const auto x = random_floats(outer * reduce * inner);
        const std::vector<BFloat16> bf16(x.begin(), x.end());
        const std::vector<float> wide(bf16.begin(), bf16.end());
        GuardedFloats y(outer * inner), expected(outer * inner);
        ThreadPool pool(threads);
        ReduceParams p{ReduceKind::kMean, outer, reduce, inner, wide.data(), expected.data()};
        tenon::cpu::reduce(p, pool, *table);
        p.x = reinterpret_cast<const float*>(bf16.data());
        p.y = y.data();
        p.narrow_x = true;
        tenon::cpu::reduce(p, pool, *table);
        EXPECT_TRUE(y.guards_intact()) << table->name;
        for (int64_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], expected[i]) << table->name;
      }
}

TEST(Reduce, LongAndOnThreads) {
  for (const KernelTable* table : tables_under_test())
    for (const int threads : {1, 3})
      for (const ReduceKind kind : {ReduceKind::kSum, ReduceKind::kMean, ReduceKind::kMax,
                                    ReduceKind::kMin, ReduceKind::kSumSquares})
        for (const auto& [outer, reduce, inner] :
             {std::array<int64_t, 3>{2, 50001, 1}, {300, 300, 1}, {1, 3000, 130}, {50, 49, 65}})
          check_reduce({kind, outer, reduce, inner}, random_floats(outer * reduce * inner), threads,
                       *table);
}

}  // namespace
}  // namespace tenon::cpu
