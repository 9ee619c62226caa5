#include "passes/test_support.h"

namespace tenon {
namespace {

using testing::count;
using testing::f32;
using testing::Maker;

const Shape kImage{Dim::symbol("n"), 4, 4, 8};

TEST(FusePointwise, AChainBecomesOneNode) {
  Maker m;
  Value* x = m.input(f32(kImage));
  Value* scaled = m.op("mul", {x, m.floats({8}, 1)});
  Value* shifted = m.op("add", {scaled, m.floats({8}, 2)});
  m.graph.set_outputs({m.op("relu", {m.op("sub", {shifted, m.scalar(0.5f)})})});
  PassContext context;
  testing::optimize_and_compare(m.graph, context);
  EXPECT_EQ(testing::count_all(m.graph), 1);
  ASSERT_EQ(testing::fired(context, "fuse-pointwise"), 1);
  const Firing& f = context.firings.back();
  EXPECT_EQ(f.nodes, 3);
  EXPECT_EQ(f.bytes, 3 * 4 * 4 * 8 * 4);  // of one image
}

TEST(FusePointwise, ComparisonsAndSelectsTakePart) {
  Maker m;
  Value* x = m.input(f32(kImage));
  Value* y = m.input(f32(kImage));
  Value* larger = m.op("greater", {x, y});
  m.graph.set_outputs({m.op("select", {larger, m.op("exp", {x}), m.scalar(0)})});
  testing::optimize_and_compare(m.graph);
  EXPECT_EQ(testing::count_all(m.graph), 1);
}

TEST(FusePointwise, AValueReadOutsideIsAResultToo) {
  Maker m;
  Value* x = m.input(f32(kImage));
  Value* a = m.op("tanh", {x});
  Value* pooled = m.op("reduce_max", {a}, {{"axes", std::vector<int64_t>{1}}});
  m.graph.set_outputs({m.op("exp", {m.op("square", {a})}), pooled});
  testing::optimize_and_compare(m.graph);
  EXPECT_EQ(count(m.graph, "fused"), 1);
  EXPECT_EQ(testing::count_all(m.graph), 2);
}

// The reader outside leads back into the chain: fusing across it would make a cycle.
TEST(FusePointwise, DoesNotCloseACycle) {
  Maker m;
  Value* x = m.input(f32(kImage));
  Value* a = m.op("tanh", {x});
  Value* top = m.op("reduce_max", {a}, {{"axes", std::vector<int64_t>{1}}, {"keep_dims", true}});
  m.graph.set_outputs({m.op("exp", {m.op("sub", {a, top})})});
  testing::optimize_and_compare(m.graph);
  EXPECT_EQ(count(m.graph, "tanh"), 1);
  EXPECT_EQ(count(m.graph, "fused"), 1);
}

TEST(FusePointwise, OtherTypesAndSingleOpsStay) {
  Maker m;
  const TensorType ints{DType::i32, Shape{4}, false};
  Value* i = m.input(ints);
  Value* x = m.input(f32(Shape{4}));
  m.graph.set_outputs({m.op("mul", {m.op("add", {i, i}), i}), m.op("exp", {x})});
  testing::optimize_and_compare(m.graph);
  EXPECT_EQ(count(m.graph, "fused"), 0);
}

TEST(FusePointwise, AnActivationGoesIntoTheProductFirst) {
  Maker m;
  Value* x = m.input(f32(Shape{2, 8}));
  Value* y = m.op("matmul", {x, m.floats({8, 8}, 1)});
  Value* r = m.op("relu", {m.op("add", {y, m.floats({8}, 2)})});
  m.graph.set_outputs({m.op("exp", {m.op("neg", {r})})});
  testing::optimize_and_compare(m.graph);
  EXPECT_EQ(count(m.graph, "matmul"), 1);
  EXPECT_EQ(count(m.graph, "fused"), 1);
  EXPECT_EQ(testing::count_all(m.graph), 2);
}

TEST(FusePointwise, CanBeSwitchedOff) {
  Maker m;
  Value* x = m.input(f32(kImage));
  m.graph.set_outputs({m.op("exp", {m.op("tanh", {x})})});
  PassContext context;
  context.disabled.insert("fuse-pointwise");
  testing::optimize_and_compare(m.graph, context);
  EXPECT_EQ(count(m.graph, "fused"), 0);
}

// Many diamonds that share values: whatever is grouped, the order stays one.
TEST(FusePointwise, AnyMeshStaysValid) {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    Maker m;
    std::mt19937 engine(seed);
    std::vector<Value*> values{m.input(f32(Shape{2, 3})), m.input(f32(Shape{2, 3}))};
    const auto pick = [&] { return values[engine() % values.size()]; };
    for (int i = 0; i < 30; ++i) {
      switch (engine() % 5) {
        case 0:
          values.push_back(m.op("tanh", {pick()}));
          break;
        case 1:
          values.push_back(m.op("softmax", {pick()}));
          break;
        default:
          values.push_back(m.op(engine() % 2 == 0 ? "add" : "sub", {pick(), pick()}));
      }
    }
    m.graph.set_outputs({values.back(), pick(), pick()});
    testing::optimize_and_compare(m.graph);
  }
}

}  // namespace
}  // namespace tenon
