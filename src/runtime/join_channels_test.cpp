// Rows of channels that are put together, scaled and multiplied at once, against one step by one.
#include <gtest/gtest.h>

#include "ops/concat.h"
#include "runtime/test_network.h"

namespace tenon::runtime {
namespace {

// A layer of a dense block: relu(concat(x, r) * scale + shift), fused, and a 1x1 convolution of it.
Network dense_layer(int64_t size, int64_t in, int64_t more, bool adds, bool between_too) {
  const int64_t channels = in + more;
  const std::vector<int64_t> dims{1, size, size, channels}, out{1, size, size, 20};
  Network body, n;
  const int whole = body.value(dims), scale = body.value({1, 1, 1, channels});
  const int shift = body.value({channels}), product = body.value(dims), sum = body.value(dims);
  body.graph.inputs = {whole, shift, scale};
  body.step("mul", {scale, whole}, product);
  body.step("add", {product, shift}, sum);
  body.step("relu", {sum}, body.value(dims));
  body.graph.outputs = body.graph.steps.back().outputs;
  const int x = n.value({1, size, size, in}), r = n.value({1, size, size, more});
  n.graph.inputs = {x, r};
  const int joined = n.step("concat", {x, r}, n.value(dims));
  n.graph.steps.back().op->as<Concat>()->axis = 3;
  const int shifts = n.constant(random_tensor({channels}));
  const int scales = n.constant(random_tensor({1, 1, 1, channels}));
  const int rows = n.step("fused", {joined, shifts, scales}, n.value(dims));
  n.graph.steps.back().regions.push_back(std::move(body.graph));
  const int residual = adds ? n.conv(x, 1, in, 20, 1, 1, out) : -1;
  n.graph.outputs = {n.conv(rows, 1, channels, 20, 1, 1, out, residual)};
  if (between_too) n.graph.outputs.insert(n.graph.outputs.end(), {joined, rows});
  return n;
}

TEST(JoinedSteps, LayersOfDenseBlocksGiveWhatTheyGiveApart) {
  for (const int threads : {1, 2, 3})
    for (const bool adds : {false, true})
      for (const int64_t size : {1, 7, 30}) {
        Network together = dense_layer(size, 24, 9, adds, false);
        Network apart = dense_layer(size, 24, 9, adds, true);
        apart.graph.constants = together.graph.constants;
        const auto one = load(std::move(together.graph), threads);
        const auto many = load(std::move(apart.graph), threads);
        ASSERT_TRUE(one.ok() && many.ok());
        const std::vector<Tensor> inputs{random_tensor({1, size, size, 24}),
                                         random_tensor({1, size, size, 9})};
        const TensorTypes types{inputs[0].type(), inputs[1].type()};
        const auto plan = one->function()->explain(types), parts = many->function()->explain(types);
        ASSERT_TRUE(plan.ok() && parts.ok());
        EXPECT_EQ(plan->steps.back().kernel, "move_rows + channel_rows + gemm");
        EXPECT_EQ(parts->steps.back().kernel, "gemm");
        const auto got = one->function()->run(inputs, {}), want = many->function()->run(inputs, {});
        ASSERT_TRUE(got.ok() && want.ok());
        for (int64_t i = 0; i < (*want)[0].elements(); ++i)
          ASSERT_NEAR((*got)[0].real_at(i), (*want)[0].real_at(i), 1e-4) << size << " " << i;
      }
}

TEST(JoinedSteps, ChannelsAreScaledWhereTheyAreMultiplied) {
  const auto network = [](bool between_too) {
    Network n;
    const int x = n.value({1, 19, 19, 40}), scale = n.value({1, 1, 1, 40});
    n.graph.inputs = {x, scale};
    const int scaled = n.step("mul", {x, scale}, n.value({1, 19, 19, 40}));
    n.graph.outputs = {n.conv(scaled, 1, 40, 24, 1, 1, {1, 19, 19, 24})};
    if (between_too) n.graph.outputs.push_back(scaled);
    return n;
  };
  for (const int threads : {1, 2}) {
    Network together = network(false), apart = network(true);
    apart.graph.constants = together.graph.constants;
    const auto one = load(std::move(together.graph), threads);
    const auto many = load(std::move(apart.graph), threads);
    ASSERT_TRUE(one.ok() && many.ok());
    const std::vector<Tensor> inputs{random_tensor({1, 19, 19, 40}), random_tensor({1, 1, 1, 40})};
    const auto plan = one->function()->explain(TensorTypes{inputs[0].type(), inputs[1].type()});
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(plan->steps[1].kernel, "array_binary + gemm");
    const auto got = one->function()->run(inputs, {}), want = many->function()->run(inputs, {});
    ASSERT_TRUE(got.ok() && want.ok());
    for (int64_t i = 0; i < (*want)[0].elements(); ++i)
      ASSERT_NEAR((*got)[0].real_at(i), (*want)[0].real_at(i), 1e-4) << i;
  }
}

}  // namespace
}  // namespace tenon::runtime
