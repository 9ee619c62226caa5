#include "passes/test_support.h"

namespace tenon {
namespace {

using testing::count;
using testing::f32;
using testing::Maker;

constexpr int64_t kSteps = 5, kBatch = 2, kWidth = 3, kUnits = 4;

// How a step that the mask leaves out shows in the results: by nothing, by the result before, or by
// zeros.
enum class Mask : uint8_t { none, result_before, zeros };

// A loop as TensorFlow writes one: states time, limit, list of results, h, c; the sequence's list
// and the weights as what it hands on; with a mask its list and the result before.
struct LayerLoop {
  Maker m;
  int64_t gates;
  Mask mask;
  Value* x = m.input(f32(Shape{kSteps, kBatch, kWidth}));
  std::unique_ptr<Graph> condition = std::make_unique<Graph>("cond");
  std::unique_ptr<Graph> body = std::make_unique<Graph>("body");
  std::vector<Value*> initial;
  std::vector<Value*> in;
  Builder b{*body};

  explicit LayerLoop(int64_t gate_count, Mask mask_kind = Mask::none, bool zero_state = true)
      : gates(gate_count), mask(mask_kind) {
    const auto i32 = [&](int32_t v) { return m.builder.constant(Tensor::scalar(v)); };
    const TensorType element = f32(Shape{kBatch, kUnits});
    Value* zeros = m.op("expand", {m.scalar(0), m.builder.ints({kBatch, kUnits})});
    Value* h0 = mask != Mask::none && zero_state ? zeros : m.input(f32(Shape{kBatch, kUnits}));
    Value* c0 = m.input(f32(Shape{kBatch, kUnits}));
    initial = {i32(0),
               i32(kSteps),
               m.op("list_reserve", {i32(kSteps)}, {{"element", element}}),
               h0,
               c0,
               m.op("list_unstack", {x}),
               m.floats({kWidth, gates * kUnits}, 1),
               m.floats({kUnits, gates * kUnits}, 2),
               m.floats({gates * kUnits}, 3)};
    if (mask != Mask::none) {
      Value* keep = m.input({DType::boolean, Shape{kSteps, kBatch, 1}, false});
      initial.push_back(m.op("list_unstack", {keep}));
      initial.push_back(zeros);
    }
    for (const Value* v : initial) {
      in.push_back(body->add_input(v->type()));
      condition->add_input(v->type());
    }
    Builder c(*condition);
    condition->set_outputs(
        {c.op("less", {condition->inputs()[0].get(), condition->inputs()[1].get()}).value()});
  }

  Value* op(std::string_view name, std::vector<Value*> inputs,
            std::vector<Builder::Attr> attrs = {}) {
    auto value = b.op(name, std::move(inputs), std::move(attrs));
    EXPECT_TRUE(value.ok()) << (value.ok() ? "" : value.error().to_string());
    return value.ok() ? *value : nullptr;
  }
  std::vector<Value*> split(Value* z) {
    Node* parts = b.node("split", {z}, {{"axis", int64_t{1}}, {"num", gates}}).value();
    std::vector<Value*> values;
    for (int i = 0; i < parts->output_count(); ++i) values.push_back(parts->output(i));
    return values;
  }
  Value* step() {
    return op("list_get", {in[5], in[0]}, {{"element", f32(Shape{kBatch, kWidth})}});
  }

