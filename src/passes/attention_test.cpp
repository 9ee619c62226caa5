#include "passes/test_support.h"

namespace tenon {
namespace {

using testing::count;
using testing::f32;
using testing::Maker;

constexpr int64_t kHeads = 2, kLength = 5, kWidth = 4;
const Shape kHeadsFirst{2, kHeads, kLength, kWidth};

struct Scores {
  Maker m;
  Value* q = m.input(f32(kHeadsFirst));
  Value* k = m.input(f32(kHeadsFirst));
  Value* v = m.input(f32(kHeadsFirst));
  Value* product() { return m.op("matmul", {q, k}, {{"transpose_b", true}}); }
  void finish(Value* scores) {
    m.graph.set_outputs({m.op("matmul", {m.op("softmax", {scores}), v})});
  }
};

TEST(RecogniseAttention, ScaledByDivision) {
  Scores s;
  s.finish(s.m.op("div", {s.product(), s.m.scalar(2)}));
  testing::optimize_and_compare(s.m.graph);
  EXPECT_EQ(count(s.m.graph, "attention"), 1);
  EXPECT_EQ(testing::count_all(s.m.graph), 1);
}

TEST(RecogniseAttention, KeysTransposedOutside) {
  Scores s;
  Value* kt = s.m.op("transpose", {s.k}, {{"perm", std::vector<int64_t>{0, 1, 3, 2}}});
  s.finish(s.m.op("mul", {s.m.scalar(0.25f), s.m.op("matmul", {s.q, kt})}));
  testing::optimize_and_compare(s.m.graph);
  EXPECT_EQ(testing::count_all(s.m.graph), 1);
}

TEST(RecogniseAttention, AddedMask) {
  Scores s;
  Value* mask = s.m.input(f32(Shape{2, 1, 1, kLength}));
  Value* never = s.m.op("mul", {s.m.op("sub", {s.m.scalar(1), mask}), s.m.scalar(-10000)});
  s.finish(s.m.op("add", {s.m.op("mul", {s.product(), s.m.scalar(0.5f)}), never}));
  testing::optimize_and_compare(s.m.graph);
  EXPECT_EQ(count(s.m.graph, "attention"), 1);
  EXPECT_EQ(count(s.m.graph, "softmax"), 0);
}

TEST(RecogniseAttention, SelectedMask) {
  Scores s;
  Value* keep = s.m.input({DType::boolean, Shape{2, 1, kLength, kLength}, false});
  s.finish(
      s.m.op("select", {keep, s.m.op("mul", {s.product(), s.m.scalar(0.5f)}), s.m.scalar(-3e38f)}));
  testing::optimize_and_compare(s.m.graph);
  EXPECT_EQ(count(s.m.graph, "attention"), 1);
}

TEST(RecogniseAttention, OneHeadOfRankThree) {
  Maker m;
  Value* q = m.input(f32(Shape{2, 5, 4}));
  Value* k = m.input(f32(Shape{2, 6, 4}));
  Value* v = m.input(f32(Shape{2, 6, 3}));
  Value* p = m.op("softmax", {m.op("matmul", {q, k}, {{"transpose_b", true}})});
  m.graph.set_outputs({m.op("matmul", {p, v})});
  testing::optimize_and_compare(m.graph);
  EXPECT_EQ(count(m.graph, "attention"), 1);
}

TEST(RecogniseAttention, NotWhenTheWeightsAreReadElsewhere) {
  Scores s;
  Value* p = s.m.op("softmax", {s.product()});
  s.m.graph.set_outputs({s.m.op("matmul", {p, s.v}), p});
  testing::optimize_and_compare(s.m.graph);
  EXPECT_EQ(count(s.m.graph, "attention"), 0);
}

TEST(RecogniseAttention, NotAlongAnotherAxis) {
  Scores s;
  Value* p = s.m.op("softmax", {s.product()}, {{"axis", int64_t{2}}});
  s.m.graph.set_outputs({s.m.op("matmul", {p, s.v})});
  testing::optimize_and_compare(s.m.graph);
  EXPECT_EQ(count(s.m.graph, "attention"), 0);
}

// A mask that leaves masked scores in play is not the same where a whole row is masked.
TEST(RecogniseAttention, NotWithAWeakSelectedMask) {
  Scores s;
  Value* keep = s.m.input({DType::boolean, Shape{2, 1, kLength, kLength}, false});
  s.finish(s.m.op("select", {keep, s.product(), s.m.scalar(-1e9f)}));
  testing::optimize_and_compare(s.m.graph);
  EXPECT_EQ(count(s.m.graph, "attention"), 0);
}

TEST(RecogniseAttention, NotWhenTheBatchIsBroadcast) {
  Maker m;
  Value* q = m.input(f32(kHeadsFirst));
  Value* k = m.input(f32(Shape{1, kHeads, kLength, kWidth}));
  Value* p = m.op("softmax", {m.op("matmul", {q, k}, {{"transpose_b", true}})});
  m.graph.set_outputs({m.op("matmul", {p, k})});
  testing::optimize_and_compare(m.graph);
  EXPECT_EQ(count(m.graph, "attention"), 0);
}

}  // namespace
}  // namespace tenon
