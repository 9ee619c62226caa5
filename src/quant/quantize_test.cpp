#include "quant/quantize.h"

#include <algorithm>

#include "passes/test_support.h"
#include "quant/plan.h"
#include "quant/rescale.h"
#include "quant/two_bytes.h"

namespace tenon::quant {
namespace {

using testing::count;
using testing::f32;
using testing::Maker;
using testing::random_tensor;

// The statistics of a prepared graph on random inputs, by the reference.
FunctionStatistics observe(const Graph& graph, int samples = 8) {
  FunctionStatistics statistics;
  const auto named = observed_values(graph);
  const auto copy = graph.clone();
  const auto values = observed_values(*copy);
  std::vector<Value*> outputs;
  outputs.reserve(values.size());
  for (const NamedValue& v : values) outputs.push_back(v.value);
  copy->set_outputs(outputs);
  for (int i = 0; i < samples; ++i) {
    std::vector<Tensor> inputs;
    for (const auto& input : graph.inputs())
      inputs.push_back(random_tensor(input->type(), static_cast<uint32_t>(100 + 10 * i)));
    const auto results = interpret(*copy, inputs);
    EXPECT_TRUE(results.ok()) << (results.ok() ? "" : results.error().to_string());
    for (size_t k = 0; k < values.size(); ++k) statistics.tensors[named[k].name].add((*results)[k]);
  }
  return statistics;
}

double relative_l2(const Tensor& a, const Tensor& b) {
  double error = 0, power = 0;
  for (int64_t i = 0; i < a.elements(); ++i) {
    error += (a.real_at(i) - b.real_at(i)) * (a.real_at(i) - b.real_at(i));
    power += b.real_at(i) * b.real_at(i);
  }
  return std::sqrt(error / power);
}

// Quantises as the compiler does; expects that the results stay near.
QuantizeReport quantize_and_compare(Graph& graph, double tolerance = 0.03) {
  PassContext context;
  EXPECT_TRUE(canonicalize(graph, context).ok());
  const auto before = testing::run(graph);
  EXPECT_TRUE(prepare(graph).ok());
  EXPECT_TRUE(verify(graph).ok());
  const auto prepared = testing::run(graph);
  auto report = quantize(graph, observe(graph), {});
  EXPECT_TRUE(report.ok()) << (report.ok() ? "" : report.error().to_string());
  if (!report.ok()) return {};
  const Status status = optimize(graph, context);
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().to_string());
  EXPECT_TRUE(verify(graph).ok());
  const auto after = testing::run(graph);
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_LT(relative_l2(prepared[i], before[i]), 1e-6);
    EXPECT_LT(relative_l2(after[i], before[i]), tolerance) << "output " << i;
  }
  return *report;
}

using Ints = std::vector<int64_t>;

Value* conv(Maker& m, Value* x, Ints filter, uint32_t seed, std::vector<Builder::Attr> attrs = {}) {
  const int64_t channels = filter.back();
  return m.op("conv", {x, m.floats(std::move(filter), seed), m.floats({channels}, seed + 1)},
              std::move(attrs));
}

Dim batch() {
  return Dim::symbol("n");
}

TEST(Quantize, ConvolutionsPassBytesOn) {
  Maker m;
  Value* x = m.input(f32({batch(), 8, 8, 3}));
  Value* a = m.op("relu", {conv(m, x, {3, 3, 3, 16}, 1)});
  Value* b = m.op("max_pool", {a}, {{"kernel", Ints{2, 2}}, {"strides", Ints{2, 2}}});
  Value* c = conv(m, b, {3, 3, 1, 16}, 3, {{"groups", int64_t{16}}});
  Value* d = m.op("mean", {c}, {{"axes", Ints{1, 2}}});
  Value* y = m.op("matmul", {d, m.floats({16, 10}, 5)});
  m.graph.set_outputs({y});
  // Means of random numbers are small beside what they are made of.
  const auto report = quantize_and_compare(m.graph, 0.1);
  EXPECT_EQ(report.layers.size(), 3u);
  for (const auto& layer : report.layers) EXPECT_TRUE(layer.integer) << layer.reason;
  EXPECT_EQ(count(m.graph, "quantized_conv"), 3);  // one of them the mean
  EXPECT_EQ(count(m.graph, "quantized_matmul"), 1);
  EXPECT_EQ(count(m.graph, "quantize_linear"), 1);  // of the input
  EXPECT_EQ(count(m.graph, "dequantize_linear"), 0);
  EXPECT_EQ(count(m.graph, "mean"), 0);
  for (const auto& node : m.graph.nodes())
    if (node->is("max_pool")) {
      EXPECT_EQ(node->output()->dtype(), DType::u8);
    }
}

