#include "passes/test_support.h"

namespace tenon {
namespace {

using testing::count;
using testing::count_all;
using testing::f32;
using testing::Maker;

using Ints = std::vector<int64_t>;
using Attrs = std::vector<Builder::Attr>;

// Branches of one input of 6 channels.
struct Branches {
  Maker m;
  Value* x;
  uint32_t seed = 100;

  explicit Branches(Shape shape = Shape{2, 8, 7, 6}) : x(m.input(f32(std::move(shape)))) {}

  Value* conv(Ints kernel, int64_t channels, Attrs attrs = {}, Value* from = nullptr) {
    kernel.push_back(channels);
    kernel.push_back(6);
    return m.op("conv", {from == nullptr ? x : from, m.floats(kernel, ++seed)}, std::move(attrs));
  }
  // A convolution of every channel alone.
  Value* depthwise(Ints kernel, Attrs attrs = {}) {
    attrs.push_back({"groups", int64_t{6}});
    return conv(std::move(kernel), 1, std::move(attrs));
  }
  Value* norm(Value* of) {
    Tensor variance = testing::random_floats({6}, ++seed);
    for (float& v : std::span(variance.mutable_data<float>(), 6)) v = 0.5f + v * v;
    seed += 3;
    return m.op("batch_norm", {of, m.floats({6}, seed - 2), m.floats({6}, seed - 1),
                               m.floats({6}, seed), m.builder.constant(variance)});
  }
  Value* add(Value* a, Value* b) { return m.op("add", {a, b}); }
  // What is left of the graph computes the same and has so many nodes besides constants.
  void expect(Value* y, int nodes) {
    m.graph.set_outputs({y});
    testing::optimize_and_compare(m.graph);
    EXPECT_EQ(count_all(m.graph), nodes);
  }
};

const Attrs kSame = {{"pads", Ints{1, 1, 1, 1}}};

TEST(MergeBranches, ThreeOfATrainedBlock) {
  Branches b;
  Value* sum = b.add(b.norm(b.conv({3, 3}, 6, kSame)), b.norm(b.conv({1, 1}, 6)));
  b.expect(b.m.op("relu", {b.add(b.norm(b.x), sum)}), 1);
}

TEST(MergeBranches, DepthwiseWithStrides) {
  Branches b;
  const Attrs strided = {{"strides", Ints{2, 2}}, {"pads", Ints{0, 1, 1, 1}}};
  b.expect(b.add(b.depthwise({3, 3}, strided), b.depthwise({1, 1}, {{"strides", Ints{2, 2}}})), 1);
}

TEST(MergeBranches, GroupsAndABatchNorm) {
  Branches b;
  Attrs grouped = kSame;
  grouped.push_back({"groups", int64_t{2}});
  b.expect(b.add(b.conv({3, 3}, 3, grouped), b.norm(b.x)), 1);
}

TEST(MergeBranches, RowsAndColumnsWithinASquare) {
  Branches b;
  Value* lines = b.add(b.conv({1, 3}, 6, {{"pads", Ints{0, 1, 0, 1}}}),
                       b.conv({3, 1}, 6, {{"pads", Ints{1, 0, 1, 0}}}));
  b.expect(b.add(lines, b.conv({3, 3}, 6, kSame)), 1);
}

TEST(MergeBranches, DilationsAndTapsBesideTheMiddle) {
  Branches b;
  const Attrs wide = {{"pads", Ints{2, 4, 2, 0}}, {"dilations", Ints{2, 2}}};
  b.expect(b.add(b.conv({1, 1}, 6), b.conv({3, 3}, 6, wide)), 1);
}

TEST(MergeBranches, OneDimensionPaddedByItsSize) {
  Branches b(Shape{2, Dim::symbol("n"), 6});
  const Attrs same = {{"auto_pad", std::string("same_upper")}};
  b.expect(b.add(b.conv({4}, 6, same), b.conv({1}, 6, same)), 1);
}

TEST(MergeBranches, WhatElseIsAddedStays) {
  Branches b;
  Value* other = b.m.input(f32(Shape{2, 8, 7, 6}));
  b.expect(b.add(b.add(b.conv({3, 3}, 6, kSame), other), b.conv({1, 1}, 6)), 1);
  EXPECT_EQ(count(b.m.graph, "conv"), 1);
}

TEST(MergeBranches, TheTensorItselfBeforeABatchNorm) {
  Branches b;
  Value* sum = b.add(b.add(b.depthwise({3, 3}, kSame), b.depthwise({1, 1})), b.x);
  b.expect(b.norm(sum), 1);
}

TEST(MergeBranches, ADifferenceThatIsScaled) {
  Branches b;
  Value* difference = b.m.op("sub", {b.depthwise({3, 3}, kSame), b.norm(b.x)});
  Value* scaled = b.m.op("mul", {difference, b.m.floats({6}, 5)});
  b.expect(b.add(b.x, scaled), 1);
}

TEST(MergeBranches, ADifferenceTheOtherWayRound) {
  Branches b;
  b.expect(b.m.op("sub", {b.norm(b.x), b.conv({3, 3}, 6, kSame)}), 1);
}

TEST(MergeBranches, NotRowsAndColumnsAlone) {
  Branches b;
  b.expect(b.add(b.conv({1, 3}, 6, {{"pads", Ints{0, 1, 0, 1}}}),
                 b.conv({3, 1}, 6, {{"pads", Ints{1, 0, 1, 0}}})),
           2);
}

TEST(MergeBranches, NotTheTensorItselfAsAResidual) {
  Branches b;
  b.m.graph.set_outputs({b.add(b.conv({3, 3}, 6, kSame), b.x)});
  PassContext context;
  testing::optimize_and_compare(b.m.graph, context);
  EXPECT_EQ(testing::fired(context, "merge-branches"), 0);
}

TEST(MergeBranches, NotBehindAnActivation) {
  Branches b;
  b.expect(b.add(b.conv({3, 3}, 6, kSame), b.m.op("relu", {b.conv({1, 1}, 6)})), 2);
}

TEST(MergeBranches, NotWhereOneIsReadElsewhere) {
  Branches b;
  Value* one = b.conv({1, 1}, 6);
  b.expect(b.m.op("concat", {one, b.add(b.conv({3, 3}, 6, kSame), one)}), 3);
}

TEST(MergeBranches, NotOfDifferentGroups) {
  Branches b;
  b.expect(b.add(b.depthwise({3, 3}, kSame), b.conv({1, 1}, 6)), 2);
}

TEST(MergeBranches, NotOfDifferentTensors) {
  Branches b;
  Value* other = b.m.input(f32(Shape{2, 8, 7, 6}));
  b.expect(b.add(b.conv({3, 3}, 6, kSame), b.conv({1, 1}, 6, {}, other)), 2);
}

TEST(MergeBranches, NotWhereSizesDecideThePads) {
  Branches b(Shape{2, Dim::symbol("n"), 6});
  const Attrs same = {{"auto_pad", std::string("same_upper")}, {"strides", Ints{2}}};
  b.expect(b.add(b.conv({3}, 6, same), b.conv({1}, 6, same)), 3);
}

}  // namespace
}  // namespace tenon
