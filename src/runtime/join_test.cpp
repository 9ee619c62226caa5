// Steps that are computed together against the same steps one by one.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/cpu_features.h"
#include "base/test_random.h"
#include "ops/cast.h"
#include "ops/conv.h"
#include "ops/pool.h"
#include "runtime/test_network.h"

namespace tenon::runtime {
namespace {

// An inverted residual; where what lies between is an output too, its steps stay apart.
Network inverted_residual(bool between_too) {
  Network n;
  const int x = n.value({1, 40, 40, 8}), r = n.value({1, 20, 20, 12});
  n.graph.inputs = {x, r};
  const int expanded = n.conv(x, 1, 8, 256, 1, 1, {1, 40, 40, 256});
  const int middle = n.conv(expanded, 3, 256, 256, 256, 2, {1, 20, 20, 256});
  n.graph.outputs = {n.conv(middle, 1, 256, 12, 1, 1, {1, 20, 20, 12}, r)};
  if (between_too) n.graph.outputs.insert(n.graph.outputs.end(), {expanded, middle});
  return n;
}

TEST(JoinedSteps, GiveWhatTheyGiveApart) {
  for (const int threads : {1, 2}) {
    Network together = inverted_residual(false), apart = inverted_residual(true);
    apart.graph.constants = together.graph.constants;
    const auto one = load(std::move(together.graph), threads);
    const auto many = load(std::move(apart.graph), threads);
    ASSERT_TRUE(one.ok() && many.ok());
    const std::vector<Tensor> inputs{random_tensor({1, 40, 40, 8}), random_tensor({1, 20, 20, 12})};
    const TensorTypes types{inputs[0].type(), inputs[1].type()};
    const auto plan = one->function()->explain(types), parts = many->function()->explain(types);
    ASSERT_TRUE(plan.ok() && parts.ok());
    EXPECT_EQ(plan->steps[0].kernel, "with a later step");
    EXPECT_EQ(plan->steps[2].kernel, "gemm + depthwise + gemm");
    EXPECT_EQ(parts->steps[2].kernel, "gemm");
    EXPECT_EQ(plan->steps[2].flops,
              parts->steps[0].flops + parts->steps[1].flops + parts->steps[2].flops);
    EXPECT_LT(plan->arena_bytes, parts->arena_bytes + int64_t{40} * 40 * 256 * 4);
    const auto got = one->function()->run(inputs, {}), want = many->function()->run(inputs, {});
    ASSERT_TRUE(got.ok() && want.ok());
    for (int64_t i = 0; i < (*want)[0].elements(); ++i)
      ASSERT_NEAR((*got)[0].real_at(i), (*want)[0].real_at(i),
                  1e-4 * std::max(1.0, std::abs((*want)[0].real_at(i))));
  }
}

// Rounds v, which only a cast to bf16 of dims does.
int rounded(Network& n, int v, const std::vector<int64_t>& dims) {
  FileStep s;
  s.op = create_op("cast");
  s.op->as<Cast>()->to = DType::bf16;
  s.inputs = {v};
  s.outputs = {n.value(dims)};
  n.graph.values.back().type.dtype = DType::bf16;
  n.graph.steps.push_back(std::move(s));
  return n.graph.steps.back().outputs[0];
}

// Products of these weights give f32, though they read bf16.
void use_weights(Network& n, const std::vector<Tensor>& weights) {
  for (FileStep& step : n.graph.steps)
    if (auto* conv = step.op->as<Conv>(); conv != nullptr && conv->groups == 1)
      conv->result = DType::f32;
  for (size_t i = 0; i < weights.size(); ++i) {
    auto& constant = n.graph.constants[i];
    constant.tensor = weights[i];
    n.graph.values[static_cast<size_t>(constant.value)].type.dtype = weights[i].dtype();
  }
}

// An inverted residual whose products are of bf16.
Network rounded_residual(const std::vector<Tensor>& weights, bool between_too) {
  Network n;
  const int x = n.value({1, 40, 40, 8}), r = n.value({1, 20, 20, 12});
  n.graph.inputs = {x, r};
  const int expanded = n.conv(rounded(n, x, {1, 40, 40, 8}), 1, 8, 256, 1, 1, {1, 40, 40, 256});
  const int middle = n.conv(expanded, 3, 256, 256, 256, 2, {1, 20, 20, 256});
  const int narrow = rounded(n, middle, {1, 20, 20, 256});
  n.graph.outputs = {n.conv(narrow, 1, 256, 12, 1, 1, {1, 20, 20, 12}, r)};
  if (between_too) n.graph.outputs.insert(n.graph.outputs.end(), {expanded, middle});
  use_weights(n, weights);
  return n;
}

TEST(JoinedSteps, OfBfloat16GiveWhatTheyGiveApart) {
  std::vector<Tensor> weights;
  const Network sample = rounded_residual({}, false);
  for (const auto& c : sample.graph.constants) {
    const bool multiplied = c.tensor.dims().size() == 4 && c.tensor.dims()[0] == 1;
    weights.push_back(multiplied ? Tensor::allocate(DType::bf16, c.tensor.dims()).value()
                                 : c.tensor);
    for (int64_t i = 0; multiplied && i < c.tensor.elements(); ++i)
      weights.back().mutable_data<BFloat16>()[i] = BFloat16(c.tensor.data<float>()[i]);
  }
  const std::vector<Tensor> inputs{random_tensor({1, 40, 40, 8}), random_tensor({1, 20, 20, 12})};
  for (const int threads : {1, 2}) {
    const auto one = load(rounded_residual(weights, false).graph, threads);
    const auto many = load(rounded_residual(weights, true).graph, threads);
    ASSERT_TRUE(one.ok() && many.ok());
    const auto plan = one->function()->explain(TensorTypes{inputs[0].type(), inputs[1].type()});
    ASSERT_TRUE(plan.ok());
    if (cpu_features().avx512_bf16)
      EXPECT_EQ(plan->steps[4].kernel, "gemm_bf16 + depthwise + array_cast + gemm_bf16");
    else
      EXPECT_EQ(plan->steps[3].kernel, "depthwise + array_cast");
    const auto got = one->function()->run(inputs, {}), want = many->function()->run(inputs, {});
    ASSERT_TRUE(got.ok() && want.ok());
    // A sum between two bf16 may go to either.
    for (int64_t i = 0; i < (*want)[0].elements(); ++i)
      ASSERT_NEAR((*got)[0].real_at(i), (*want)[0].real_at(i),
                  2e-2 * std::max(1.0, std::abs((*want)[0].real_at(i))));
  }
}

// |x * scale| or relu(x * scale), fused, and what it gives rounded to bf16.
FileGraph rounded_fusion(const Tensor& scale, std::string_view activation, bool between_too) {
  Network body, n;
  const std::vector<int64_t> dims{3, 70, 33};
  const int x = body.value(dims), by = body.value({33}), product = body.value(dims);
  body.graph.inputs = {x, by};
  body.step("mul", {x, by}, product);
  body.step(activation, {product}, body.value(dims));
  body.graph.outputs = body.graph.steps.back().outputs;
  const int in = n.value(dims), constant = n.constant(scale), wide = n.value(dims);
  const int narrow = n.value(dims);
  n.graph.values[static_cast<size_t>(narrow)].type.dtype = DType::bf16;
  n.graph.inputs = {in};
  n.step("fused", {in, constant}, wide);
  n.graph.steps.back().regions.push_back(std::move(body.graph));
  n.step("cast", {wide}, narrow);
  n.graph.steps.back().op->as<Cast>()->to = DType::bf16;
  n.graph.outputs = {narrow};
  if (between_too) n.graph.outputs.push_back(wide);
  return std::move(n.graph);
}

TEST(JoinedSteps, AFusionRoundsWhatItGives) {
  const Tensor scale = random_tensor({33}), x = random_tensor({3, 70, 33});
  for (const std::string_view activation : {"abs", "relu"})
    for (const int threads : {1, 2}) {
      const auto load_it = [&](bool between_too) -> Result<Model> {
        FileModel file;
        FileFunction f{
            "serving_default", rounded_fusion(scale, activation, between_too), {"x"}, {"y"}};
        if (between_too) f.output_names.emplace_back("wide");
        file.functions.push_back(std::move(f));
        auto owner = std::make_shared<std::vector<std::byte>>(TRY(encode_model(file)));
        return Model::load(Blob{{owner->data(), owner->size()}, owner}, {.threads = threads});
      };
      const auto one = load_it(false), many = load_it(true);
      ASSERT_TRUE(one.ok() && many.ok());
      const auto plan = one->function()->explain(TensorTypes{x.type()});
      ASSERT_TRUE(plan.ok());
      EXPECT_EQ(plan->steps[1].kernel,
                activation == "abs" ? "tiles + array_cast" : "channel_rows + array_cast");
      const std::vector<Tensor> inputs{x};
      const auto got = one->function()->run(inputs, {}), want = many->function()->run(inputs, {});
      ASSERT_TRUE(got.ok() && want.ok());
      for (int64_t i = 0; i < x.elements(); ++i)
        ASSERT_EQ((*got)[0].real_at(i), (*want)[0].real_at(i)) << i;
    }
}

// A residual block whose products are of bf16, and what it adds is, too.
Network rounded_block(const std::vector<Tensor>& weights, bool between_too) {
  const std::vector<int64_t> dims{2, 24, 24, 32};
  Network n;
  const int x = n.value(dims);
  n.graph.inputs = {x};
  const int first = n.conv(rounded(n, x, dims), 1, 32, 32, 1, 1, dims);
  const int narrow = rounded(n, first, dims);
  const int second = n.conv(narrow, 3, 32, 32, 1, 1, dims);
  const int third = n.conv(rounded(n, second, dims), 1, 32, 32, 1, 1, dims, narrow);
  n.graph.outputs = {rounded(n, third, dims)};
  if (between_too) n.graph.outputs.insert(n.graph.outputs.end(), {first, second, third});
  use_weights(n, weights);
  return n;
}

TEST(JoinedSteps, ProductsRoundWhatTheyGive) {
  std::vector<Tensor> weights;
  const Network sample = rounded_block({}, false);
  for (const auto& c : sample.graph.constants) {
    weights.push_back(c.tensor);
    if (c.tensor.rank() == 1) continue;
    weights.back() = Tensor::allocate(DType::bf16, c.tensor.dims()).value();
    for (int64_t i = 0; i < c.tensor.elements(); ++i)
      weights.back().mutable_data<BFloat16>()[i] = BFloat16(c.tensor.data<float>()[i]);
  }
  const std::vector<Tensor> inputs{random_tensor({2, 24, 24, 32})};
  for (const int threads : {1, 2}) {
    const auto one = load(rounded_block(weights, false).graph, threads);
    const auto many = load(rounded_block(weights, true).graph, threads);
    ASSERT_TRUE(one.ok() && many.ok());
    const auto plan = one->function()->explain(TensorTypes{inputs[0].type()});
    ASSERT_TRUE(plan.ok());
    if (cpu_features().avx512_bf16) {
      EXPECT_EQ(plan->steps[2].kernel, "gemm_bf16 + array_cast");
      EXPECT_EQ(plan->steps[1].kernel, "with a later step");
      EXPECT_EQ(plan->steps[6].kernel, "gemm_bf16 + array_cast");
    }
    const auto got = one->function()->run(inputs, {}), want = many->function()->run(inputs, {});
    ASSERT_TRUE(got.ok() && want.ok());
    for (int64_t i = 0; i < (*want)[0].elements(); ++i)
      ASSERT_EQ((*got)[0].real_at(i), (*want)[0].real_at(i)) << i;
  }
}

// Averages of bytes as a model of integers has them: between reals.
FileGraph byte_averages(bool between_too) {
  Network n;
  const auto add_step = [&](std::string_view op, std::vector<int> inputs, DType type) {
    FileStep s;
    s.op = create_op(op);
    s.inputs = std::move(inputs);
    s.outputs = {n.value({2, 9, 9, 24})};
    n.graph.values.back().type.dtype = type;
    n.graph.steps.push_back(std::move(s));
    return n.graph.steps.back().outputs[0];
  };
  const auto number = [&](Tensor t) {
    const int v = n.constant(t);
    n.graph.values[static_cast<size_t>(v)].type.dtype = t.dtype();
    return v;
  };
  const int x = n.value({2, 9, 9, 24});
  n.graph.values.back().type.dtype = DType::u8;
  n.graph.inputs = {x};
  const int real =
      add_step("dequantize_linear",
               {x, number(Tensor::scalar(0.02f)), number(Tensor::scalar(uint8_t{90}))}, DType::f32);
  const int mean = add_step("avg_pool", {real}, DType::f32);
  auto* pool = n.graph.steps.back().op->as<AvgPool>();
  pool->kernel = {3, 3};
  pool->pads = {1, 1, 1, 1};
  n.graph.outputs = {add_step(
      "quantize_linear",
      {mean, number(Tensor::scalar(0.0143f)), number(Tensor::scalar(int8_t{-7}))}, DType::i8)};
  if (between_too) n.graph.outputs.insert(n.graph.outputs.end(), {real, mean});
  return std::move(n.graph);
}

TEST(JoinedSteps, AveragesBetweenBytes) {
  std::vector<uint8_t> bytes(size_t{2} * 9 * 9 * 24);
  std::mt19937 engine(3);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(test_random()());
  const std::vector<int64_t> dims{2, 9, 9, 24};
  const std::vector<Tensor> inputs{Tensor::view(DType::u8, dims, bytes.data())};
  for (const int threads : {1, 2}) {
    const auto load_it = [&](bool between_too) -> Result<Model> {
      FileModel file;
      FileFunction f{"serving_default", byte_averages(between_too), {"x"}, {"y"}};
      if (between_too) f.output_names.insert(f.output_names.end(), {"real", "mean"});
      file.functions.push_back(std::move(f));
      auto owner = std::make_shared<std::vector<std::byte>>(TRY(encode_model(file)));
      return Model::load(Blob{{owner->data(), owner->size()}, owner}, {.threads = threads});
    };
    const auto one = load_it(false), many = load_it(true);
    ASSERT_TRUE(one.ok() && many.ok());
    const auto plan = one->function()->explain(TensorTypes{inputs[0].type()});
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(plan->steps[2].kernel, "linear + window_rows + linear");
    const auto got = one->function()->run(inputs, {}), want = many->function()->run(inputs, {});
    ASSERT_TRUE(got.ok() && want.ok());
    // The mean of reals is rounded, that of bytes is not.
    for (int64_t i = 0; i < (*want)[0].elements(); ++i)
      ASSERT_NEAR((*got)[0].real_at(i),
                  std::clamp((*want)[2].real_at(i) / 0.0143 - 7, -128.0, 127.0), 0.501);
  }
}

Tensor random_bytes(DType type, const std::vector<int64_t>& dims) {
  Tensor t = Tensor::allocate(type, dims).value();
  for (int64_t i = 0; i < t.elements(); ++i)
    static_cast<uint8_t*>(t.mutable_raw())[i] = static_cast<uint8_t>(test_random()());
  return t;
}

// A product of bytes, and its result added to a residual: relu(y * 0.02 + (r - 90) * scales).
FileGraph byte_residual(int64_t channels, const Tensor& weights, const Tensor& scales,
                        bool between_too) {
  const auto typed = [](Network& n, DType type, const std::vector<int64_t>& dims) {
    const int v = n.value(dims);
    n.graph.values[static_cast<size_t>(v)].type.dtype = type;
    return v;
  };
  const auto number = [](Network& n, Tensor t) {
    const int v = n.constant(t);
    n.graph.values[static_cast<size_t>(v)].type.dtype = t.dtype();
    return v;
  };
  const std::vector<int64_t> dims{2, 13, 9, channels};
  Network body, n;
  const int y = typed(body, DType::u8, dims), r = typed(body, DType::u8, dims);
  const int by = body.value(scales.dims());
  body.graph.inputs = {y, r, by};
  const int real =
      body.step("dequantize_linear", {y, number(body, Tensor::scalar(0.02f))}, body.value(dims));
  const int other =
      body.step("dequantize_linear",
                {r, number(body, Tensor::scalar(0.5f)), number(body, Tensor::scalar(uint8_t{90}))},
                body.value(dims));
  const int scaled = body.step("mul", {other, by}, body.value(dims));
  const int sum = body.step("add", {real, scaled}, body.value(dims));
  const int positive = body.step("relu", {sum}, body.value(dims));
  body.graph.outputs = {body.step("quantize_linear",
                                  {positive, number(body, Tensor::scalar(0.03f))},
                                  typed(body, DType::u8, dims))};
  const int x = typed(n, DType::u8, {2, 13, 9, 24}), residual = typed(n, DType::u8, dims);
  n.graph.inputs = {x, residual};
  const int product =
      n.step("quantized_conv",
             {x, number(n, weights), number(n, Tensor::scalar(uint8_t{5})), -1,
              number(n, Tensor::scalar(0.001f)), -1, number(n, Tensor::scalar(0.05f)),
              number(n, Tensor::scalar(uint8_t{120}))},
             typed(n, DType::u8, dims));
  n.graph.outputs = {
      n.step("fused", {product, residual, n.constant(scales)}, typed(n, DType::u8, dims))};
  n.graph.steps.back().regions.push_back(std::move(body.graph));
  if (between_too) n.graph.outputs.push_back(product);
  return std::move(n.graph);
}

TEST(JoinedSteps, ProductsOfBytesAddWhatIsAdded) {
  for (const int64_t channels : {48, 64, 192})
    for (const int64_t scales : {int64_t{1}, channels}) {
      const Tensor weights = random_bytes(DType::i8, {1, 1, 24, channels});
      const Tensor by = random_tensor({scales});
      const std::vector<Tensor> inputs{random_bytes(DType::u8, {2, 13, 9, 24}),
                                       random_bytes(DType::u8, {2, 13, 9, channels})};
      for (const int threads : {1, 2}) {
        const auto one = load(byte_residual(channels, weights, by, false), threads);
        const auto many = load(byte_residual(channels, weights, by, true), threads);
        ASSERT_TRUE(one.ok()) << one.error().message;
        ASSERT_TRUE(many.ok());
        const TensorTypes types{inputs[0].type(), inputs[1].type()};
        const auto plan = one->function()->explain(types), parts = many->function()->explain(types);
        ASSERT_TRUE(plan.ok()) << plan.error().message;
        ASSERT_TRUE(parts.ok());
        EXPECT_EQ(plan->steps[1].kernel, channels == 48 ? "byte_sum" : "int8_gemm + byte_sum");
        EXPECT_EQ(parts->steps[1].kernel, "byte_sum");
        const auto got = one->function()->run(inputs, {}), want = many->function()->run(inputs, {});
        ASSERT_TRUE(got.ok() && want.ok());
        for (int64_t i = 0; i < (*want)[0].elements(); ++i)
          ASSERT_EQ((*got)[0].int_at(i), (*want)[0].int_at(i)) << channels << " " << i;
      }
    }
}

}  // namespace
}  // namespace tenon::runtime