TEST(Quantize, ResidualsAndActivationsStayInBytes) {
  Maker m;
  Value* x = m.input(f32({batch(), 6, 6, 8}));
  Value* a = m.op("silu", {conv(m, x, {1, 1, 8, 8}, 1)});
  Value* b = conv(m, a, {3, 3, 8, 8}, 3, {{"pads", Ints{1, 1, 1, 1}}});
  Value* c = m.op("relu", {m.op("add", {a, b})});
  Value* y = conv(m, c, {1, 1, 8, 4}, 5);
  m.graph.set_outputs({y});
  quantize_and_compare(m.graph, 0.04);
  EXPECT_EQ(count(m.graph, "quantized_conv"), 3);
  EXPECT_EQ(count(m.graph, "byte_lookup"), 1);
  EXPECT_EQ(count(m.graph, "fused"), 1);  // the sum, bytes in and out
  for (const auto& node : m.graph.nodes())
    if (node->is("fused")) {
      EXPECT_EQ(node->output()->dtype(), DType::u8);
      for (const Value* v : node->inputs()) EXPECT_EQ(v->dtype(), DType::u8);
    }
}

TEST(Quantize, ConcatenationsShareTheirParameters) {
  Maker m;
  Value* x = m.input(f32({batch(), 6, 6, 4}));
  Value* a = conv(m, x, {1, 1, 4, 8}, 1);
  Value* scaled = m.op("mul", {conv(m, x, {1, 1, 4, 8}, 3), m.scalar(4)});
  Value* joined = m.op("concat", {a, scaled}, {{"axis", int64_t{-1}}});
  Value* padded = m.op("pad", {joined, m.builder.ints({0, 1, 1, 0, 0, 1, 1, 0}), m.scalar(0)},
                       {{"mode", std::string("constant")}});
  Value* moved = m.op("transpose", {padded}, {{"perm", Ints{0, 2, 1, 3}}});
  Value* y = conv(m, moved, {3, 3, 16, 4}, 5);
  m.graph.set_outputs({y});
  quantize_and_compare(m.graph);
  EXPECT_EQ(count(m.graph, "quantized_conv"), 3);
  EXPECT_EQ(count(m.graph, "dequantize_linear"), 0);
  for (const auto& node : m.graph.nodes())
    if (node->is("concat")) {
      EXPECT_EQ(node->output()->dtype(), DType::u8);
    }
}

// As in networks that normalise what they concatenate.
TEST(Quantize, ChainsBetweenBytesAreRoundedOnce) {
  Maker m;
  Value* x = m.input(f32({batch(), 6, 6, 4}));
  Value* joined = m.op("concat", {conv(m, x, {1, 1, 4, 8}, 1), conv(m, x, {1, 1, 4, 8}, 3)},
                       {{"axis", int64_t{-1}}});
  Value* shifted = m.op("add", {m.op("mul", {joined, m.floats({16}, 7)}), m.floats({16}, 8)});
  Value* other = conv(m, joined, {1, 1, 16, 4}, 9);
  m.graph.set_outputs({conv(m, m.op("relu", {shifted}), {1, 1, 16, 4}, 5), other});
  quantize_and_compare(m.graph);
  EXPECT_EQ(count(m.graph, "quantized_conv"), 4);
  ASSERT_EQ(count(m.graph, "fused"), 1);
  for (const auto& node : m.graph.nodes())
    if (node->is("fused")) {
      EXPECT_EQ(count(*node->regions()[0], "quantize_linear"), 1);
      EXPECT_EQ(node->output()->dtype(), DType::u8);
    }
}

TEST(Quantize, TransposedConvolutionsAreProducts) {
  struct Case {
    int64_t kernel;
    Ints pads, output_padding;
    bool is_product;
  };
  const Case cases[] = {
      {2, {}, {}, true}, {3, {0, 0, 1, 1}, {}, true}, {3, {1, 1, 1, 1}, {1, 1}, true},
      {3, {}, {}, true}, {4, {1, 1, 1, 1}, {}, true}, {5, {1, 2, 2, 1}, {}, true},
      {1, {}, {}, false}};
  for (const Case& c : cases) {
    Maker m;
    Value* x = m.input(f32({batch(), 4, 5, 8}));
    Value* a = conv(m, x, {1, 1, 8, 8}, 1);
    Value* b =
        m.op("conv_transpose", {a, m.floats({c.kernel, c.kernel, 6, 8}, 3), m.floats({6}, 4)},
             {{"strides", Ints{2, 2}},
              {"pads", c.pads},
              {"output_padding", c.output_padding},
              {"activation", std::string("relu")}});
    m.graph.set_outputs({conv(m, b, {1, 1, 6, 4}, 5)});
    const auto report = quantize_and_compare(m.graph);
    EXPECT_EQ(report.layers.size(), c.is_product ? 3u : 2u) << c.kernel;
    EXPECT_EQ(count(m.graph, "conv_transpose"), c.is_product ? 0 : 1) << c.kernel;
    for (const auto& node : m.graph.nodes())
      if (node->is("depth_to_space")) {
        EXPECT_EQ(node->output()->dtype(), DType::u8);
      }
  }
}