  // The loop with these results for h and c; its outputs are the stacked list and both states.
  void finish(Value* h, Value* c) {
    Value* one = b.constant(Tensor::scalar(int32_t{1}));
    Value* y = h;
    if (mask != Mask::none) {
      const TensorType element{DType::boolean, Shape{kBatch, 1}, false};
      Value* keep = op("list_get", {in[9], in[0]}, {{"element", element}});
      Value* otherwise =
          mask == Mask::zeros ? b.constant(Tensor::vector(std::vector<float>{0})) : in[10];
      y = op("select", {keep, h, otherwise});
      h = op("select", {keep, h, in[3]});
      if (c != in[4]) c = op("select", {keep, c, in[4]});
    }
    std::vector<Value*> results{op("add", {in[0], one}),
                                in[1],
                                op("list_set", {in[2], in[0], y}),
                                h,
                                c,
                                in[5],
                                in[6],
                                in[7],
                                in[8]};
    if (mask != Mask::none) results.insert(results.end(), {in[9], y});
    body->set_outputs(results);
    std::vector<std::unique_ptr<Graph>> regions;
    regions.push_back(std::move(condition));
    regions.push_back(std::move(body));
    auto node = m.builder.node("while", initial, {}, std::move(regions));
    ASSERT_TRUE(node.ok()) << node.error().to_string();
    Value* stacked = m.op("list_stack", {(*node)->output(2)},
                          {{"element", f32(Shape{kBatch, kUnits})}, {"num", kSteps}});
    m.graph.set_outputs({stacked, (*node)->output(3), (*node)->output(4)});
  }
};

void build_lstm(LayerLoop& l, const char* gate = "sigmoid") {
  Value* z = l.op("add", {l.op("matmul", {l.step(), l.in[6]}), l.op("matmul", {l.in[3], l.in[7]})});
  const auto parts = l.split(l.op("add", {z, l.in[8]}));
  Value* kept = l.op("mul", {l.op(gate, {parts[1]}), l.in[4]});
  Value* fresh = l.op("mul", {l.op(gate, {parts[0]}), l.op("tanh", {parts[2]})});
  Value* c = l.op("add", {kept, fresh});
  l.finish(l.op("mul", {l.op(gate, {parts[3]}), l.op("tanh", {c})}), c);
}

TEST(RecogniseRecurrent, Lstm) {
  LayerLoop l(4);
  build_lstm(l);
  testing::optimize_and_compare(l.m.graph);
  EXPECT_EQ(count(l.m.graph, "while"), 0);
  EXPECT_EQ(count(l.m.graph, "lstm"), 1);
  EXPECT_EQ(count(l.m.graph, "list_stack"), 0);
}

// TensorFlow 1: gates i, g, f, o, and one added to the forget gate.
TEST(RecogniseRecurrent, LstmWithOtherGatesAndForgetBias) {
  LayerLoop l(4);
  Value* z = l.op("add", {l.op("matmul", {l.step(), l.in[6]}), l.op("matmul", {l.in[3], l.in[7]})});
  const auto parts = l.split(l.op("add", {z, l.in[8]}));
  Value* forget = l.op("add", {parts[2], l.b.constant(Tensor::scalar(1.0f))});
  Value* kept = l.op("mul", {l.in[4], l.op("sigmoid", {forget})});
  Value* c =
      l.op("add", {kept, l.op("mul", {l.op("sigmoid", {parts[0]}), l.op("tanh", {parts[1]})})});
  l.finish(l.op("mul", {l.op("tanh", {c}), l.op("sigmoid", {parts[3]})}), c);
  testing::optimize_and_compare(l.m.graph);
  EXPECT_EQ(count(l.m.graph, "lstm"), 1);
}

// The parts of z by slices instead of a split.
std::vector<Value*> slices(LayerLoop& l, Value* z) {
  std::vector<Value*> parts;
  for (int64_t i = 0; i < l.gates; ++i)
    parts.push_back(
        l.op("strided_slice",
             {z, l.b.ints({0, i * kUnits}), l.b.ints({0, (i + 1) * kUnits}), l.b.ints({1, 1})},
             {{"begin_mask", int64_t{i == 0 ? 3 : 1}},
              {"end_mask", int64_t{i + 1 == l.gates ? 3 : 1}}}));
  return parts;
}

void build_gru(LayerLoop& l, float one, bool sliced = false) {
  const auto x = l.split(l.op("add", {l.op("matmul", {l.step(), l.in[6]}), l.in[8]}));
  Value* hr = l.op("matmul", {l.in[3], l.in[7]});
  const auto h = sliced ? slices(l, hr) : l.split(hr);
  Value* z = l.op("sigmoid", {l.op("add", {x[0], h[0]})});
  Value* r = l.op("sigmoid", {l.op("add", {x[1], h[1]})});
  Value* n = l.op("tanh", {l.op("add", {x[2], l.op("mul", {r, h[2]})})});
  Value* rest = l.op("sub", {l.b.constant(Tensor::scalar(one)), z});
  l.finish(l.op("add", {l.op("mul", {z, l.in[3]}), l.op("mul", {rest, n})}), l.in[4]);
}

TEST(RecogniseRecurrent, Gru) {
  LayerLoop l(3);
  build_gru(l, 1);
  testing::optimize_and_compare(l.m.graph);
  EXPECT_EQ(count(l.m.graph, "while"), 0);
  EXPECT_EQ(count(l.m.graph, "gru"), 1);
}

TEST(RecogniseRecurrent, GruWithSlices) {
  LayerLoop l(3);
  build_gru(l, 1, true);
  testing::optimize_and_compare(l.m.graph);
  EXPECT_EQ(count(l.m.graph, "gru"), 1);
}

TEST(RecogniseRecurrent, PlainCell) {
  LayerLoop l(1);
  Value* x = l.op("add", {l.op("matmul", {l.step(), l.in[6]}), l.in[8]});
  l.finish(l.op("tanh", {l.op("add", {x, l.op("matmul", {l.in[3], l.in[7]})})}), l.in[4]);
  testing::optimize_and_compare(l.m.graph);
  EXPECT_EQ(count(l.m.graph, "rnn"), 1);
}

TEST(RecogniseRecurrent, LstmWithAMask) {
  for (const Mask mask : {Mask::result_before, Mask::zeros}) {
    LayerLoop l(4, mask);
    build_lstm(l);
    testing::optimize_and_compare(l.m.graph);
    EXPECT_EQ(count(l.m.graph, "while"), 0);
    EXPECT_EQ(count(l.m.graph, "lstm"), 1);
  }
}

TEST(RecogniseRecurrent, GruWithAMask) {
  for (const Mask mask : {Mask::result_before, Mask::zeros}) {
    LayerLoop l(3, mask);
    build_gru(l, 1);
    testing::optimize_and_compare(l.m.graph);
    EXPECT_EQ(count(l.m.graph, "gru"), 1);
  }
}

// Before the first step that counts the results are zeros, not the state.
TEST(RecogniseRecurrent, NotWithAMaskAndAStateGiven) {
  LayerLoop l(4, Mask::result_before, false);
  build_lstm(l);
  testing::optimize_and_compare(l.m.graph);
  EXPECT_EQ(count(l.m.graph, "while"), 1);
}

TEST(RecogniseRecurrent, WithZerosForGapsAndAStateGiven) {
  LayerLoop l(4, Mask::zeros, false);
  build_lstm(l);
  testing::optimize_and_compare(l.m.graph);
  EXPECT_EQ(count(l.m.graph, "lstm"), 1);
}

// The reset gate before the product, whose weights are apart.
TEST(RecogniseRecurrent, GruResetBefore) {
  LayerLoop l(3);
  const auto x = l.split(l.op("add", {l.op("matmul", {l.step(), l.in[6]}), l.in[8]}));
  Value* weights = l.b.constant(testing::random_floats({kUnits, 2 * kUnits}, 5));
  Node* h = l.b.node("split", {l.op("matmul", {l.in[3], weights})},
                     {{"axis", int64_t{1}}, {"num", int64_t{2}}})
                .value();
  Value* z = l.op("sigmoid", {l.op("add", {x[1], h->output(0)})});
  Value* r = l.op("sigmoid", {l.op("add", {x[0], h->output(1)})});
  Value* candidate = l.b.constant(testing::random_floats({kUnits, kUnits}, 6));
  Value* product = l.op("matmul", {l.op("mul", {r, l.in[3]}), candidate});
  Value* n = l.op("tanh", {l.op("add", {x[2], product})});
  Value* rest = l.op("sub", {l.b.constant(Tensor::scalar(1.0f)), z});
  l.finish(l.op("add", {l.op("mul", {z, l.in[3]}), l.op("mul", {rest, n})}), l.in[4]);
  testing::optimize_and_compare(l.m.graph);
  EXPECT_EQ(count(l.m.graph, "while"), 0);
  EXPECT_EQ(count(l.m.graph, "gru"), 1);
}

// One product with the input and the state side by side, either one first.
TEST(RecogniseRecurrent, LstmOfJoinedOperands) {
  for (const bool state_first : {false, true}) {
    LayerLoop l(4);
    Value* joined = l.op("concat",
                         state_first ? std::vector<Value*>{l.in[3], l.step()}
                                     : std::vector<Value*>{l.step(), l.in[3]},
                         {{"axis", int64_t{1}}});
    Value* weights = l.b.constant(testing::random_floats({kWidth + kUnits, 4 * kUnits}, 5));
    const auto parts = l.split(l.op("add", {l.op("matmul", {joined, weights}), l.in[8]}));
    Value* fresh = l.op("mul", {l.op("sigmoid", {parts[0]}), l.op("tanh", {parts[1]})});
    Value* c = l.op("add", {l.op("mul", {l.in[4], l.op("sigmoid", {parts[2]})}), fresh});
    l.finish(l.op("mul", {l.op("tanh", {c}), l.op("sigmoid", {parts[3]})}), c);
    testing::optimize_and_compare(l.m.graph);
    EXPECT_EQ(count(l.m.graph, "lstm"), 1);
  }
}

TEST(RecogniseRecurrent, NotAnotherCell) {
  LayerLoop l(3);
  build_gru(l, 2);
  testing::optimize_and_compare(l.m.graph);
  EXPECT_EQ(count(l.m.graph, "while"), 1);
}

TEST(RecogniseRecurrent, NotWhenTheLoopEndsEarly) {
  LayerLoop l(4);
  l.initial[1] = l.m.builder.constant(Tensor::scalar(int32_t{kSteps - 1}));
  build_lstm(l);
  PassContext context;
  ASSERT_TRUE(optimize(l.m.graph, context).ok());
  EXPECT_EQ(count(l.m.graph, "while"), 1);
}

TEST(InlineBranch, OfAConstantCondition) {
  for (const bool condition : {true, false}) {
    Maker m;
    Value* x = m.input(f32(Shape{3}));
    std::vector<std::unique_ptr<Graph>> branches;
    for (const char* op : {"exp", "neg"}) {
      branches.push_back(std::make_unique<Graph>(op));
      Value* inner = branches.back()->add_input(x->type());
      branches.back()->set_outputs({Builder(*branches.back()).op(op, {inner}).value()});
    }
    Value* c = m.builder.constant(Tensor::scalar(condition));
    Node* node = m.builder.node("if", {c, x}, {}, std::move(branches)).value();
    m.graph.set_outputs({node->output()});
    testing::optimize_and_compare(m.graph);
    EXPECT_EQ(count(m.graph, condition ? "exp" : "neg"), 1);
    EXPECT_EQ(testing::count_all(m.graph), 1);
  }
}

}  // namespace
}  // namespace tenon
