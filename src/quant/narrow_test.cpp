#include "quant/narrow.h"

#include "ops/cast.h"
#include "passes/test_support.h"

namespace tenon::quant {
namespace {

using testing::count;
using testing::f32;
using testing::Maker;

using Ints = std::vector<int64_t>;

// Narrows to bf16 and expects that the results stay near.
void narrow_and_compare(Graph& graph) {
  const auto before = testing::run(graph);
  const auto report = narrow(graph, LayerPrecision::bf16, {});
  ASSERT_TRUE(report.ok()) << report.error().to_string();
  ASSERT_TRUE(verify(graph).ok());
  const auto after = testing::run(graph);
  for (size_t k = 0; k < before.size(); ++k)
    for (int64_t i = 0; i < before[k].elements(); ++i)
      EXPECT_NEAR(after[k].real_at(i), before[k].real_at(i),
                  0.1 * (1 + std::abs(before[k].real_at(i))));
}

Value* conv(Maker& m, Value* x, int64_t in, int64_t out, uint32_t seed, Value* added = nullptr) {
  std::vector<Value*> operands{x, m.floats({1, 1, in, out}, seed), m.floats({out}, seed + 1)};
  if (added != nullptr) operands.push_back(added);
  return m.op("conv", std::move(operands));
}

std::vector<const Value*> added_values(const Graph& graph) {
  std::vector<const Value*> added;
  for (const auto& node : graph.nodes())
    if (node->inputs().size() > 3 && node->input(3) != nullptr) added.push_back(node->input(3));
  return added;
}

TEST(Narrow, WhatIsAddedToProductsIsRoundedLikeWhatTheyMultiply) {
  Maker m;
  Value* a = conv(m, m.input(f32({2, 3, 3, 4})), 4, 6, 1);
  Value* b = conv(m, conv(m, a, 6, 8, 3), 8, 6, 5, a);
  m.graph.set_outputs({conv(m, b, 6, 2, 7)});
  narrow_and_compare(m.graph);
  const auto added = added_values(m.graph);
  ASSERT_EQ(added.size(), 1u);
  EXPECT_EQ(added[0]->dtype(), DType::bf16);
  EXPECT_EQ(count(m.graph, "cast"), 4);
}

// Two ways that meet: the one is nothing but added to the other.
TEST(Narrow, ASumOfProductsIsRoundedToo) {
  Maker m;
  Value* x = m.input(f32({2, 3, 3, 4}));
  Value* way = conv(m, x, 4, 6, 1);
  m.graph.set_outputs({conv(m, x, 4, 6, 3, way)});
  narrow_and_compare(m.graph);
  ASSERT_EQ(added_values(m.graph).size(), 1u);
  EXPECT_EQ(added_values(m.graph)[0]->dtype(), DType::bf16);
}

TEST(Narrow, WhatOthersReadStaysWide) {
  for (const bool is_output : {false, true}) {
    Maker m;
    Value* a = conv(m, m.input(f32({2, 3, 3, 4})), 4, 6, 1);
    Value* b = conv(m, a, 6, 6, 3, a);
    m.graph.set_outputs({b, is_output ? a : m.op("tanh", {a})});
    narrow_and_compare(m.graph);
    ASSERT_EQ(added_values(m.graph).size(), 1u);
    EXPECT_EQ(added_values(m.graph)[0]->dtype(), DType::f32);
  }
}

// As densely connected layers do it: what is concatenated is concatenated again, normalised and
// multiplied.
TEST(Narrow, ConcatenationsOfProductsAreRounded) {
  Maker m;
  Value* x = m.input(f32({2, 3, 3, 4}));
  Value* a = conv(m, x, 4, 6, 1);
  Value* once = m.op("concat", {a, x}, {{"axis", int64_t{-1}}});
  const auto normal = [&](Value* v, int64_t channels, uint32_t seed) {
    return m.op("relu", {m.op("mul", {v, m.floats({channels}, seed)})});
  };
  Value* b = conv(m, normal(once, 10, 3), 10, 6, 5);
  Value* twice = m.op("concat", {once, b}, {{"axis", int64_t{-1}}});
  m.graph.set_outputs({conv(m, normal(twice, 16, 7), 16, 2, 9)});
  narrow_and_compare(m.graph);
  int concats = 0;
  for (const auto& node : m.graph.nodes())
    if (node->is("concat")) {
      ++concats;
      EXPECT_EQ(node->output()->dtype(), DType::bf16);
    }
  EXPECT_EQ(concats, 2);
  PassContext context;
  const auto before = testing::run(m.graph);
  ASSERT_TRUE(finish(m.graph, context).ok());
  EXPECT_EQ(count(m.graph, "fused"), 2);  // each widens what it reads
  const auto after = testing::run(m.graph);
  for (int64_t i = 0; i < before[0].elements(); ++i)
    EXPECT_EQ(after[0].real_at(i), before[0].real_at(i));
}

TEST(Narrow, ConcatenationsThatOthersReadStayWide) {
  Maker m;
  Value* x = m.input(f32({2, 4, 4, 4}));
  Value* joined =
      m.op("concat", {conv(m, x, 4, 6, 1), conv(m, x, 4, 6, 3)}, {{"axis", int64_t{3}}});
  m.graph.set_outputs({conv(m, joined, 12, 2, 5), m.op("softmax", {joined})});
  narrow_and_compare(m.graph);
  for (const auto& node : m.graph.nodes())
    if (node->is("concat")) {
      EXPECT_EQ(node->output()->dtype(), DType::f32);
    }
}

const Node* find(const Graph& graph, std::string_view op) {
  for (const auto& node : graph.nodes())
    if (node->is(op)) return node.get();
  return nullptr;
}

// The largest of rounded numbers is the rounded largest, and what is pooled may be padded, turned
// and cut.
TEST(Narrow, RoundedNumbersAreMoved) {
  Maker m;
  Value* x = conv(m, m.input(f32({2, 6, 6, 4})), 4, 8, 1);
  Value* y = m.op("max_pool", {x}, {{"kernel", Ints{3, 3}}, {"strides", Ints{1, 1}}});
  y = m.op("pad", {y, m.builder.ints({0, 1, 0, 0, 0, 0, 1, 0})});
  y = m.op("transpose", {y}, {{"perm", Ints{0, 2, 1, 3}}});
  Node* parts = m.builder.node("split", {y}, {{"axis", int64_t{3}}, {"num", int64_t{2}}}).value();
  m.graph.set_outputs({conv(m, parts->output(0), 4, 2, 3), conv(m, x, 8, 2, 5),
                       conv(m, m.op("relu", {parts->output(1)}), 4, 2, 7)});
  narrow_and_compare(m.graph);
  for (const char* op : {"max_pool", "pad", "transpose", "split"}) {
    const Node* node = find(m.graph, op);
    ASSERT_NE(node, nullptr) << op;
    EXPECT_EQ(node->input(0)->dtype(), DType::bf16) << op;
  }
}

// To move numbers rounded gains nothing where nothing multiplies them rounded.
TEST(Narrow, WhatNoProductReadsIsMovedWide) {
  Maker m;
  Value* x = m.input(f32({2, 6, 6, 4}));
  Value* y = m.op("transpose", {m.op("relu", {x})}, {{"perm", Ints{0, 2, 1, 3}}});
  m.graph.set_outputs({m.op("tanh", {y}), conv(m, x, 4, 2, 1)});
  narrow_and_compare(m.graph);
  EXPECT_EQ(find(m.graph, "transpose")->input(0)->dtype(), DType::f32);
}

// The peaks of a map: where it is the largest around.
TEST(Narrow, WhatIsComparedIsRoundedInBothPlacesOrNone) {
  Maker m;
  Value* x = conv(m, m.input(f32({1, 6, 6, 4})), 4, 4, 1);
  Value* y = m.op("max_pool", {x},
                  {{"kernel", Ints{3, 3}}, {"strides", Ints{1, 1}}, {"pads", Ints{1, 1, 1, 1}}});
  Value* apart = m.op("sub", {x, y});
  m.graph.set_outputs({m.op("mul", {apart, x})});
  narrow_and_compare(m.graph);
  EXPECT_EQ(find(m.graph, "max_pool")->input(0)->dtype(), DType::f32);
}

// Maps that are averaged, normalised, or computed with are kept in bf16; what is small, or a sum
// that is normalised and added again, is not.
TEST(Narrow, MapsBetweenProductsAreRounded) {
  struct Reader {
    const char* op;
    bool adds_too;
    int64_t side;
    DType kept;
  };
  for (const auto [op, adds_too, side, kept] :
       {Reader{"mean", false, 64, DType::bf16}, Reader{"mean", false, 4, DType::f32},
        Reader{"layer_norm", false, 64, DType::bf16}, Reader{"layer_norm", true, 64, DType::f32},
        Reader{"tanh", true, 64, DType::bf16}, Reader{"softmax", false, 64, DType::f32}}) {
    Maker m;
    Value* x = conv(m, m.input(f32({1, side, side, 4})), 4, 8, 1);
    Value* y = std::string_view(op) == "mean"
                   ? m.op(op, {x}, {{"axes", Ints{1, 2}}, {"keep_dims", true}})
                   : m.op(op, {x});
    m.graph.set_outputs({conv(m, y, 8, 8, 3, adds_too ? x : nullptr)});
    narrow_and_compare(m.graph);
    const Value* read = find(m.graph, op)->input(0);
    const bool is_wide = read->producer()->is("conv");
    EXPECT_EQ(is_wide ? DType::f32 : DType::bf16, kept) << op << " " << side;
    if (!is_wide) {
      EXPECT_EQ(read->producer()->input(0)->dtype(), DType::bf16) << op;
    }
  }
}

// One product of queries, keys and values, turned and cut, as exporters write it.
TEST(Narrow, AttentionOfPartsMultipliesRounded) {
  Maker m;
  Value* y = m.op("matmul", {m.input(f32({6, 8})), m.floats({8, 24}, 1)});
  y = m.op("reshape", {y, m.builder.ints({1, 6, 3, 2, 4})});
  y = m.op("transpose", {y}, {{"perm", Ints{2, 0, 3, 1, 4}}});
  Node* parts = m.builder.node("split", {y}, {{"axis", int64_t{0}}, {"num", int64_t{3}}}).value();
  std::vector<Value*> qkv;
  qkv.reserve(3);
  for (int i = 0; i < 3; ++i)
    qkv.push_back(m.op("squeeze", {parts->output(i)}, {{"axes", Ints{0}}}));
  y = m.op("attention", qkv, {{"scale", 0.1}});
  y = m.op("transpose", {y}, {{"perm", Ints{0, 2, 1, 3}}});
  y = m.op("reshape", {y, m.builder.ints({6, 8})});
  m.graph.set_outputs({m.op("matmul", {y, m.floats({8, 5}, 4)})});
  narrow_and_compare(m.graph);
  for (const char* op : {"attention", "split"})
    EXPECT_EQ(find(m.graph, op)->input(0)->dtype(), DType::bf16) << op;
  EXPECT_EQ(count(m.graph, "cast"), 2);
}

// Projections, heads side by side, and the product behind them.
TEST(Narrow, AttentionBetweenProductsMultipliesRounded) {
  for (const bool is_read_else : {false, true}) {
    Maker m;
    Value* x = m.input(f32({6, 8}));
    const auto heads = [&](uint32_t seed) {
      Value* y = m.op("matmul", {x, m.floats({8, 8}, seed)});
      return m.op("reshape", {y, m.builder.ints({1, 6, 2, 4})});
    };
    Value* y =
        m.op("attention", {heads(1), heads(2), heads(3)}, {{"length_first", true}, {"scale", 0.1}});
    Value* flat = m.op("reshape", {y, m.builder.ints({6, 8})});
    Value* out = m.op("matmul", {flat, m.floats({8, 5}, 4)});
    m.graph.set_outputs(is_read_else ? std::vector<Value*>{out, m.op("tanh", {y})}
                                     : std::vector<Value*>{out});
    narrow_and_compare(m.graph);
    for (const auto& node : m.graph.nodes())
      if (node->is("attention")) {
        EXPECT_EQ(node->output()->dtype(), is_read_else ? DType::f32 : DType::bf16);
      }
    EXPECT_EQ(count(m.graph, "attention"), 1);
    EXPECT_EQ(count(m.graph, "cast"), is_read_else ? 2 : 4);
  }
}

TEST(Narrow, RoundsBeforeAnotherViewOfIt) {
  Maker m;
  Value* x = m.op("tanh", {m.input(f32({2, 3, 4}))});
  Value* flat = m.op("reshape", {x, m.builder.ints({6, 4})});
  m.graph.set_outputs({m.op("matmul", {flat, m.floats({4, 5}, 1)})});
  narrow_and_compare(m.graph);
  for (const auto& node : m.graph.nodes())
    if (node->is(Cast::name)) {
      EXPECT_TRUE(node->input(0)->producer()->is("tanh"));
    }
}

}  // namespace
}  // namespace tenon::quant