TEST(Quantize, TablesAreWrittenInTheBytesThatAreLookedUp) {
  for (const bool also_added : {false, true}) {
    Maker m;
    Value* i = m.input({DType::i32, Shape({batch(), Dim(3)})});
    Value* looked_up = m.op("gather", {m.floats({4, 8}, 1), i});
    Value* flat = m.op("reshape", {looked_up, m.builder.ints({-1, 24})});
    Value* y = m.op("matmul", {flat, m.floats({24, 5}, 2)});
    m.graph.set_outputs(also_added ? std::vector<Value*>{y, looked_up} : std::vector<Value*>{y});
    quantize_and_compare(m.graph);
    for (const auto& node : m.graph.nodes())
      if (node->is("gather")) {
        EXPECT_EQ(node->output()->dtype(), also_added ? DType::f32 : DType::u8);
      }
    EXPECT_EQ(count(m.graph, "quantize_linear"), also_added ? 1 : 0);
  }
}

TEST(Quantize, WhatCannotBeIntegersSaysWhy) {
  Maker m;
  Value* x = m.input(f32({4, 6}));
  Value* w = m.input(f32({6, 6}));
  Value* a = m.op("matmul", {x, w});
  Value* y = m.op("softmax", {m.op("matmul", {a, m.floats({6, 3}, 1)})});
  m.graph.set_outputs({y});
  const auto report = quantize_and_compare(m.graph, 0.06);
  ASSERT_EQ(report.layers.size(), 2u);
  EXPECT_EQ(report.layers[0].reason, "the weights are not constant");
  EXPECT_TRUE(report.layers[1].integer);
}

TEST(Quantize, ALayerIsKeptWhereAsked) {
  Maker m;
  Value* x = m.input(f32({2, 6}));
  m.graph.set_outputs({m.op("matmul", {x, m.floats({6, 3}, 1)})});
  ASSERT_TRUE(prepare(m.graph).ok());
  QuantizeOptions options;
  options.keep_float["matmul"] = "as was asked for";
  const auto report = quantize(m.graph, observe(m.graph), options);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->layers[0].reason, "as was asked for");
  EXPECT_EQ(count(m.graph, "quantize_linear"), 0);
}

TEST(Quantize, DenseLayersMayMultiplyTwoBytes) {
  const auto lost = [](bool two_bytes) {
    Maker m;
    Value* x = m.input(f32({batch(), 32}));
    Value* h = m.op("relu", {m.op("matmul", {x, m.floats({32, 48}, 1), m.floats({48}, 2)})});
    m.graph.set_outputs({m.op("matmul", {h, m.floats({48, 10}, 3), m.floats({10}, 4)})});
    PassContext context;
    EXPECT_TRUE(canonicalize(m.graph, context).ok());
    EXPECT_TRUE(prepare(m.graph).ok());
    // Weights are integers already: what is lost is lost by what they are multiplied with.
    QuantizeOptions options;
    for (const NamedValue& v : observed_values(m.graph))
      if (v.value->producer() != nullptr && is_product(*v.value->producer())) {
        Node& node = *v.value->producer();
        const ScaledLayout columns = ScaledLayout::along(*node.input(1)->constant(), 1);
        Builder b(m.graph, &node);
        node.set_input(1, b.constant(rounded_weights(*node.input(1)->constant(), columns)->reals));
        if (two_bytes) options.two_bytes.insert(v.name);
      }
    const auto rounded = testing::run(m.graph);
    const auto report = quantize(m.graph, observe(m.graph), options);
    EXPECT_TRUE(report.ok()) << (report.ok() ? "" : report.error().to_string());
    for (const auto& layer : report->layers) EXPECT_TRUE(layer.integer) << layer.reason;
    EXPECT_TRUE(optimize(m.graph, context).ok());
    EXPECT_TRUE(verify(m.graph).ok());
    EXPECT_EQ(count(m.graph, "quantized_matmul"), two_bytes ? 4 : 2);
    EXPECT_EQ(count(m.graph, "matmul"), 0);
    return relative_l2(testing::run(m.graph)[0], rounded[0]);
  };
  EXPECT_GT(lost(false), 1e-3);
  EXPECT_LT(lost(true), 1e-4);
}

