#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ops/quantized_product.h"
#include "passes/byte_functions.h"
#include "passes/passes.h"
#include "passes/test_support.h"

namespace tenon {
namespace {

using testing::count;
using testing::run;

Tensor bytes(std::vector<uint8_t> values) {
  return Tensor::vector(values);
}

// What stands for an activation of (byte - zero) scale in bytes of another scale.
Tensor table_of(ActivationKind kind, ByteScale from, ByteScale to) {
  std::vector<uint8_t> table;
  for (int i = 0; i < 256; ++i) {
    const double y = activate(kind, 1, 0, static_cast<double>(i - from.zero) * from.scale);
    const double q = std::nearbyint(y / to.scale) + static_cast<double>(to.zero);
    table.push_back(static_cast<uint8_t>(std::clamp(q, 0.0, 255.0)));
  }
  return bytes(std::move(table));
}

// dequantize(byte_lookup(quantized_conv(quantize(x)))), or without the convolution.
struct Layer {
  Graph graph;
  Builder builder{graph};

  Layer(const Tensor& table, ByteScale from, ByteScale to, bool with_conv) {
    const auto scalar = [&](double x) {
      return builder.constant(Tensor::scalar(static_cast<float>(x)));
    };
    const auto zero = [&](int64_t z) {
      return builder.constant(Tensor::scalar(static_cast<uint8_t>(z)));
    };
    Value* x = graph.add_input({DType::f32, Shape{1, 6, 7, 16}}, "x");
    const ByteScale first = with_conv ? ByteScale{0.02, 130} : from;
    Value* q = op("quantize_linear", {x, scalar(first.scale), zero(first.zero)});
    if (with_conv) {
      Tensor w = Tensor::zeros(DType::i8, std::vector<int64_t>{3, 3, 16, 8}).value();
      for (int64_t i = 0; i < w.elements(); ++i)
        w.mutable_data<int8_t>()[i] = static_cast<int8_t>(i * 37 % 255 - 127);
      QuantizedConv conv;
      conv.pads = {1, 1, 1, 1};
      q = builder
              .op(conv, {q, builder.constant(w), zero(first.zero),
                         builder.constant(Tensor::scalar(int8_t{0})), scalar(0.00003), nullptr,
                         scalar(from.scale), zero(from.zero)})
              .value();
    }
    q = op("byte_lookup", {q, builder.constant(table)});
    graph.set_outputs({op("dequantize_linear", {q, scalar(to.scale), zero(to.zero)})});
  }
  Value* op(std::string_view name, std::vector<Value*> operands) {
    return builder.op(name, std::move(operands)).value();
  }
  std::vector<Tensor> results() const { return run(graph); }
};

TEST(ForChips, TablesThatAreActivationsAreComputed) {
  using A = ActivationKind;
  const ByteScale from{0.05, 120}, to{0.03, 20};
  for (const A kind : {A::none, A::silu, A::hard_swish, A::tanh, A::gelu_erf, A::elu}) {
    SCOPED_TRACE(kActivationNames[static_cast<size_t>(kind)]);
    Layer layer(table_of(kind, from, to), from, to, false);
    const auto before = layer.results();
    PassContext context;
    ASSERT_TRUE(rewrite_for_chips(layer.graph, context).value());
    EXPECT_EQ(count(layer.graph, "byte_lookup"), 0);
    // Ties may fall to the other side.
    const auto after = layer.results();
    for (int64_t i = 0; i < before[0].elements(); ++i)
      EXPECT_NEAR(after[0].real_at(i), before[0].real_at(i), to.scale * 1.01);
  }
  Layer sigmoid(table_of(A::sigmoid, from, {1.0 / 255, 0}), from, {1.0 / 255, 0}, false);
  PassContext context;
  ASSERT_TRUE(rewrite_for_chips(sigmoid.graph, context).value());
  EXPECT_EQ(count(sigmoid.graph, "sigmoid"), 1);
}

TEST(ForChips, ActivationsOfProductsAreTheirs) {
  const ByteScale from{0.05, 120}, to{0.03, 20};
  Layer layer(table_of(ActivationKind::silu, from, to), from, to, true);
  const auto before = layer.results();
  PassContext context;
  ASSERT_TRUE(rewrite_for_chips(layer.graph, context).value());
  EXPECT_EQ(count(layer.graph, "byte_lookup"), 0);
  EXPECT_EQ(count(layer.graph, "silu"), 0);
  for (const auto& node : layer.graph.nodes())
    if (const auto* conv = node->as<QuantizedConv>()) {
      EXPECT_EQ(conv->activation, ActivationKind::silu);
      EXPECT_EQ(node->input(0)->dtype(), DType::i8);
      EXPECT_EQ(node->output()->dtype(), DType::i8);
    }
  // Without being rounded in between.
  const auto after = layer.results();
  for (int64_t i = 0; i < before[0].elements(); ++i)
    EXPECT_NEAR(after[0].real_at(i), before[0].real_at(i), from.scale / 2 + to.scale * 1.01);
}

TEST(ForChips, OtherTablesStayTables) {
  std::vector<uint8_t> table(256);
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<uint8_t>(i * 97 % 251);
  const ByteScale from{0.05, 120}, to{0.03, 20};
  Layer layer(bytes(table), from, to, false);
  const auto before = layer.results();
  PassContext context;
  ASSERT_TRUE(rewrite_for_chips(layer.graph, context).value());  // to signed bytes
  EXPECT_EQ(count(layer.graph, "byte_lookup"), 1);
  const auto after = layer.results();
  for (int64_t i = 0; i < before[0].elements(); ++i)
    EXPECT_EQ(after[0].real_at(i), before[0].real_at(i));
}

}  // namespace
}  // namespace tenon
