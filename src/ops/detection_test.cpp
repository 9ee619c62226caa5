// Suppression of overlapping boxes against its rule, pair by pair.
#include "ops/detection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "ops/registry.h"

namespace tenon {
namespace {

using Boxes = std::vector<std::array<float, 4>>;  // y1, x1, y2, x2

double overlap(const std::array<float, 4>& a, const std::array<float, 4>& b) {
  const auto area = [](const std::array<float, 4>& c) {
    return (double{c[2]} - c[0]) * (double{c[3]} - c[1]);
  };
  const double height = double{std::min(a[2], b[2])} - std::max(a[0], b[0]),
               width = double{std::min(a[3], b[3])} - std::max(a[1], b[1]);
  if (!(height > 0) || !(width > 0) || !(area(a) > 0) || !(area(b) > 0)) return 0;
  return height * width / (area(a) + area(b) - height * width);
}

// The boxes lie in the order of their scores.
std::vector<int32_t> by_rule(const Boxes& boxes, double iou, size_t most) {
  std::vector<int32_t> kept;
  for (size_t i = 0; i < boxes.size() && kept.size() < most; ++i)
    if (std::ranges::none_of(kept, [&](int32_t k) {
          return overlap(boxes[i], boxes[static_cast<size_t>(k)]) > iou;
        }))
      kept.push_back(static_cast<int32_t>(i));
  return kept;
}

std::vector<int32_t> by_op(const Boxes& boxes, float iou, int32_t most) {
  const auto op = create_op("nms_v");
  TENON_CHECK(op != nullptr);
  std::vector<float> edges, scores(boxes.size());
  for (const auto& box : boxes) edges.insert(edges.end(), box.begin(), box.end());
  std::iota(scores.rbegin(), scores.rend(), 1.0f);
  const auto count = static_cast<int64_t>(boxes.size());
  const std::vector<Tensor> inputs = {Tensor::vector(edges).reshaped({count, 4}),
                                      Tensor::vector(scores),
                                      Tensor::vector(std::vector<int32_t>{most}).reshaped({}),
                                      Tensor::vector(std::vector<float>{iou}).reshaped({})};
  const auto result = evaluate(*op, inputs, 1);
  EXPECT_TRUE(result.ok());
  if (!result.ok()) return {};
  const auto kept = result->front().span<int32_t>();
  return {kept.begin(), kept.end()};
}

// Boxes of `size` and less in an image of `side`.
Boxes random_boxes(size_t count, float side, float size, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> at(0, side), extent(0, size);
  Boxes boxes(count);
  for (auto& box : boxes) {
    const float y = at(random), x = at(random);
    box = {y, x, y + extent(random), x + extent(random)};
  }
  return boxes;
}

void expect_rule(const Boxes& boxes) {
  for (const float iou : {-0.5f, 0.0f, 0.1f, 0.5f})
    for (const int32_t most : {7, 1 << 20})
      EXPECT_EQ(by_op(boxes, iou, most), by_rule(boxes, iou, static_cast<size_t>(most)))
          << boxes.size() << " boxes, iou " << iou << ", at most " << most;
}

TEST(Suppression, KeepsWhatTheRuleKeeps) {
  for (const size_t count : {0, 1, 17, 500, 3000}) {
    expect_rule(random_boxes(count, 100, 10, 1));
    expect_rule(random_boxes(count, 10, 100, 2));  // most reach over the whole image
  }
}

TEST(Suppression, EdgesMayBeNoNumbers) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Boxes boxes = random_boxes(1000, 100, 20, 3);
  boxes[5] = {0, -kInfinity, 50, kInfinity};
  boxes[6] = {10, 10, kInfinity, 30};
  boxes[700] = {-kInfinity, 10, 30, 30};
  expect_rule(boxes);
  expect_rule(Boxes(300, {1, 1, 1, 1}));  // of no extent, all at one place
}

}  // namespace
}  // namespace tenon
