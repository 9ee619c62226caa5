#include "quant/sums_of_products.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/test_random.h"

namespace tenon::quant {
namespace {

std::vector<float> numbers(int64_t n) {
  std::uniform_int_distribution<int> some(-8, 8);
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = static_cast<float>(some(test_random()));
  return v;
}

// Whole numbers: sums are exact in any order.
TEST(SumsOfProducts, AreThoseOfAllColumnsWhateverTheirNumber) {
  for (const int64_t rows : {1, 4, 9, 26, 53}) {
    for (const int64_t columns : {1, 8, 24, 31, 75}) {
      constexpr int64_t kCount = 7;
      const int64_t a_stride = rows + 3, b_stride = columns + 1, stride = columns + 2;
      const auto a = numbers(kCount * a_stride), b = numbers(kCount * b_stride);
      std::vector<double> sums(static_cast<size_t>(rows * stride), 2.0);
      add_products({a.data(), a_stride, rows}, {b.data(), b_stride, columns}, kCount, sums.data(),
                   stride);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < stride; ++j) {
          double expected = 2;
          for (int64_t k = 0; j < columns && k < kCount; ++k)
            expected += static_cast<double>(a[static_cast<size_t>(k * a_stride + i)]) *
                        static_cast<double>(b[static_cast<size_t>(k * b_stride + j)]);
          ASSERT_EQ(sums[static_cast<size_t>(i * stride + j)], expected) << i << ' ' << j;
        }
    }
  }
}

TEST(SumsOfProducts, OfOneMatrixHaveTheirUpperHalf) {
  constexpr int64_t kCount = 5, kSize = 61;
  const auto a = numbers(kCount * kSize);
  const Terms terms{a.data(), kSize, kSize};
  std::vector<double> all(kSize * kSize), upper(kSize * kSize);
  add_products(terms, terms, kCount, all.data(), kSize);
  add_products(terms, terms, kCount, upper.data(), kSize, true);
  for (size_t i = 0; i < kSize; ++i)
    for (size_t j = i; j < kSize; ++j) ASSERT_EQ(upper[i * kSize + j], all[i * kSize + j]);
}

}  // namespace
}  // namespace tenon::quant
