#include "calibrate/search_metric.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tenon {
namespace {

Tensor rows_of(std::vector<float> values, int64_t columns) {
  const auto rows = static_cast<int64_t>(values.size()) / columns;
  return Tensor::vector(values).reshaped(std::vector<int64_t>{rows, columns});
}

// `rows` samples of three classes whose first leads by one to two, and, where asked, by so much in
// the first one alone.
Outputs leads(int rows, float of_first = 0) {
  Outputs outputs;
  for (int i = 0; i < rows; ++i) {
    const float lead =
        i == 0 && of_first > 0 ? of_first : 1 + static_cast<float>(i) / static_cast<float>(rows);
    outputs.push_back({rows_of({0, 5, 5 - lead}, 3)});
  }
  return outputs;
}

// Every other sample's second class gains `error`.
Outputs disturbed(Outputs outputs, float error) {
  for (size_t i = 0; i < outputs.size(); i += 2) {
    const auto x = outputs[i][0].span<float>();
    outputs[i][0] = rows_of({x[0], x[1], x[2] + error}, 3);
  }
  return outputs;
}

TEST(Top1Drop, NothingIsLostWhereNothingChanges) {
  EXPECT_EQ(top1_drop(leads(50), leads(50))->drop(), 0);
}

TEST(Top1Drop, RowsOfAnotherClassAreCounted) {
  EXPECT_NEAR(top1_drop(disturbed(leads(50), 10), leads(50))->drop(), 0.5, 0.05);
}

TEST(Top1Drop, ErrorsFarSmallerThanAllLeadsCostNothing) {
  EXPECT_LT(top1_drop(disturbed(leads(50), 0.01F), leads(50))->drop(), 1e-4);
}

TEST(Top1Drop, ErrorsAsLargeAsSomeLeadsAreExpectedToCost) {
  // The row that leads by least was spared: no class changes here, as it may of other data.
  const auto expected = leads(50, 0.05F);
  auto actual = disturbed(expected, 0.5F);
  actual[0] = expected[0];
  const double drop = top1_drop(actual, expected)->drop();
  EXPECT_GT(drop, 0.001);
  EXPECT_LT(drop, 0.05);
}

TEST(Top1Drop, ProbabilitiesOfTwoClasses) {
  const Outputs expected{{rows_of({0.9F, 0.2F, 0.6F, 0.4F}, 1)}};
  EXPECT_GE(top1_drop({{rows_of({0.9F, 0.2F, 0.4F, 0.4F}, 1)}}, expected)->drop(), 0.25);
  EXPECT_LT(top1_drop({{rows_of({0.9F, 0.2F, 0.6001F, 0.4F}, 1)}}, expected)->drop(), 1e-3);
}

TEST(Top1Drop, NumbersThatAreNoClassesAreRefused) {
  const Outputs numbers{{rows_of({3, -2, 7}, 1)}};
  const auto drop = top1_drop(numbers, numbers);
  ASSERT_FALSE(drop.ok());
  EXPECT_NE(drop.error().message.find("choose cosine"), std::string::npos);
}

TEST(Top1Drop, WhatIsNoNumberIsLost) {
  const Outputs expected{{rows_of({0, 5, 1, 4, 0, 1}, 3)}};
  EXPECT_GE(top1_drop({{rows_of({0, NAN, 1, 4, 0, 1}, 3)}}, expected)->drop(), 0.5);
}

}  // namespace
}  // namespace tenon
