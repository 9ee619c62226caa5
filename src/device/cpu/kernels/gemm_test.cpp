#include "device/cpu/kernels/gemm.h"

#include <array>

#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace {

struct GemmCase {
  int64_t m, n, k;
  bool bias = false;
  bool residual = false;
  bool in_place = false;  // the residual is c
  Activation activation;
  int threads = 1;
  int64_t lda = 0;  // 0: a few more than k
};

std::string name_of(const GemmCase& c, const KernelTable& table) {
  return std::string(table.name) + " " + std::to_string(c.m) + "x" + std::to_string(c.n) + "x" +
         std::to_string(c.k) + " threads " + std::to_string(c.threads);
}

void check(const GemmCase& c, const KernelTable& table) {
  const int64_t lda = c.lda != 0 ? c.lda : c.k + 3, ldc = c.n + 5, ldr = c.in_place ? ldc : c.n + 1;
  const auto a = random_floats(c.m * lda), b = random_floats(c.k * c.n);
  const auto bias = random_floats(c.n), residual = random_floats(c.m * ldr);
  std::vector<float> packed(static_cast<size_t>(packed_b_floats(c.k, c.n)));
  pack_b(c.k, c.n, b.data(), c.n, false, packed.data());
  GuardedFloats out(c.m * ldc);
  if (c.in_place)
    for (int64_t i = 0; i < c.m * ldc; ++i) out.data()[i] = residual[static_cast<size_t>(i)];

  std::vector<double> expected(static_cast<size_t>(c.m * ldc));
  for (int64_t i = 0; i < c.m * ldc; ++i) expected[static_cast<size_t>(i)] = out[i];
  for (int64_t i = 0; i < c.m; ++i)
    for (int64_t j = 0; j < c.n; ++j) {
      double sum = c.bias ? bias[static_cast<size_t>(j)] : 0;
      if (c.residual) sum += residual[static_cast<size_t>(i * ldr + j)];
      for (int64_t k = 0; k < c.k; ++k)
        sum += double{a[static_cast<size_t>(i * lda + k)]} * b[static_cast<size_t>(k * c.n + j)];
      expected[static_cast<size_t>(i * ldc + j)] = reference_activation(c.activation, sum);
    }

  GemmParams p;
  p.m = c.m, p.n = c.n, p.k = c.k;
  p.a = a.data(), p.lda = lda;
  p.b = packed.data();
  p.c = out.data(), p.ldc = ldc;
  p.bias = c.bias ? bias.data() : nullptr;
  p.residual = !c.residual ? nullptr : c.in_place ? out.data() : residual.data();
  p.ld_residual = ldr;
  p.activation = c.activation;
  ThreadPool pool(c.threads);
  Scratch scratch(gemm_scratch_bytes(p, c.threads, table));
  gemm(p, pool, scratch.get(), table);
  expect_near(out, expected, 2e-6 * std::sqrt(static_cast<double>(c.k) + 1) + 1e-6,
              name_of(c, table));
}

TEST(Gemm, MatchesNaiveOverShapes) {
  for (const KernelTable* table : tables_under_test()) {
    for (int64_t m = 1; m <= 14; ++m)
      for (const int64_t n : {1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 50})
        for (const int64_t k : {1, 2, 3, 5, 37}) check({m, n, k}, *table);
    for (const int64_t k : {0, 1024, 1025, 2500}) {
      check({1, 40, k, true}, *table);
      check({13, 40, k, true, true}, *table);
      check({29, 19, k, true, true, true}, *table);
    }
  }
}

TEST(Gemm, EpiloguesAndThreads) {
  const Activation activations[] = {{ActivationKind::kRelu},
                                    {ActivationKind::kClip, -0.5f, 0.75f},
                                    {ActivationKind::kLeakyRelu, 0.1f},
                                    {ActivationKind::kSigmoid},
                                    {ActivationKind::kTanh},
                                    {ActivationKind::kSilu},
                                    {ActivationKind::kHardSwish},
                                    {ActivationKind::kHardSigmoid, 0.2f, 0.5f},
                                    {ActivationKind::kGeluErf},
                                    {ActivationKind::kGeluTanh},
                                    {ActivationKind::kElu, 0.7f}};
  for (const KernelTable* table : tables_under_test())
    for (const int threads : {1, 2, 3})
      for (const Activation& activation : activations) {
        check({37, 45, 20, true, true, false, activation, threads}, *table);
        check({5, 203, 1100, true, true, true, activation, threads}, *table);
      }
}

TEST(Gemm, LargeOnThreads) {
  for (const KernelTable* table : tables_under_test())
    for (const int threads : {1, 2, 4}) {
      check({150, 130, 257, true, false, false, kRelu, threads}, *table);
      check({300, 17, 1200, true, true, true, kRelu, threads}, *table);
      check({1, 1000, 300, true, false, false, {}, threads}, *table);
      check({2, 1000, 300, true, true, true, kRelu, threads}, *table);
    }
}

// Rows that begin in one set of the nearest cache are copied, of a slice too.
TEST(Gemm, RowsThatCollide) {
  for (const KernelTable* table : tables_under_test())
    for (const int threads : {1, 2})
      for (const auto& [m, n, k, lda] : {std::array<int64_t, 4>{25, 200, 1024, 1024},
                                         {150, 140, 2048, 2048},
                                         {40, 130, 1100, 2048},
                                         {9, 128, 5, 1024}}) {
        GemmCase one{m, n, k, true, true, false, kRelu, threads};
        one.lda = lda;
        if (table->tile_rows > 8) {
          const GemmParams p{.m = m, .n = n, .k = k, .lda = lda};
          EXPECT_GT(gemm_scratch_bytes(p, threads, *table), 0);
        }
        check(one, *table);
      }
}

