// Hand-computed values of matmul, pooling, normalisation and transposed convolution.
#include "ops/conv.h"
#include "ops/conv_transpose.h"
#include "ops/matmul.h"
#include "ops/nn_test_util.h"
#include "ops/norm.h"
#include "ops/pool.h"

namespace tenon {
namespace {

TEST(Matmul, TransposesScalesAndFuses) {
  const Tensor a = f32({2, 2}, {1, 2, 3, 4}), b = f32({2, 2}, {5, 6, 7, 8});
  expect_values(run(Matmul{}, {a, b})[0], {2, 2}, {19, 22, 43, 50});
  expect_values(run(Matmul{.transpose_a = true}, {a, b})[0], {2, 2}, {26, 30, 38, 44});
  expect_values(run(Matmul{.transpose_b = true}, {a, b})[0], {2, 2}, {17, 23, 39, 53});
  const Tensor bias = f32({2}, {-30, 1}), residual = f32({2, 2}, {0, 0, 0, 10});
  expect_values(
      run(Matmul{.alpha = 0.5, .activation = ActivationKind::relu}, {a, b, bias, residual})[0],
      {2, 2}, {0, 12, 0, 36});
}

TEST(Matmul, BroadcastsBatchesAndWidensBytes) {
  const Tensor a = f32({2, 1, 1, 2}, {1, 2, 3, 4}), b = f32({2, 2, 1}, {1, 1, 2, 0});
  expect_values(run(Matmul{}, {a, b})[0], {2, 2, 1, 1}, {3, 2, 7, 6});
  const Tensor u = make<uint8_t>({1, 2}, {255, 255}), i = make<int8_t>({2, 1}, {-128, -128});
  const Tensor y = run(Matmul{}, {u, i})[0];
  EXPECT_EQ(y.dtype(), DType::i32);
  EXPECT_EQ(y.int_at(0), -65280);
}

TEST(Matmul, InfersSymbolsAndRefusesMismatch) {
  EXPECT_EQ(inferred(Matmul{}, {"f32[?b,4,8]", "f32[8,3]"}), "f32[?b,4,3]");
  EXPECT_EQ(inferred(Matmul{}, {"f32[*]", "f32[8,3]"}), "f32[*]");
  EXPECT_NE(inferred(Matmul{}, {"f32[4,8]", "f32[7,3]"}).find("8 and 7"), std::string::npos);
  EXPECT_FALSE(infer_text(Matmul{}, {"f32[8]", "f32[8,3]"}).ok());
  EXPECT_FALSE(infer_text(Matmul{}, {"f32[4,8]", "f32[8,3]", "f32[4]"}).ok());
}

TEST(Pool, MaxAndAverageWithPads) {
  const Tensor x = f32({1, 3, 3, 1}, {1, 2, 3, 4, 5, 6, 7, 8, -9});
  expect_values(run(MaxPool{.kernel = {2, 2}}, {x})[0], {1, 2, 2, 1}, {5, 6, 8, 8});
  const AvgPool same{.kernel = {2, 2}, .strides = {2, 2}, .pads = {0, 0, 1, 1}};
  expect_values(run(same, {x})[0], {1, 2, 2, 1}, {3, 4.5, 7.5, -9});
  AvgPool counted = same;
  counted.count_include_pad = true;
  expect_values(run(counted, {x})[0], {1, 2, 2, 1}, {3, 2.25, 3.75, -2.25});
}

TEST(Pool, AutoPadFollowsTheSizeOfTheInput) {
  const MaxPool automatic{.kernel = {3}, .strides = {2}, .auto_pad = AutoPad::same_upper};
  // Two pads for five elements, one, at the end, for six.
  expect_values(run(automatic, {f32({1, 5, 1}, {9, 1, 2, 3, 8})})[0], {1, 3, 1}, {9, 3, 8});
  expect_values(run(automatic, {f32({1, 6, 1}, {1, 2, 3, 4, 9, 5})})[0], {1, 3, 1}, {3, 9, 9});
  EXPECT_EQ(inferred(automatic, {"f32[?n,?w,4]"}), "f32[?n,?,4]");
  EXPECT_EQ(inferred(automatic, {"f32[?n,7,4]"}), "f32[?n,4,4]");
  EXPECT_FALSE(infer_text(MaxPool{.kernel = {3}, .pads = {1, 1}, .auto_pad = AutoPad::same_lower},
                          {"f32[1,5,1]"})
                   .ok());
}

TEST(Conv, AutoPadFollowsTheSizeOfTheInput) {
  const Conv automatic{.strides = {2}, .auto_pad = AutoPad::same_upper};
  const Tensor w = f32({3, 1, 1}, {1, 10, 100});
  expect_values(run(automatic, {f32({1, 3, 1}, {1, 2, 3}), w})[0], {1, 2, 1}, {210, 32});
  expect_values(run(automatic, {f32({1, 4, 1}, {1, 2, 3, 4}), w})[0], {1, 2, 1}, {321, 43});
  EXPECT_EQ(inferred(automatic, {"f32[?n,?w,1]", "f32[3,1,8]"}), "f32[?n,?,8]");
}

TEST(Pool, CeilModeHangsOver) {
  const Tensor x = f32({1, 5, 1}, {1, 2, 3, 4, 5});
  const AvgPool op{.kernel = {2}, .strides = {2}, .ceil_mode = true, .count_include_pad = true};
  expect_values(run(op, {x})[0], {1, 3, 1}, {1.5, 3.5, 5});
  // A third window would start in the end pad.
  EXPECT_EQ(inferred(MaxPool{.kernel = {1}, .strides = {3}, .pads = {0, 1}, .ceil_mode = true},
                     {"f32[1,3,1]"}),
            "f32[1,1,1]");
  EXPECT_FALSE(infer_text(MaxPool{.kernel = {4}}, {"f32[1,3,1]"}).ok());
  EXPECT_EQ(inferred(MaxPool{.kernel = {2, 2}}, {"f32[*]"}), "f32[?,?,?,?]");
}

TEST(Norm, BatchLayerRms) {
  const Tensor x = f32({2, 2}, {1, 2, 3, 4});
  expect_values(run(BatchNorm{.epsilon = 0},
                    {x, f32({2}, {2, 1}), f32({2}, {0, 1}), f32({2}, {1, 2}), f32({2}, {4, 1})})[0],
                {2, 2}, {0, 1, 2, 3});
  expect_values(run(LayerNorm{.epsilon = 0}, {x, f32({2}, {1, 2}), f32({2}, {0, 1})})[0], {2, 2},
                {-1, 3, -1, 3});
  expect_values(run(LayerNorm{.epsilon = 0}, {x, Tensor(), f32({2}, {0, 1})})[0], {2, 2},
                {-1, 2, -1, 2});
  expect_values(run(RmsNorm{.axis = 0, .epsilon = 0}, {f32({2}, {1, 7})})[0], {2}, {0.2, 1.4});
  EXPECT_FALSE(infer_text(BatchNorm{}, {"f32[1,3]", "f32[2]", "f32[3]", "f32[3]", "f32[3]"}).ok());
}

TEST(Norm, InstanceGroupLrn) {
  const Tensor x = f32({1, 2, 2}, {1, 10, 3, 30});
  const Tensor ones = f32({2}, {1, 1}), zeros = f32({2}, {0, 5});
  expect_values(run(InstanceNorm{.epsilon = 0}, {x, ones, zeros})[0], {1, 2, 2}, {-1, 4, 1, 6});
  const Tensor z = f32({1, 1, 2}, {1, 3});
  expect_values(run(GroupNorm{.groups = 1, .epsilon = 0}, {z, ones, zeros})[0], {1, 1, 2}, {-1, 6});
  expect_values(run(Lrn{.size = 3, .alpha = 3, .beta = 1, .bias = 1}, {f32({1, 3}, {1, 2, 3})})[0],
                {1, 3}, {1.0 / 6, 2.0 / 15, 3.0 / 14});
  EXPECT_FALSE(infer_text(GroupNorm{.groups = 2}, {"f32[1,4,3]", "f32[3]", "f32[3]"}).ok());
}

TEST(ConvTranspose, StridesPadsGroups) {
  const Tensor x = f32({1, 2, 1}, {1, 2}), w = f32({3, 1, 1}, {1, 10, 100});
  expect_values(run(ConvTranspose{.strides = {2}}, {x, w})[0], {1, 5, 1}, {1, 10, 102, 20, 200});
  expect_values(run(ConvTranspose{.strides = {2}, .pads = {1, 1}, .output_padding = {1}},
                    {x, w, f32({1}, {1})})[0],
                {1, 4, 1}, {11, 103, 21, 201});
  // Two groups of one channel; filter [1, M/groups = 1, C = 2].
  expect_values(
      run(ConvTranspose{.groups = 2}, {f32({1, 1, 2}, {3, 4}), f32({1, 1, 2}, {2, 5})})[0],
      {1, 1, 2}, {6, 20});
}

}  // namespace
}  // namespace tenon
