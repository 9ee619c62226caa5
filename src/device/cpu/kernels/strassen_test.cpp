#include "device/cpu/kernels/strassen.h"

#include <array>

#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace {

struct StrassenCase {
  int64_t m, n, k;
  bool bias = false;
  bool residual = false;
  bool in_place = false;  // the residual is c
  Activation activation;
  int threads = 1;
  int64_t large_row = -1;  // a million times the others
};

// Against gemm(), which has its own tests; relative to the largest result.
void check(const StrassenCase& c, const KernelTable& table) {
  const std::string what = std::string(table.name) + " " + std::to_string(c.m) + "x" +
                           std::to_string(c.n) + "x" + std::to_string(c.k) + " threads " +
                           std::to_string(c.threads);
  const int64_t lda = c.k + 3, ldc = c.n + 5, ldr = c.in_place ? ldc : c.n + 1;
  auto a = random_floats(c.m * lda);
  if (c.large_row >= 0)
    for (int64_t i = 0; i < c.k; ++i) a[static_cast<size_t>(c.large_row * lda + i)] *= 1e6f;
  const auto b = random_floats(c.k * c.n), bias = random_floats(c.n);
  const auto residual = random_floats(c.m * ldr);
  std::vector<float> packed(static_cast<size_t>(packed_b_floats(c.k, c.n)));
  pack_b(c.k, c.n, b.data(), c.n, false, packed.data());
  GemmParams p;
  p.m = c.m, p.n = c.n, p.k = c.k, p.a = a.data(), p.lda = lda, p.b = packed.data(), p.ldc = ldc;
  p.bias = c.bias ? bias.data() : nullptr;
  p.ld_residual = ldr;
  p.activation = c.activation;
  ASSERT_EQ(strassen_refusal(p, false), nullptr) << what;
  ThreadPool pool(c.threads);
  GuardedFloats out(c.m * ldc), like(c.m * ldc);
  for (GuardedFloats* y : {&out, &like}) {
    if (c.in_place)
      for (int64_t i = 0; i < c.m * ldc; ++i) y->data()[i] = residual[static_cast<size_t>(i)];
    p.c = y->data();
    p.residual = !c.residual ? nullptr : c.in_place ? y->data() : residual.data();
    const bool direct = y == &like;
    Scratch scratch(direct ? gemm_scratch_bytes(p, c.threads, table)
                           : strassen_scratch_bytes(p, c.threads));
    (direct ? gemm : strassen_gemm)(p, pool, scratch.get(), table);
  }
  const std::vector<double> expected(like.data(), like.data() + like.size());
  expect_near(out, expected, 4e-6 * std::sqrt(static_cast<double>(c.k)), what);
  // Something else than gemm() did it, but for rows that are not alike.
  int64_t same = 0;
  for (int64_t i = 0; i < out.size(); ++i) same += out[i] == like[i] ? 1 : 0;
  if (c.large_row >= 0)
    EXPECT_EQ(same, out.size()) << what;
  else
    EXPECT_LT(same, out.size()) << what;
}

TEST(Strassen, MultipliesAsGemmDoes) {
  for (const KernelTable* table : tables_under_test()) {
    check({.m = 128, .n = 512, .k = 768}, *table);
    // Odd rows, blocks of rows and of what is summed, halves that are no whole vectors.
    check({.m = 197, .n = 512, .k = 518, .bias = true}, *table);
    check({.m = 513, .n = 320, .k = 330, .bias = true, .residual = true}, *table);
    check({.m = 131, .n = 320, .k = 1602, .residual = true, .in_place = true}, *table);
  }
}

TEST(Strassen, EpiloguesAndThreads) {
  const Activation activations[] = {
      {ActivationKind::kRelu}, {ActivationKind::kClip, -0.5f, 0.75f}, {ActivationKind::kGeluErf}};
  for (const KernelTable* table : tables_under_test())
    for (const int threads : {1, 2, 3})
      for (const Activation& activation : activations)
        for (const bool in_place : {false, true})
          check({150, 448, 1540, true, true, in_place, activation, threads}, *table);
}

// One request of a batch, in the upper or the lower half, does not spoil another's result.
TEST(Strassen, RowsThatAreNotAlikeAreMultipliedDirectly) {
  for (const KernelTable* table : tables_under_test())
    for (const int64_t row : {0, 100, 199})
      for (const int threads : {1, 2})
        check({.m = 200, .n = 512, .k = 512, .bias = true, .threads = threads, .large_row = row},
              *table);
}

TEST(Strassen, SaysWhatItDoesNotTake) {
  const auto refusal = [](int64_t m, int64_t n, int64_t k) {
    GemmParams p;
    p.m = m, p.n = n, p.k = k;
    return strassen_refusal(p, false);
  };
  EXPECT_EQ(refusal(128, 768, 768), nullptr);
  GemmParams few;
  few.m = 128, few.n = few.k = 768;
  EXPECT_NE(strassen_refusal(few, true), nullptr);
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 768, 768},
                                {49, 768, 768},
                                {128, 64, 768},
                                {128, 768, 64},
                                {128, 800, 768},
                                {128, 768, 769},
                                {0, 0, 0}})
    EXPECT_NE(refusal(m, n, k), nullptr) << m << " " << n << " " << k;
}

}  // namespace
}  // namespace tenon::cpu
