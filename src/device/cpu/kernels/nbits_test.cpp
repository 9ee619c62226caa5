#include "device/cpu/kernels/nbits.h"

#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace avx2 {
void nbits_block(const NbitsBlock& block);
}
namespace wide16 {
void nbits_block(const NbitsBlock& block);
}
namespace {

void check(int64_t m, int64_t n, int64_t k, int64_t groups, int bits, NbitsFunction function,
           int threads) {
  std::uniform_int_distribution<int> uniform(bits == 8 ? -128 : -8, bits == 8 ? 127 : 7);
  std::vector<int> w(static_cast<size_t>(k * n));
  for (int& v : w) v = uniform(test_random());
  std::vector<uint8_t> bytes(static_cast<size_t>(k * n * bits / 8));
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const int v = w[static_cast<size_t>(i * n + j)];
      if (bits == 8)
        bytes[static_cast<size_t>(i * n + j)] = static_cast<uint8_t>(v);
      else
        bytes[static_cast<size_t>(i / 2 * n + j)] |=
            static_cast<uint8_t>((v + 8) << (i % 2 == 0 ? 0 : 4));
    }
  const auto scale = random_floats(groups * n), a = random_floats(m * k);
  const auto bias = random_floats(n), residual = random_floats(m * n);
  NbitsParams p;
  p.m = m, p.n = n, p.k = k, p.groups = groups, p.bits = bits;
  std::vector<float> packed(static_cast<size_t>(packed_nbits_floats(p)));
  pack_nbits(p, bytes.data(), scale.data(), packed.data());
  GuardedFloats out(m * n);
  std::vector<double> expected(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const auto at = static_cast<size_t>(i * n + j);
      double sum = double{bias[static_cast<size_t>(j)]} + residual[at];
      for (int64_t q = 0; q < k; ++q)
        sum += double{a[static_cast<size_t>(i * k + q)]} * w[static_cast<size_t>(q * n + j)] *
               scale[static_cast<size_t>(q / (k / groups) * n + j)];
      expected[at] = std::max(0.0, sum);
    }
  p.a = a.data(), p.b = packed.data(), p.bias = bias.data(), p.residual = residual.data();
  p.c = out.data();
  p.activation.kind = ActivationKind::kRelu;
  ThreadPool pool(threads);
  Scratch scratch(nbits_scratch_bytes(p, threads));
  nbits_gemm(p, pool, scratch.get(), function);
  expect_near(out, expected, 1e-6 * (bits == 8 ? 128 : 8) * std::sqrt(static_cast<double>(k) + 1),
              std::to_string(bits) + " bits " + std::to_string(m) + "x" + std::to_string(n) + "x" +
                  std::to_string(k));
}

TEST(Nbits, MatchNaiveOverShapes) {
  for (const NbitsFunction function : {nbits_function(), &avx2::nbits_block, &wide16::nbits_block})
    for (const int bits : {8, 4})
      for (const int64_t m : {1, 2, 3, 4, 5, 11, 12, 40})
        for (const int64_t n : {1, 16, 33, 100, 130})
          for (const int threads : {1, 2}) {
            check(m, n, 64, 2, bits, function, threads);
            check(m, n, 6, 3, bits, function, threads);
            check(m, n, 34, 1, bits, function, threads);
          }
}

}  // namespace
}  // namespace tenon::cpu
