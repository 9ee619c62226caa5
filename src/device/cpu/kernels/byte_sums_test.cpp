// Sums of bytes on every instruction set against sums in double.
#include "device/cpu/kernels/byte_sums.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace {

std::vector<uint8_t> random_bytes(int64_t n) {
  std::vector<uint8_t> bytes(static_cast<size_t>(n));
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(test_random()());
  return bytes;
}

void check(int terms, int64_t rows, int64_t channels, bool x_signed, bool y_signed,
           bool saturates) {
  const int64_t n = rows * channels;
  ByteSum sum;
  sum.n = n;
  sum.terms = terms;
  sum.blocks = byte_sum_blocks(channels);
  sum.y_signed = y_signed;
  sum.zero = y_signed ? -3 : 120;
  const double low = saturates ? (y_signed ? -128.0 : 0.0) - sum.zero : -90;
  const double high = saturates ? low + 255 : 110;
  sum.low = static_cast<float>(low);
  sum.high = static_cast<float>(high);
  sum.saturates = saturates;
  std::vector<std::vector<uint8_t>> x;
  std::vector<std::vector<float>> by_channel, factors;
  for (int t = 0; t <= terms; ++t) {
    by_channel.push_back(random_floats(channels, -0.4f, 0.4f));
    factors.emplace_back(static_cast<size_t>(64 * sum.blocks));
    spread_factors(by_channel.back().data(), channels, factors.back().data());
    if (t == terms) break;
    x.push_back(random_bytes(n));
    sum.x[t] = x.back().data();
    sum.x_signed[t] = x_signed && t == 0;
    sum.factor[t] = factors[static_cast<size_t>(t)].data();
  }
  sum.offset = factors.back().data();
  std::vector<uint8_t> first;
  for (const Int8Table* table : supported_int8_tables())
    for (const int threads : {1, 3}) {
      std::vector<uint8_t> y(static_cast<size_t>(n + 64), 0xa5);
      sum.y = y.data();
      ThreadPool pool(threads);
      sum_bytes(sum, pool, *table);
      for (int64_t i = 0; i < n; ++i) {
        const auto at = static_cast<size_t>(i), c = static_cast<size_t>(i % channels);
        double v = static_cast<double>(by_channel.back()[c]);
        for (size_t t = 0; t < x.size(); ++t) {
          const int byte = sum.x_signed[t] ? static_cast<int8_t>(x[t][at]) + 128 : x[t][at];
          v += static_cast<double>(by_channel[t][c]) * byte;
        }
        const int got = y_signed ? static_cast<int8_t>(y[at]) : y[at];
        ASSERT_NEAR(got, std::clamp(v, low, high) + sum.zero, 0.501)
            << table->name << " element " << i << " of " << channels << " channels";
      }
      for (size_t i = 0; i < 64; ++i) ASSERT_EQ(y[static_cast<size_t>(n) + i], 0xa5);
      if (first.empty()) first = y;
      ASSERT_EQ(first, y) << table->name;
    }
}

TEST(ByteSums, AllInstructionSetsAgree) {
  for (int terms = 1; terms <= ByteSum::kMaxTerms; ++terms)
    for (const int64_t channels : {1, 5, 24, 64, 96})
      for (const int64_t rows : {1, 3, 700})
        for (const bool is_signed : {false, true})
          for (const bool saturates : {false, true})
            ASSERT_NO_FATAL_FAILURE(check(terms, rows, channels, is_signed, is_signed, saturates));
}

TEST(ByteSums, SmallFactors) {
  EXPECT_TRUE(factors_are_small(std::vector<float>{0, -1e6f, 3}.data(), 3));
  for (const float large : {1e10f, -1e10f, std::nanf("")})
    EXPECT_FALSE(factors_are_small(std::vector<float>{0, large, 3}.data(), 3));
}

TEST(ByteSums, LookUp) {
  const auto table = random_bytes(256);
  for (const int64_t n : {0, 1, 63, 64, 65, 1000}) {
    const auto x = random_bytes(n);
    std::vector<uint8_t> y(static_cast<size_t>(n + 1), 0xa5);
    look_up_bytes(x.data(), table.data(), y.data(), n);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], table[x[i]]);
    ASSERT_EQ(y.back(), 0xa5);
  }
}

}  // namespace
}  // namespace tenon::cpu
