#include "quant/sixteen_bits.h"

#include <cmath>

#include "base/half.h"
#include "passes/test_support.h"

namespace tenon::quant {
namespace {

Tensor weights(int64_t rows, int64_t columns) {
  Tensor w = *Tensor::allocate(DType::f32, std::vector<int64_t>{rows, columns});
  for (int64_t i = 0; i < w.elements(); ++i)
    w.mutable_data<float>()[i] = std::sin(1.7f * static_cast<float>(i * i % 1009));
  return w;
}

// Of every column, or every row: how far the rounded weights are off in all.
double largest_sum(const Tensor& exact, const Tensor& rounded, bool by_rows) {
  const int64_t columns = exact.dim(1);
  std::vector<double> sums(static_cast<size_t>(by_rows ? exact.dim(0) : columns));
  for (int64_t i = 0; i < exact.elements(); ++i)
    sums[static_cast<size_t>(by_rows ? i / columns : i % columns)] +=
        rounded.real_at(i) - exact.real_at(i);
  double most = 0;
  for (const double sum : sums) most = std::max(most, std::abs(sum));
  return most;
}

TEST(SixteenBits, ErrorsOfAChannelAddUpToLittle) {
  for (const bool transposed : {false, true}) {
    const Tensor w = transposed ? weights(8, 200) : weights(200, 8);
    const Tensor nearest = *rounded(w, DType::bf16);
    const Tensor evenly = *rounded_evenly(w, transposed);
    EXPECT_LT(largest_sum(w, evenly, transposed), 0.2 * largest_sum(w, nearest, transposed));
    for (int64_t i = 0; i < w.elements(); ++i)
      EXPECT_LE(std::abs(evenly.real_at(i) - w.real_at(i)), std::abs(w.real_at(i)) / 128);
  }
}

TEST(SixteenBits, WhatIsExactStays) {
  const Tensor w =
      Tensor::vector(std::vector<float>{0, -0.0f, 1, -2.5f, INFINITY, 1e-40f, 3e38f, 0.1f})
          .reshaped({8, 1});
  const Tensor evenly = *rounded_evenly(w, false);
  for (int64_t i = 0; i < 5; ++i) EXPECT_EQ(evenly.real_at(i), w.real_at(i));
}

}  // namespace
}  // namespace tenon::quant