TEST(Quantize, OnlyLayersOfFewRowsMultiplyTwoBytes) {
  Maker m;
  const auto product = [&](Shape shape) {
    return m.op("matmul", {m.input(f32(std::move(shape))), m.floats({16, 8}, 1)})->producer();
  };
  EXPECT_TRUE(is_dense(*product({batch(), 16})));
  EXPECT_TRUE(is_dense(*product({batch(), 28, 16})));
  EXPECT_FALSE(is_dense(*product({batch(), 128, 16})));
  EXPECT_FALSE(is_dense(*product({batch(), Dim::symbol("t"), 16})));
  Value* image = m.input(f32({batch(), 4, 4, 3}));
  EXPECT_FALSE(is_dense(*conv(m, image, {1, 1, 3, 8}, 2)->producer()));
}

// Inputs that bytes hold exactly: all that is lost is what rounding does to the weights.
TEST(Quantize, BiasesMakeUpForTheMeanErrorOfWeights) {
  const auto error_with = [](bool correction) {
    Maker m;
    Value* x = m.input(f32({4, 256}));
    m.graph.set_outputs({m.op("matmul", {x, m.floats({256, 8}, 1)})});
    EXPECT_TRUE(prepare(m.graph).ok());
    FunctionStatistics statistics;
    Tensor ones = Tensor::allocate(DType::f32, std::vector<int64_t>{4, 256}).value();
    for (int64_t i = 0; i < ones.elements(); ++i)
      ones.mutable_data<float>()[i] = i % 3 == 0 ? 0.0f : 1.0f;
    const auto exact = interpret(m.graph, std::span(&ones, 1)).value();
    for (const NamedValue& v : observed_values(m.graph))
      statistics.tensors[v.name].add(v.value->producer() == nullptr ? ones : exact[0]);
    QuantizeOptions options;
    options.method = Method::min_max;
    options.bias_correction = correction;
    EXPECT_TRUE(quantize(m.graph, statistics, options).ok());
    const Tensor y = interpret(m.graph, std::span(&ones, 1)).value()[0];
    double sum = 0;
    for (int64_t column = 0; column < 8; ++column) {
      double mean = 0;
      for (int64_t i = column; i < y.elements(); i += 8) mean += y.real_at(i) - exact[0].real_at(i);
      sum += std::abs(mean);
    }
    return sum;
  };
  EXPECT_LT(error_with(true), error_with(false) * 0.01);
}

TEST(Quantize, ChannelsThatDepthwiseConvolutionsReadFillTheRange) {
  Maker m;
  Value* x = m.input(f32({1, 8, 8, 3}));
  Tensor weights = testing::random_floats({1, 1, 3, 4}, 1);
  for (int64_t i = 0; i < 12; ++i)
    weights.mutable_data<float>()[i] *= static_cast<float>(1 << (3 * (i % 4)));
  Value* a = m.op("conv", {x, m.builder.constant(weights)});
  m.graph.set_outputs({m.op("conv", {a, m.floats({3, 3, 1, 4}, 2)}, {{"groups", int64_t{4}}})});
  const auto before = testing::run(m.graph);
  const auto rescaled =
      rescale_channels(m.graph, observe(m.graph), Rescaling::between_products, 0.5);
  ASSERT_TRUE(rescaled.ok() && rescaled->size() == 1);
  EXPECT_LT(relative_l2(testing::run(m.graph)[0], before[0]), 1e-6);
  const auto after = observe(m.graph);
  const auto [least, most] =
      std::ranges::minmax(after.tensors.at(rescaled->front()).channel_max_abs);
  EXPECT_LE(most, 2 * least) << "some were hundreds of times as large as others";
}

TEST(Quantize, StatisticsOfAnotherModelAreRefused) {
  Maker m;
  Value* x = m.input(f32({2, 6}));
  m.graph.set_outputs({m.op("matmul", {x, m.floats({6, 3}, 1)})});
  const auto report = quantize(m.graph, {}, {});
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, Code::not_found);
}

TEST(Quantize, ATensorThatNeverMovesIsAWarning) {
  Maker m;
  Value* x = m.input(f32({2, 6}));
  Value* zero = m.op("mul", {x, m.scalar(0)});
  m.graph.set_outputs({m.op("matmul", {zero, m.floats({6, 3}, 1)})});
  const auto report = quantize(m.graph, observe(m.graph), {});
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->warnings.size(), 1u);
  EXPECT_NE(report->warnings[0].find("throughout"), std::string::npos);
}

}  // namespace
}  // namespace tenon::quant
