// The ops that move data: symbolic shapes, shape arithmetic, and values at the corners.
#include "ops/movement.h"

#include <gtest/gtest.h>

#include "ops/band.h"
#include "ops/concat.h"
#include "ops/constant.h"
#include "ops/expand.h"
#include "ops/find.h"
#include "ops/gather.h"
#include "ops/pad.h"
#include "ops/reshape.h"
#include "ops/reverse.h"
#include "ops/scatter.h"
#include "ops/shape_of.h"
#include "ops/slice.h"
#include "ops/space_batch.h"
#include "ops/transpose.h"

namespace tenon {
namespace {

using Ints = std::vector<int64_t>;

Tensor i64(Ints values) {
  return Tensor::vector(values);
}
Tensor i64(Ints values, Ints dims) {
  return Tensor::vector(values).reshaped(std::move(dims));
}
Tensor iota(Ints dims) {
  Tensor t = Tensor::allocate(DType::i64, dims).value();
  for (int64_t i = 0; i < t.elements(); ++i) t.mutable_data<int64_t>()[i] = i;
  return t;
}

template <typename T>
Tensor run(const T& op, std::vector<Tensor> inputs) {
  auto result = evaluate(*make_op(op), inputs);
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? (*result)[0] : Tensor();
}
template <typename T>
Ints values(const T& op, std::vector<Tensor> inputs) {
  return run(op, std::move(inputs)).to_ints();
}

// What infer() says of an operand type and, for the others, of partly known integers.
OperandInfo typed(std::string_view text) {
  return {parse_tensor_type(text).value(), nullptr, nullptr};
}
OperandInfo known(const SymInts& ints) {
  return {{DType::i64, Shape{Dim(static_cast<int64_t>(ints.size()))}}, nullptr, &ints};
}
SymInt sym(std::string_view name) {
  return SymInt::of(Dim::symbol(name));
}
template <typename T>
std::string inferred(const T& op, std::vector<OperandInfo> operands) {
  const auto types = op.infer(InferContext(operands));
  return types.ok() ? (*types)[0].to_string() : "error: " + types.error().message;
}
std::string text(const std::optional<SymInts>& ints) {
  if (!ints) return "unknown";
  std::string all;
  for (const SymInt& s : *ints)
    all += (s.value ? std::to_string(*s.value) : s.dim.to_string()) + " ";
  return all;
}

TEST(Reshape, SolvesTheOpenDimension) {
  const Reshape op;
  const SymInts flat{{-1}, {3136}}, heads{sym("n"), {12}, {64}}, same{{0}, {-1}},
      open{{}, {12}, {64}};
  EXPECT_EQ(inferred(op, {typed("f32[?n,7,7,64]"), known(flat)}), "f32[?n,3136]");
  EXPECT_EQ(inferred(op, {typed("f32[?n,768]"), known(heads)}), "f32[?n,12,64]");
  EXPECT_EQ(inferred(op, {typed("f32[?n,768]"), known(open)}), "f32[?n,12,64]");
  EXPECT_EQ(inferred(op, {typed("f32[?,4,5]"), known(same)}), "f32[?,20]");
  EXPECT_EQ(inferred(op, {typed("f32[?n,?m,4]"), known(flat)}), "f32[?,3136]");
  EXPECT_EQ(inferred(op, {typed("f32[*]"), known(flat)}), "f32[?,3136]");
  const SymInts merged{{-1}, sym("m"), {8}};
  EXPECT_EQ(inferred(op, {typed("f32[?n,?m,8]"), known(merged)}), "f32[?n,?m,8]");
}

TEST(Reshape, RefusesWhatDoesNotFit) {
  const Reshape op, strict{.allow_zero = true};
  EXPECT_FALSE(evaluate(*make_op(op), std::vector{iota({6}), i64({4, 2})}).ok());
  EXPECT_FALSE(evaluate(*make_op(op), std::vector{iota({6}), i64({4, -1})}).ok());
  EXPECT_FALSE(evaluate(*make_op(op), std::vector{iota({6}), i64({-1, -1})}).ok());
  EXPECT_FALSE(evaluate(*make_op(strict), std::vector{iota({6}), i64({0, -1})}).ok());
  EXPECT_EQ(run(op, {iota({6, 0}), i64({3, 0})}).dims(), (Ints{3, 0}));
  EXPECT_EQ(run(op, {iota({0, 4, 5}), i64({0, -1})}).dims(), (Ints{0, 20}));
  EXPECT_EQ(run(strict, {iota({0, 6}), i64({3, 0})}).dims(), (Ints{3, 0}));
}

TEST(Squeeze, KnowsNoRankWhereADimensionMayBeOne) {
  EXPECT_EQ(inferred(Squeeze{}, {typed("f32[?n,1,3]")}), "f32[*]");
  EXPECT_EQ(inferred(Squeeze{{1}}, {typed("f32[?n,1,3]")}), "f32[?n,3]");
  EXPECT_EQ(inferred(ExpandDims{{-1, 0}}, {typed("f32[?n]")}), "f32[1,?n,1]");
}

TEST(Transpose, MovesElementsOfAnyType) {
  EXPECT_EQ(values(Transpose{{1, 0}}, {iota({2, 3})}), (Ints{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(values(Transpose{{2, 0, 1}}, {iota({2, 1, 3})}), (Ints{0, 3, 1, 4, 2, 5}));
  const Tensor words = Tensor::vector<std::string>({"a", "b", "c", "d"}).reshaped({2, 2});
  EXPECT_EQ(run(Transpose{{1, 0}}, {words}).data<std::string>()[1], "c");
}

TEST(Concat, AddsUpShapesAndIntegers) {
  const SymInts a{sym("n")}, b{{3}, {4}};
  const std::vector<OperandInfo> operands{known(a), known(b)};
  EXPECT_EQ(text(Concat{}.infer_ints(InferContext(operands))), "?n 3 4 ");
  EXPECT_EQ(inferred(Concat{1}, {typed("f32[?n,2]"), typed("f32[4,?]")}), "f32[4,?]");
  EXPECT_EQ(values(Concat{-1}, {iota({2, 1}), iota({2, 2})}), (Ints{0, 0, 1, 1, 2, 3}));
}

TEST(Split, LeavesTheRest) {
  const auto parts = evaluate(*make_op(Split{1, {1, -1}, 0}), std::vector{iota({2, 3})});
  ASSERT_TRUE(parts.ok());
  EXPECT_EQ((*parts)[1].to_ints(), (Ints{1, 2, 4, 5}));
  EXPECT_FALSE(evaluate(*make_op(Split{0, {5}, 0}), std::vector{iota({2, 3})}).ok());
}

TEST(Slice, ClampsAndStepsBackwards) {
  const Slice op;
  EXPECT_EQ(values(op, {iota({5}), i64({-1}), i64({-100}), i64({-2})}), (Ints{4, 2, 0}));
  EXPECT_EQ(values(op, {iota({5}), i64({3}), i64({INT64_MAX})}), (Ints{3, 4}));
  EXPECT_EQ(values(op, {iota({5}), i64({INT64_MIN}), i64({2})}), (Ints{0, 1}));
  EXPECT_EQ(values(op, {iota({5}), i64({4}), i64({INT64_MIN}), i64({INT64_MIN})}), (Ints{4}));
  EXPECT_EQ(values(Slice{{1}}, {iota({2, 3}), i64({1}), i64({3})}), (Ints{1, 2, 4, 5}));
  const SymInts zero{{0}}, far{{INT64_MAX}};
  EXPECT_EQ(inferred(op, {typed("f32[?n,3]"), known(zero), known(far)}), "f32[?n,3]");
}

TEST(StridedSlice, TakesElementsOfAShape) {
  const SymInts shape{sym("n"), {7}, {64}}, zero{{0}}, one{{1}}, minus{{-1}};
  const StridedSlice single{.shrink_axis_mask = 1}, rest{.end_mask = 1};
  const std::vector<OperandInfo> first{known(shape), known(zero), known(one), known(one)};
  EXPECT_EQ(text(single.infer_ints(InferContext(first))), "?n ");
  EXPECT_EQ(inferred(single, first), "i64[]");
  const std::vector<OperandInfo> tail{known(shape), known(one), known(zero), known(one)};
  EXPECT_EQ(text(rest.infer_ints(InferContext(tail))), "7 64 ");
  const std::vector<OperandInfo> last{known(shape), known(minus), known(zero), known(one)};
  EXPECT_EQ(text(single.infer_ints(InferContext(last))), "64 ");
}

TEST(StridedSlice, ReadsAllMasks) {
  // x[..., newaxis, 1]
  const StridedSlice op{.ellipsis_mask = 1, .new_axis_mask = 2, .shrink_axis_mask = 4};
  const Tensor y = run(op, {iota({2, 2, 3}), i64({0, 0, 1}), i64({0, 0, 2}), i64({1, 1, 1})});
  EXPECT_EQ(y.dims(), (Ints{2, 2, 1}));
  EXPECT_EQ(y.to_ints(), (Ints{1, 4, 7, 10}));
  // x[::-1, :2]
  const StridedSlice reversed{.begin_mask = 3, .end_mask = 1};
  EXPECT_EQ(values(reversed, {iota({2, 3}), i64({0, 0}), i64({0, 2}), i64({-1, 1})}),
            (Ints{3, 4, 0, 1}));
  const StridedSlice outside{.shrink_axis_mask = 1};
  EXPECT_FALSE(
      evaluate(*make_op(outside), std::vector{iota({2}), i64({2}), i64({3}), i64({1})}).ok());
}

TEST(ShapeOf, GivesDimensionsAsIntegers) {
  const std::vector<OperandInfo> x{typed("f32[?n,3,?]")};
  EXPECT_EQ(text(ShapeOf{}.infer_ints(InferContext(x))), "?n 3 ? ");
  EXPECT_EQ(text(ShapeOf{.start = -2, .end = -1}.infer_ints(InferContext(x))), "3 ");
  const std::vector<OperandInfo> flat{typed("f32[?n,1]")};
  EXPECT_EQ(text(SizeOf{}.infer_ints(InferContext(flat))), "?n ");
}

TEST(Gather, IndexesWithBatches) {
  EXPECT_EQ(values(Gather{1, 1}, {iota({2, 3}), i64({2, -1, 0, 0}, {2, 2})}), (Ints{2, 2, 3, 3}));
  EXPECT_EQ(values(Gather{1}, {iota({2, 3}), i64({2})}), (Ints{2, 5}));
  EXPECT_FALSE(evaluate(*make_op(Gather{}), std::vector{iota({2}), i64({2})}).ok());
  EXPECT_EQ(values(GatherNd{}, {iota({2, 3}), i64({1, 2, 0, 0}, {2, 2})}), (Ints{5, 0}));
  EXPECT_EQ(values(GatherNd{1}, {iota({2, 3}), i64({1, 2}, {2, 1})}), (Ints{1, 5}));
  EXPECT_EQ(values(GatherElements{1}, {iota({2, 2}), i64({0, 0, 1, 0}, {2, 2})}),
            (Ints{0, 0, 3, 2}));
}

TEST(Scatter, CombinesUpdates) {
  const Tensor x = iota({3});
  const Tensor at = i64({1, 1}, {2, 1}), updates = i64({10, 20});
  EXPECT_EQ(values(ScatterNd{}, {x, at, updates}), (Ints{0, 20, 2}));
  EXPECT_EQ(values(ScatterNd{ScatterReduction::add}, {x, at, updates}), (Ints{0, 31, 2}));
  EXPECT_EQ(values(ScatterElements{0, ScatterReduction::mul}, {x, i64({2, -1}), updates}),
            (Ints{0, 1, 400}));
  EXPECT_EQ(x.to_ints(), (Ints{0, 1, 2}));
  EXPECT_FALSE(evaluate(*make_op(ScatterNd{}), std::vector{x, i64({3}, {1, 1}), i64({1})}).ok());
}

TEST(SegmentReduce, LeavesEmptySegmentsAtTheStart) {
  const Tensor x = iota({3, 2}), ids = i64({2, 0, 2});
  EXPECT_EQ(values(SegmentReduce{}, {x, ids, Tensor::scalar<int64_t>(4)}),
            (Ints{2, 3, 0, 0, 4, 6, 0, 0}));
  EXPECT_EQ(values(SegmentReduce{SegmentReduction::max}, {x, i64({0, 2, 2})}),
            (Ints{0, 1, 0, 0, 4, 5}));
}

TEST(Expand, BroadcastsBothWays) {
  EXPECT_EQ(run(Expand{}, {iota({3, 1}), i64({2, 1, 2})}).dims(), (Ints{2, 3, 2}));
  EXPECT_EQ(values(Expand{}, {iota({2, 1}), i64({2, 2})}), (Ints{0, 0, 1, 1}));
  const SymInts shape{sym("n"), {1}};
  EXPECT_EQ(inferred(Expand{}, {typed("f32[1,4]"), known(shape)}), "f32[?n,4]");
  EXPECT_EQ(values(Tile{}, {iota({2, 2}), i64({1, 2})}), (Ints{0, 1, 0, 1, 2, 3, 2, 3}));
  EXPECT_EQ(run(Tile{}, {iota({2}), i64({0})}).dims(), (Ints{0}));
}

TEST(Pad, ContinuesTheEdges) {
  const Tensor x = iota({3}), two = i64({2, 2});
  const auto padded = [&](PadMode mode) { return values(Pad{mode, {}}, {x, two}); };
  EXPECT_EQ(padded(PadMode::constant), (Ints{0, 0, 0, 1, 2, 0, 0}));
  EXPECT_EQ(padded(PadMode::reflect), (Ints{2, 1, 0, 1, 2, 1, 0}));
  EXPECT_EQ(padded(PadMode::edge), (Ints{0, 0, 0, 1, 2, 2, 2}));
  EXPECT_EQ(padded(PadMode::symmetric), (Ints{1, 0, 0, 1, 2, 2, 1}));
  EXPECT_EQ(padded(PadMode::wrap), (Ints{1, 2, 0, 1, 2, 0, 1}));
  EXPECT_EQ(
      values(Pad{PadMode::constant, {1}}, {iota({2, 2}), i64({1, -1}), Tensor::scalar<int64_t>(9)}),
      (Ints{9, 0, 9, 2}));
}

TEST(Reverse, TurnsSequences) {
  EXPECT_EQ(values(Reverse{{0}}, {iota({2, 2})}), (Ints{2, 3, 0, 1}));
  EXPECT_EQ(values(ReverseSequence{}, {iota({2, 3}), i64({2, 3})}), (Ints{1, 0, 2, 5, 4, 3}));
  EXPECT_EQ(values(ReverseSequence{1, 0}, {iota({3, 2}), i64({3, 1})}), (Ints{4, 1, 2, 3, 0, 5}));
}

TEST(Find, PositionsAndDistinctElements) {
  const Tensor nz = run(NonZero{}, {i64({0, 1, 1, 0, 0, 5}, {2, 3})});
  EXPECT_EQ(nz.dims(), (Ints{2, 3}));
  EXPECT_EQ(nz.to_ints(), (Ints{0, 0, 1, 1, 2, 2}));
  const auto u = evaluate(*make_op(Unique{}), std::vector{i64({5, 2, 5, 3})}, 4);
  ASSERT_TRUE(u.ok());
  EXPECT_EQ((*u)[0].to_ints(), (Ints{2, 3, 5}));
  EXPECT_EQ((*u)[1].to_ints(), (Ints{1, 3, 0}));
  EXPECT_EQ((*u)[2].to_ints(), (Ints{2, 0, 2, 1}));
  EXPECT_EQ((*u)[3].to_ints(), (Ints{1, 1, 2}));
  EXPECT_EQ(values(Unique{{1}, false}, {i64({1, 0, 1, 2, 3, 2}, {2, 3})}), (Ints{1, 0, 2, 3}));
  EXPECT_EQ(values(Bucketize{{0, 10}}, {i64({-5, 0, 10})}), (Ints{0, 1, 2}));
  EXPECT_EQ(values(InvertPermutation{}, {i64({2, 0, 1})}), (Ints{1, 2, 0}));
  EXPECT_EQ(values(TableFind{}, {Tensor::vector<std::string>({"b", "x"}),
                                 Tensor::vector<std::string>({"a", "b"}), i64({7, 8}),
                                 Tensor::scalar<int64_t>(-1)}),
            (Ints{8, -1}));
}

TEST(SpaceToBatch, GoesThereAndBack) {
  const Tensor x = iota({2, 3, 2}), block = i64({2}), margins = i64({1, 0}, {1, 2});
  const Tensor y = run(SpaceToBatch{}, {x, block, margins});
  EXPECT_EQ(y.dims(), (Ints{4, 2, 2}));
  EXPECT_EQ(y.to_ints(), (Ints{0, 0, 2, 3, 0, 0, 8, 9, 0, 1, 4, 5, 6, 7, 10, 11}));
  EXPECT_TRUE(bitwise_equal(run(BatchToSpace{}, {y, block, margins}), x));
}

TEST(Band, KeepsTriangles) {
  const Tensor x = i64({1, 2, 3, 4, 5, 6, 7, 8, 9}, {3, 3});
  EXPECT_EQ(values(Trilu{false}, {x}), (Ints{1, 0, 0, 4, 5, 0, 7, 8, 9}));
  EXPECT_EQ(values(Trilu{true}, {x, Tensor::scalar<int64_t>(1)}),
            (Ints{0, 2, 3, 0, 0, 6, 0, 0, 0}));
  EXPECT_EQ(values(BandPart{}, {x, Tensor::scalar<int64_t>(0), Tensor::scalar<int64_t>(-1)}),
            (Ints{1, 2, 3, 0, 5, 6, 0, 0, 9}));
  EXPECT_EQ(values(EyeLike{1}, {x}), (Ints{0, 1, 0, 0, 0, 1, 0, 0, 0}));
}

}  // namespace
}  // namespace tenon
