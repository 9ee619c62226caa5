// Channels that are put together, scaled and multiplied at once, against one step by one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "ops/concat.h"
#include "runtime/test_network.h"

namespace tenon::runtime {
namespace {

// A layer of a dense block: relu(concat(x, r) * scale + shift), fused, and a 1x1 convolution of it.
Network dense_layer(int64_t size, int64_t in, int64_t more, bool adds, bool between_too,
                    int64_t last = 20) {
  const int64_t channels = in + more;
  const std::vector<int64_t> dims{1, size, size, channels}, out{1, size, size, last};
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
  const int residual = adds ? n.conv(x, 1, in, last, 1, 1, out) : -1;
  n.graph.outputs = {n.conv(rows, 1, channels, last, 1, 1, out, residual)};
  if (between_too) n.graph.outputs.insert(n.graph.outputs.end(), {joined, rows});
  return n;
}

// Both networks have the same constants; `apart` also hands out what is between its steps, so that
// they stay apart. What each calls its last kernel; fails where their first results differ.
std::pair<std::string, std::string> expect_same(Network together, Network apart, int threads,
                                                const std::vector<Tensor>& inputs,
                                                double tolerance) {
  apart.graph.constants = together.graph.constants;
  const auto one = load(std::move(together.graph), threads);
  const auto many = load(std::move(apart.graph), threads);
  EXPECT_TRUE(one.ok() && many.ok());
  if (!one.ok() || !many.ok()) return {};
  TensorTypes types;
  for (const Tensor& t : inputs) types.push_back(t.type());
  const auto plan = one->function()->explain(types), parts = many->function()->explain(types);
  const auto got = one->function()->run(inputs, {}), want = many->function()->run(inputs, {});
  EXPECT_TRUE(plan.ok() && parts.ok() && got.ok() && want.ok());
  if (!plan.ok() || !parts.ok() || !got.ok() || !want.ok()) return {};
  double most = 0;
  for (int64_t i = 0; i < (*want)[0].elements(); ++i)
    most = std::max(most, std::abs((*got)[0].real_at(i) - (*want)[0].real_at(i)));
  EXPECT_LE(most, tolerance);
  return {plan->steps.back().kernel, parts->steps.back().kernel};
}

TEST(JoinedSteps, LayersOfDenseBlocksGiveWhatTheyGiveApart) {
  for (const int threads : {1, 2, 3})
    for (const bool adds : {false, true})
      for (const int64_t size : {1, 7, 30}) {
        const auto [together, apart] = expect_same(
            dense_layer(size, 24, 9, adds, false), dense_layer(size, 24, 9, adds, true), threads,
            {random_tensor({1, size, size, 24}), random_tensor({1, size, size, 9})}, 1e-4);
        EXPECT_EQ(together, "move_rows + channel_rows + gemm");
        EXPECT_EQ(apart, "gemm");
      }
}

// Alone it may be multiplied by Strassen's algorithm, with the rows in front of it it is not.
TEST(JoinedSteps, AreCalledWhatTheyDo) {
  const auto [together, apart] = expect_same(
      dense_layer(16, 400, 112, false, false, 512), dense_layer(16, 400, 112, false, true, 512), 1,
      {random_tensor({1, 16, 16, 400}), random_tensor({1, 16, 16, 112})}, 1e-3);
  EXPECT_EQ(together, "move_rows + channel_rows + gemm");
  EXPECT_TRUE(apart.starts_with("gemm")) << apart;
}

// Scales of each image, a 1x1 convolution of what they give, added to it or not.
Network scaled_product(int64_t batch, int64_t size, bool adds, bool between_too) {
  Network n;
  const std::vector<int64_t> dims{batch, size, size, 40}, out{batch, size, size, 24};
  const int x = n.value(dims), scale = n.value({batch, 1, 1, 40});
  n.graph.inputs = {x, scale};
  const int scaled = n.step("mul", {x, scale}, n.value(dims));
  const int residual = adds ? n.conv(x, 1, 40, 24, 1, 1, out) : -1;
  n.graph.outputs = {n.conv(scaled, 1, 40, 24, 1, 1, out, residual)};
  if (between_too) n.graph.outputs.push_back(scaled);
  return n;
}

// By scaled weights where they are fewer than the pixels (19 x 19), else by scaled pixels (4 x 4),
// whose scales are of one image.
TEST(JoinedSteps, ChannelsAreScaledWhereTheyAreMultiplied) {
  for (const int threads : {1, 2})
    for (const int64_t batch : {1, 3})
      for (const int64_t size : {4, 19})
        for (const bool adds : {false, true}) {
          const auto [together, apart] = expect_same(
              scaled_product(batch, size, adds, false), scaled_product(batch, size, adds, true),
              threads, {random_tensor({batch, size, size, 40}), random_tensor({batch, 1, 1, 40})},
              1e-4);
          EXPECT_EQ(together, batch == 1 || size > 4 ? "array_binary + gemm" : "gemm");
        }
}

// A 3x3 convolution of channels that are put together from three inputs, the second of them twice.
Network conv_of_parts(int64_t batch, int64_t size, bool adds, bool between_too) {
  Network n;
  const std::vector<int64_t> out{batch, size, size, 48};
  const int x = n.value({batch, size, size, 27}), r = n.value({batch, size, size, 18});
  n.graph.inputs = {x, r};
  const int joined = n.step("concat", {x, r, r}, n.value({batch, size, size, 63}));
  n.graph.steps.back().op->as<Concat>()->axis = -1;
  const int residual = adds ? n.conv(x, 1, 27, 48, 1, 1, out) : -1;
  n.graph.outputs = {n.conv(joined, 3, 63, 48, 1, 1, out, residual)};
  if (between_too) n.graph.outputs.push_back(joined);
  return n;
}

TEST(JoinedSteps, ConvolutionsReadPartsWhereTheyLie) {
  constexpr int64_t kSize = 48;
  for (const int threads : {1, 2})
    for (const int64_t batch : {1, 2})
      for (const bool adds : {false, true}) {
        const auto [together, apart] = expect_same(
            conv_of_parts(batch, kSize, adds, false), conv_of_parts(batch, kSize, adds, true),
            threads,
            {random_tensor({batch, kSize, kSize, 27}), random_tensor({batch, kSize, kSize, 18})},
            0);
        if (batch == 1) {
          EXPECT_EQ(together, "move_rows + winograd_f6");
        }
        EXPECT_EQ(apart, "winograd_f6");
      }
}

// Two 3x3 convolutions of channels that are put together, and what they began with added or not.
Network two_convs(int64_t batch, int64_t size, bool adds, bool between_too) {
  Network n;
  const std::vector<int64_t> dims{batch, size, size, 32}, both{batch, size, size, 64};
  const int x = n.value(dims), r = n.value(dims);
  n.graph.inputs = {x, r};
  const int joined = n.step("concat", {x, r}, n.value(both));
  n.graph.steps.back().op->as<Concat>()->axis = -1;
  const int one = n.conv(joined, 3, 64, 48, 1, 1, {batch, size, size, 48});
  n.graph.outputs = {n.conv(one, 3, 48, 32, 1, 1, dims, adds ? x : -1)};
  if (between_too) n.graph.outputs.push_back(one);
  return n;
}

TEST(JoinedSteps, ConvolutionsOfLargeMapsGoByStrips) {
  constexpr int64_t kSize = 50;
  for (const int threads : {1, 2, 3})
    for (const int64_t batch : {1, 2})
      for (const bool adds : {false, true}) {
        const auto [together, apart] = expect_same(
            two_convs(batch, kSize, adds, false), two_convs(batch, kSize, adds, true), threads,
            {random_tensor({batch, kSize, kSize, 32}), random_tensor({batch, kSize, kSize, 32})},
            0.1);  // of results of some hundreds: tiles begin at other rows
        EXPECT_TRUE(together.ends_with("winograd_f6 + winograd_f6")) << together;
        EXPECT_EQ(apart, "winograd_f6");
      }
}

}  // namespace
}  // namespace tenon::runtime
