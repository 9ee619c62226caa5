#include "quant/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace tenon::quant {
namespace {

uint64_t total(const Histogram& h) {
  return std::accumulate(h.counts().begin(), h.counts().end(), uint64_t{0});
}

TEST(Histogram, GrowsInBoundedMemoryAndLosesNothing) {
  TensorStatistics s;
  std::vector<float> values;
  for (int e = -20; e < 20; ++e) {
    values = {std::ldexp(1.0f, e), -std::ldexp(0.7f, e), 0};
    s.add(Tensor::vector(values));
  }
  EXPECT_EQ(total(s.histogram), 120u);
  EXPECT_LE(s.histogram.counts().size(), static_cast<size_t>(Histogram::kMaxBins));
  EXPECT_EQ(s.max, std::ldexp(1.0, 19));
  EXPECT_GE(s.histogram.centre(s.histogram.counts().size() - 1), s.max * 0.99);
}

TEST(Histogram, BinsHoldWhatIsInThem) {
  TensorStatistics s;
  s.add(Tensor::vector<float>({0.1f, 0.1f, 0.9f, -0.5f}));
  const Histogram& h = s.histogram;
  for (size_t i = 0; i < h.counts().size(); ++i) {
    if (h.counts()[i] == 0) continue;
    const double c = h.centre(i), half = h.width() / 2;
    EXPECT_TRUE(std::abs(c - 0.1) <= half || std::abs(c - 0.9) <= half || std::abs(c + 0.5) <= half)
        << c;
  }
}

TEST(Histogram, ZerosFirstDoNotSpoilTheWidth) {
  TensorStatistics s;
  s.add(Tensor::vector<float>({0, 0, 0}));
  s.add(Tensor::vector<float>({0, 1000}));
  EXPECT_LT(s.histogram.width(), 2);
  EXPECT_EQ(total(s.histogram), 5u);
}

TEST(Statistics, WhatIsNotFiniteIsLeftOutAndCounted) {
  TensorStatistics s;
  s.add(Tensor::vector<float>({1, NAN, INFINITY, -2}));
  EXPECT_EQ(s.not_finite, 2);
  EXPECT_EQ(s.min, -2);
  EXPECT_EQ(s.max, 1);
  EXPECT_EQ(total(s.histogram), 2u);
  TensorStatistics none;
  none.add(Tensor::vector<float>({NAN}));
  EXPECT_EQ(none.count, 0);
}

TEST(Statistics, ChannelsAreTheLastDimension) {
  TensorStatistics s;
  s.add(Tensor::vector<float>({1, 10, 2, -20}).reshaped({2, 2}));
  ASSERT_EQ(s.channel_sum.size(), 2u);
  EXPECT_EQ(s.channel_sum[1], -10);
  EXPECT_EQ(s.channel_max_abs[1], 20);
  EXPECT_EQ(s.channel_count, 2);
}

TEST(Statistics, AFileHoldsThemAll) {
  Statistics all;
  FunctionStatistics& f = all["serving_default"];
  f.graph = "0123";
  f.data = "\"quoted\" data";
  f.samples = 3;
  f.complete = true;
  f.tensors["a/b:1"].add(Tensor::vector<float>({-1, 2, 3, 4}).reshaped({2, 2}));
  const auto again = parse_statistics(to_json(all));
  ASSERT_TRUE(again.ok()) << again.error().to_string();
  EXPECT_EQ(to_json(*again), to_json(all));
  EXPECT_EQ(again->at("serving_default").tensors.at("a/b:1").histogram.counts(),
            f.tensors["a/b:1"].histogram.counts());
}

TEST(Statistics, DamagedFilesAreRefused) {
  Statistics all;
  all["f"].tensors["t"].add(Tensor::vector<float>({1, 2}));
  const std::string good = to_json(all);
  const auto with = [&](std::string_view from, std::string_view to) {
    std::string bad = good;
    const size_t at = bad.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return bad.replace(at, from.size(), to);
  };
  for (const std::string& bad :
       {std::string(), std::string("[]"), std::string("{}"), good.substr(0, good.size() / 2),
        with("statistics 1", "statistics 9"), with("\"min\":1.0", "\"min\":\"x\""),
        with("\"min\":1.0", "\"min\":9.0"), with("\"counts\":[", "\"counts\":[-1,"),
        with("\"width\":", "\"width\":-"), with("\"tensors\": {", "\"tensors\": 3, \"x\": {")}) {
    const auto result = parse_statistics(bad);
    ASSERT_FALSE(result.ok()) << bad.substr(0, 200);
    EXPECT_EQ(result.error().code, Code::invalid_argument);
  }
}

}  // namespace
}  // namespace tenon::quant
