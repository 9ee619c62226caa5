// Kernels of complex numbers against the reference evaluation.
#include <gtest/gtest.h>

#include <complex>
#include <limits>

#include "device/cpu/test_support.h"

namespace tenon::cpu {
namespace {

using Complex = std::complex<float>;

// Also by zero, by infinity, and where squares overflow or vanish.
TEST(KernelsAgainstReference, ComplexQuotients) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<Complex> a, b;
  for (const float re : {0.0f, 1.0f, -3e30f, 2e-30f, kInf})
    for (const float im : {0.0f, -2.0f, 4e30f, kInf})
      for (const Complex by : {Complex(0, 0), Complex(1e30f, -2e30f), Complex(3e-30f, 1e-30f),
                               Complex(2, 0), Complex(kInf, 1)})
        a.emplace_back(re, im), b.push_back(by);
  const auto op = create_op("div");
  const Tensor x = Tensor::vector(a), z = Tensor::vector(b);
  for (const auto& in : {std::vector<Tensor>{x, z},
                         {x, Tensor::vector<Complex>({{2, 1}})},
                         {Tensor::vector<Complex>({{2, 1}}), z}}) {
    const auto expected = evaluate(*op, in, 1);
    ASSERT_TRUE(expected.ok());
    const TensorTypes types = {in[0].type(), in[1].type()}, results = {x.type()};
    const std::vector<const Tensor*> constants(2), operands = {in.data(), &in[1]};
    PackStore packs;
    const KernelChoice choice = choose_kernel({*op, types, results, constants, packs});
    ASSERT_EQ(choice.name, "complex_quotient");
    Tensor y = Tensor::zeros(DType::c64, x.dims()).value();
    Tensor* const out[] = {&y};
    ThreadPool pool(1);
    ASSERT_TRUE(choice.kernel->run({operands, out, pool}).ok());
    const auto same = [](float u, float v) {
      return std::isnan(v) ? std::isnan(u) : u == v || std::abs(u - v) <= 2e-6f * std::abs(v);
    };
    for (int64_t i = 0; i < y.elements(); ++i) {
      const Complex got = y.data<Complex>()[i], e = (*expected)[0].data<Complex>()[i];
      EXPECT_TRUE(same(got.real(), e.real()) && same(got.imag(), e.imag()))
          << a[static_cast<size_t>(i)] << " / " << b[static_cast<size_t>(i)] << " = " << got
          << ", expected " << e;
    }
  }
}

}  // namespace
}  // namespace tenon::cpu
