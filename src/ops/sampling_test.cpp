// Hand-computed values of resize, block moves, quantisation and detection.
#include "ops/depth_space.h"
#include "ops/detection.h"
#include "ops/nn_test_util.h"
#include "ops/quantize.h"
#include "ops/resize.h"

namespace tenon {
namespace {

Tensor sizes(const std::vector<int64_t>& values) {
  return Tensor::vector(values);
}

TEST(Resize, NearestAndLinear) {
  const Tensor x = f32({1, 2, 1}, {0, 4});
  Resize op{.coordinate = ResizeCoordinate::asymmetric, .nearest_rounding = NearestRounding::floor};
  expect_values(run(op, {x, sizes({4})})[0], {1, 4, 1}, {0, 0, 4, 4});
  op = {.mode = ResizeMode::linear};
  expect_values(run(op, {x, sizes({4})})[0], {1, 4, 1}, {0, 1, 3, 4});
  op.coordinate = ResizeCoordinate::align_corners;
  expect_values(run(op, {x, sizes({3})})[0], {1, 3, 1}, {0, 2, 4});
}

TEST(Resize, CubicAreaAntialias) {
  const Tensor x = f32({1, 4, 1}, {1, 2, 3, 4});
  // Half-way between elements the weights for a = -0.75 are -0.09375, 0.59375 twice, -0.09375.
  Resize op{.mode = ResizeMode::cubic};
  expect_values(run(op, {x, sizes({2})})[0], {1, 2, 1},
                {-0.09375 + 0.59375 * 3 - 0.09375 * 3, -0.09375 * 2 + 0.59375 * 7 - 0.09375 * 4});
  op = {.mode = ResizeMode::area};
  expect_values(run(op, {f32({1, 3, 1}, {3, 6, 9}), sizes({2})})[0], {1, 2, 1}, {4, 8});
  // Triangle of reach 2 around 0.5 and 2.5, edges repeated: weights 1, 3, 3, 1 over 8.
  op = {.mode = ResizeMode::linear, .antialias = true};
  expect_values(run(op, {x, sizes({2})})[0], {1, 2, 1}, {1.625, 3.375});
  EXPECT_EQ(inferred(op, {"f32[?n,4,4,3]", "i32[2]"}), "f32[?n,?,?,3]");
  EXPECT_FALSE(evaluate(*make_op(op), std::vector<Tensor>{x, sizes({-1})}).ok());
}

TEST(DepthSpace, ModesAndRoundTrip) {
  const Tensor x = f32({1, 1, 1, 8}, {0, 1, 2, 3, 4, 5, 6, 7});
  const Tensor y = run(DepthToSpace{.block = 2}, {x})[0];
  expect_values(y, {1, 2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7});
  expect_values(run(DepthToSpace{.block = 2, .mode = DepthMode::crd}, {x})[0], {1, 2, 2, 2},
                {0, 4, 1, 5, 2, 6, 3, 7});
  expect_values(run(SpaceToDepth{.block = 2}, {y})[0], {1, 1, 1, 8}, {0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_FALSE(infer_text(SpaceToDepth{.block = 2}, {"f32[1,3,2,1]"}).ok());
}

TEST(Quantize, RoundsToEvenSaturatesAndInverts) {
  const Tensor x = f32({1, 4}, {1, 3, 1000, -1000});
  const Tensor scale = Tensor::scalar(2.0f), zero = Tensor::scalar<uint8_t>(1);
  const Tensor y = run(QuantizeLinear{}, {x, scale, zero})[0];
  EXPECT_EQ(y.dtype(), DType::u8);
  expect_values(y, {1, 4}, {1, 3, 255, 0});
  expect_values(run(DequantizeLinear{}, {y, scale, zero})[0], {1, 4}, {0, 4, 508, -2});
  const Tensor per_axis = f32({2}, {1, 10}), q = make<int8_t>({2, 2}, {1, 2, 3, 4});
  expect_values(run(DequantizeLinear{.axis = 0}, {q, per_axis})[0], {2, 2}, {1, 2, 30, 40});
  EXPECT_FALSE(infer_text(DequantizeLinear{.axis = 1}, {"i8[2,3]", "f32[2]"}).ok());
}

TEST(Quantize, FakeAndDynamic) {
  const Tensor x = f32({4}, {-1, 0.4f, 0.6f, 9});
  expect_values(run(FakeQuant{.min = 0, .max = 3, .bits = 2}, {x})[0], {4}, {0, 0, 1, 3});
  const auto y = run(DynamicQuantizeLinear{}, {f32({3}, {-51, 0, 204})}, 3);
  expect_values(y[0], {3}, {0, 51, 255});
  expect_values(y[1], {}, {1});
  expect_values(y[2], {}, {51});
}

TEST(Detection, SuppressionAndCrops) {
  const std::vector<float> corners{0, 0, 1, 1, 0, 0, 1, 0.9f, 2, 2, 3, 3};
  const Tensor max_output = Tensor::scalar<int32_t>(3), iou = Tensor::scalar(0.5f);
  const Tensor kept =
      run(NmsV{}, {f32({3, 4}, corners), f32({3}, {0.5f, 0.9f, 0.7f}), max_output, iou})[0];
  EXPECT_EQ(kept.to_ints(), (std::vector<int64_t>{1, 2}));
  const Tensor onnx =
      run(NonMaxSuppression{}, {f32({1, 3, 4}, corners), f32({1, 1, 3}, {0.5f, 0.9f, 0.7f}),
                                Tensor::scalar<int64_t>(1), iou})[0];
  EXPECT_EQ(onnx.to_ints(), (std::vector<int64_t>{0, 0, 1}));
  const Tensor image = f32({1, 2, 2, 1}, {0, 1, 2, 3});
  expect_values(run(CropAndResize{.extrapolation_value = -1},
                    {image, f32({2, 4}, {0, 0, 1, 1, 0, 0, 2, 2}), make<int32_t>({2}, {0, 0}),
                     make<int32_t>({2}, {2, 3})})[0],
                {2, 2, 3, 1}, {0, 0.5, 1, 2, 2.5, 3, 0, 1, -1, -1, -1, -1});
}

}  // namespace
}  // namespace tenon