TEST(Gemm, NothingToDo) {
  for (const KernelTable* table : tables_under_test())
    for (const auto& [m, n, k] : {std::array<int64_t, 3>{0, 5, 5}, {5, 0, 5}, {0, 0, 0}})
      check({m, n, k}, *table);
}

TEST(Gemm, NanPassesThroughRelu) {
  for (const KernelTable* table : tables_under_test()) {
    const float a = std::numeric_limits<float>::quiet_NaN(), b = 1;
    float packed[16], c = 0;
    pack_b(1, 1, &b, 1, false, packed);
    GemmParams p{.m = 1, .n = 1, .k = 1, .a = &a, .lda = 1, .b = packed, .c = &c, .ldc = 1};
    p.activation = kRelu6;
    ThreadPool pool(1);
    gemm(p, pool, nullptr, *table);
    EXPECT_TRUE(std::isnan(c));
  }
}

TEST(PackB, RoundTripsBothOrders) {
  for (const int64_t k : {1, 7, 8, 9, 33})
    for (const int64_t n : {1, 8, 15, 16, 17, 40}) {
      const auto b = random_floats(k * n);
      std::vector<float> transposed(b.size()), back(b.size());
      for (int64_t i = 0; i < k * n; ++i)
        transposed[static_cast<size_t>(i % n * k + i / n)] = b[static_cast<size_t>(i)];
      for (const bool is_transposed : {false, true}) {
        std::vector<float> packed(static_cast<size_t>(packed_b_floats(k, n)), 9.0f);
        pack_b(k, n, is_transposed ? transposed.data() : b.data(), is_transposed ? k : n,
               is_transposed, packed.data());
        unpack_b(k, n, packed.data(), back.data(), n);
        EXPECT_EQ(back, b) << k << "x" << n;
        for (int64_t i = 0; n % 16 != 0 && i < k; ++i)
          for (int64_t j = n % 16; j < 16; ++j)
            EXPECT_EQ(packed[static_cast<size_t>((n / 16 * k + i) * 16 + j)], 0.0f);
      }
    }
}

void check_batched(int64_t m, int64_t n, int64_t k, bool transpose_a, bool transpose_b,
                   bool broadcast_b, int threads, const KernelTable& table) {
  // [2, heads 3] stored as [2, rows, 3, columns], as in attention without transposes.
  constexpr int64_t kOuter = 2, kHeads = 3;
  const int64_t a_rows = transpose_a ? k : m, a_columns = transpose_a ? m : k;
  const int64_t b_rows = transpose_b ? n : k, b_columns = transpose_b ? k : n;
  const auto a = random_floats(kOuter * kHeads * m * k), b = random_floats(kOuter * kHeads * n * k);
  BatchedGemmParams p;
  p.batch[1] = kOuter, p.batch[3] = kHeads;
  p.m = m, p.n = n, p.k = k, p.alpha = 0.25f;
  p.a = a.data(), p.lda = kHeads * a_columns, p.transpose_a = transpose_a;
  p.a_batch_strides[1] = a_rows * p.lda, p.a_batch_strides[3] = a_columns;
  p.b = b.data(), p.ldb = kHeads * b_columns, p.transpose_b = transpose_b;
  p.b_batch_strides[1] = broadcast_b ? 0 : b_rows * p.ldb;
  p.b_batch_strides[3] = b_columns;
  p.ldc = kHeads * n;
  p.c_batch_strides[1] = m * p.ldc, p.c_batch_strides[3] = n;
  p.activation = kRelu;
  GuardedFloats c(kOuter * kHeads * m * n);
  p.c = c.data();
  std::vector<double> expected(static_cast<size_t>(c.size()));
  for (int64_t o = 0; o < kOuter; ++o)
    for (int64_t h = 0; h < kHeads; ++h)
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          double sum = 0;
          for (int64_t l = 0; l < k; ++l) {
            const int64_t ai = transpose_a ? l * p.lda + i : i * p.lda + l;
            const int64_t bi = transpose_b ? j * p.ldb + l : l * p.ldb + j;
            sum += double{a[static_cast<size_t>(o * p.a_batch_strides[1] + h * a_columns + ai)]} *
                   b[static_cast<size_t>(o * p.b_batch_strides[1] + h * b_columns + bi)];
          }
          expected[static_cast<size_t>(((o * m + i) * kHeads + h) * n + j)] =
              std::max(0.0, 0.25 * sum);
        }
  ThreadPool pool(threads);
  Scratch scratch(batched_gemm_scratch_bytes(p, threads));
  batched_gemm(p, pool, scratch.get(), table);
  expect_near(c, expected, 1e-5,
              std::string(table.name) + " " + std::to_string(m) + "x" + std::to_string(n) + "x" +
                  std::to_string(k) + (transpose_a ? " ta" : "") + (transpose_b ? " tb" : ""));
}

TEST(BatchedGemm, MatchesNaive) {
  for (const KernelTable* table : tables_under_test())
    for (const int threads : {1, 2, 5})
      for (const bool transpose_a : {false, true})
        for (const bool transpose_b : {false, true}) {
          check_batched(1, 1, 1, transpose_a, transpose_b, false, threads, *table);
          check_batched(17, 19, 23, transpose_a, transpose_b, false, threads, *table);
          check_batched(16, 1, 8, transpose_a, transpose_b, false, threads, *table);
          check_batched(43, 1, 37, transpose_a, transpose_b, false, threads, *table);
          check_batched(900, 1, 400, transpose_a, transpose_b, false, threads, *table);
          check_batched(60, 70, 64, transpose_a, transpose_b, true, threads, *table);
          check_batched(3, 300, 33, transpose_a, transpose_b, false, threads, *table);
        }
}

}  // namespace
}  // namespace tenon::cpu
