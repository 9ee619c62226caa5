#include "quant/ranges.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace tenon::quant {
namespace {

Tensor tensor(const std::vector<float>& values) {
  return Tensor::vector(values);
}

std::vector<float> normal(int n, float deviation, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> draw(0, deviation);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = draw(engine);
  return values;
}

TensorStatistics of(const std::vector<float>& values) {
  TensorStatistics s;
  s.add(tensor(values));
  return s;
}

// What a range costs on the values themselves.
double true_error(const std::vector<float>& values, const Range& range) {
  const QuantParams q = params_of(range);
  double sum = 0;
  for (const float v : values) {
    const double level = std::clamp(
        std::nearbyint(static_cast<double>(v) / static_cast<double>(q.scale)) + q.zero, 0.0, 255.0);
    const double d = (level - q.zero) * static_cast<double>(q.scale) - static_cast<double>(v);
    sum += d * d;
  }
  return sum / static_cast<double>(values.size());
}

TEST(Ranges, ParametersHoldZeroExactly) {
  for (const Range& r : {Range{-1, 3}, Range{0, 6}, Range{-5, 0}, Range{2, 4}, Range{-4, -2}}) {
    const QuantParams q = params_of(r);
    EXPECT_GE(q.zero, 0);
    EXPECT_LE(q.zero, 255);
    const double low = -q.zero * static_cast<double>(q.scale);
    const double high = (255 - q.zero) * static_cast<double>(q.scale);
    EXPECT_LE(low, std::min(r.low, 0.0) + static_cast<double>(q.scale) / 2 + 1e-9);
    EXPECT_GE(high, std::max(r.high, 0.0) - static_cast<double>(q.scale) / 2 - 1e-9);
  }
  EXPECT_EQ(params_of({0, 0}).scale, 1.0f);
  EXPECT_EQ(params_of({0, INFINITY}).scale, 1.0f);
}

TEST(Ranges, MinMaxIsTheExtremes) {
  const Range r = choose_range(of({-1, 0.5f, 3}), Method::min_max);
  EXPECT_DOUBLE_EQ(r.low, -1);
  EXPECT_DOUBLE_EQ(r.high, 3);
}

TEST(Ranges, MovingAverageForgetsSlowly) {
  TensorStatistics s;
  for (int i = 0; i < 50; ++i) s.add(tensor({-1, 2}));
  s.add(tensor({-1, 100}));
  const Range r = choose_range(s, Method::moving_average);
  EXPECT_DOUBLE_EQ(r.low, -1);
  EXPECT_NEAR(r.high, 2 + 0.1 * 98, 1e-9);
}

TEST(Ranges, PercentileLeavesOutliersOut) {
  std::vector<float> values = normal(100'000, 1, 1);
  values.push_back(1000);
  const Range r = choose_range(of(values), Method::percentile);
  EXPECT_LT(r.high, 10);
  EXPECT_GT(r.high, 3);
  EXPECT_LT(r.low, -3);
}

TEST(Ranges, MeanSquaredErrorIsTheLeast) {
  std::vector<float> values = normal(50'000, 1, 2);
  for (int i = 0; i < 5; ++i) values.push_back(20);
  const TensorStatistics s = of(values);
  const Range best = choose_range(s, Method::mse);
  const double least = true_error(values, best);
  for (const Method m : {Method::min_max, Method::percentile, Method::entropy, Method::aciq})
    EXPECT_LE(least, true_error(values, choose_range(s, m)) * 1.02) << method_name(m);
  EXPECT_LT(least, true_error(values, choose_range(s, Method::min_max)));
}

TEST(Ranges, ExpectedErrorIsThatOfTheValues) {
  const std::vector<float> values = normal(50'000, 2, 3);
  const TensorStatistics s = of(values);
  for (const Range& r : {Range{-8, 8}, Range{-2, 2}, Range{-20, 20}, Range{0, 5}}) {
    const double expected = true_error(values, r);
    EXPECT_NEAR(expected_error(s, params_of(r)), expected, expected * 0.05);
  }
}

TEST(Ranges, EntropyAndAciqClipALongTail) {
  std::mt19937 engine(4);
  std::exponential_distribution<float> draw(1);
  std::vector<float> values(200'000);
  for (float& v : values) v = draw(engine);
  values.push_back(200);
  const TensorStatistics s = of(values);
  for (const Method m : {Method::entropy, Method::aciq}) {
    const Range r = choose_range(s, m);
    EXPECT_EQ(r.low, 0) << method_name(m);
    EXPECT_LT(r.high, 100) << method_name(m);
    EXPECT_GT(r.high, 4) << method_name(m);
  }
}

TEST(Ranges, OfANormalDistributionAciqIsAsPublished) {
  // 3.92 standard deviations for 8 bits (Banner et al. 2018).
  const Range r = choose_range(of(normal(500'000, 1, 5)), Method::aciq);
  EXPECT_NEAR(r.high, 3.92, 0.1);
  EXPECT_NEAR(r.low, -3.92, 0.1);
}

TEST(Ranges, AutomaticTakesTheBestAndSaysWhich) {
  std::vector<float> even(1001);
  for (size_t i = 0; i < even.size(); ++i) even[i] = static_cast<float>(i) / 1000;
  const Range r = choose_range(of(even), Method::automatic);
  EXPECT_NEAR(r.high, 1, 0.01);
  EXPECT_NE(r.method, Method::automatic);
}

TEST(Ranges, SaturationIsThePartOutside) {
  const TensorStatistics s = of({0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  EXPECT_NEAR(saturation(s, params_of({0, 4.5})), 0.5, 1e-9);
  EXPECT_EQ(saturation(s, params_of({0, 9})), 0);
}

TEST(Ranges, NothingSeenGivesAUsableRange) {
  for (size_t m = 0; m < kMethodInfos.size(); ++m) {
    EXPECT_EQ(params_of(choose_range({}, static_cast<Method>(m))).scale, 1.0f);
    EXPECT_EQ(params_of(choose_range(of({0, 0}), static_cast<Method>(m))).zero, 0);
    EXPECT_EQ(method_of(kMethodInfos[m].name), static_cast<Method>(m));
  }
  EXPECT_FALSE(method_of("guess"));
}

}  // namespace
}  // namespace tenon::quant
