// Grids, regions and columns of images, worked out by hand; transforms; determinants.
#include "ops/bitcast.h"
#include "ops/col2im.h"
#include "ops/dft.h"
#include "ops/grid_sample.h"
#include "ops/linalg.h"
#include "ops/mel_weights.h"
#include "ops/nn_test_util.h"
#include "ops/roi.h"

namespace tenon {
namespace {

const Tensor kImage = f32({1, 2, 2, 1}, {1, 2, 3, 4});

TEST(GridSample, CornersAndPadding) {
  const Tensor grid = f32({1, 1, 3, 2}, {-1, -1, 1, -1, 0, 0});
  expect_values(run(GridSample{.align_corners = true}, {kImage, grid})[0], {1, 1, 3, 1},
                {1, 2, 2.5});
  // Without aligned corners -1 is the outer edge: a quarter of the corner is inside.
  expect_values(run(GridSample{}, {kImage, grid})[0], {1, 1, 3, 1}, {0.25, 0.5, 2.5});
  expect_values(run(GridSample{.padding = GridPadding::border}, {kImage, grid})[0], {1, 1, 3, 1},
                {1, 2, 2.5});
  const Tensor far = f32({1, 1, 2, 2}, {-3, -1, 1e30f, 1});
  expect_values(run(GridSample{.mode = GridMode::nearest,
                               .padding = GridPadding::reflection,
                               .align_corners = true},
                    {kImage, far})[0],
                {1, 1, 2, 1}, {2, 3});
}

TEST(GridSample, RefusesOtherGrids) {
  EXPECT_FALSE(infer_text(GridSample{}, {"f32[1,4,4,3]", "f32[1,2,2,3]"}).ok());
  EXPECT_FALSE(infer_text(GridSample{}, {"f32[2,4,4,3]", "f32[1,2,2,2]"}).ok());
  EXPECT_EQ(inferred(GridSample{}, {"f32[?,4,4,3]", "f32[?,2,5,2]"}), "f32[?,2,5,3]");
}

TEST(RoiAlign, MeanAndMaximumOfSamples) {
  const Tensor rois = f32({1, 4}, {0, 0, 2, 2});
  const Tensor batch = Tensor::vector<int64_t>({0});
  // One sample in the middle of the image.
  expect_values(run(RoiAlign{.sampling_ratio = 1}, {kImage, rois, batch})[0], {1, 1, 1, 1}, {2.5});
  expect_values(run(RoiAlign{.mode = RoiMode::max, .sampling_ratio = 1}, {kImage, rois, batch})[0],
                {1, 1, 1, 1}, {1});
  expect_values(run(RoiAlign{.output_height = 2, .output_width = 2, .sampling_ratio = 1},
                    {kImage, rois, batch})[0],
                {1, 2, 2, 1}, {1, 2, 3, 4});
  // A region far larger than the image: nearly all of its samples are 0, and cost nothing.
  const Tensor vast = f32({1, 4}, {-1e8f, -1e8f, 1e8f, 1e8f});
  EXPECT_NEAR(run(RoiAlign{}, {kImage, vast, batch})[0].real_at(0), 0, 1e-9);
  const Tensor none = Tensor::vector<int64_t>({1});
  EXPECT_FALSE(evaluate(*make_op(RoiAlign{}), std::vector{kImage, rois, none}).ok());
}

TEST(MaxRoiPool, CellsOfRoundedRegions) {
  const Tensor rois = f32({1, 5}, {0, 0, 0, 1, 1});
  expect_values(run(MaxRoiPool{.output_height = 2}, {kImage, rois})[0], {1, 2, 1, 1}, {2, 4});
  const Tensor absurd = f32({1, 5}, {0, -1e30f, 0, 1e30f, 1});
  EXPECT_TRUE(evaluate(*make_op(MaxRoiPool{}), std::vector{kImage, absurd}).ok());
  const Tensor bad = f32({1, 5}, {NAN, 0, 0, 1, 1});
  EXPECT_FALSE(evaluate(*make_op(MaxRoiPool{}), std::vector{kImage, bad}).ok());
}

TEST(Col2Im, OverlapsAddUp) {
  const Tensor size = Tensor::vector<int64_t>({3}), block = Tensor::vector<int64_t>({2});
  const Tensor x = f32({1, 2, 2}, {1, 2, 10, 20});
  expect_values(run(Col2Im{}, {x, size, block})[0], {1, 1, 3}, {1, 12, 20});
  const Tensor wide = f32({1, 2, 1}, {1, 10});
  expect_values(run(Col2Im{.dilations = {2}}, {wide, size, block})[0], {1, 1, 3}, {1, 0, 10});
  EXPECT_FALSE(evaluate(*make_op(Col2Im{.strides = {2}}), std::vector{x, size, block}).ok());
  EXPECT_EQ(inferred(Col2Im{}, {"f32[2,12,?]", "i64[2]", "i64[2]"}), "f32[2,?,?,?]");
}

TEST(Dft, ForwardInverseAndOneSided) {
  const Tensor x = f32({1, 4, 1}, {1, 2, 3, 4});
  expect_values(run(Dft{}, {x})[0], {1, 4, 2}, {10, 0, -2, 2, -2, 0, -2, -2});
  const Tensor half = run(Dft{.onesided = true}, {x})[0];
  expect_values(half, {1, 3, 2}, {10, 0, -2, 2, -2, 0});
  expect_values(run(Dft{.inverse = true, .onesided = true}, {half})[0], {1, 4, 1}, {1, 2, 3, 4});
  expect_values(run(Dft{.inverse = true}, run(Dft{}, {x}))[0], {1, 4, 2}, {1, 0, 2, 0, 3, 0, 4, 0});
  expect_values(run(Dft{.axis = 1}, {x, Tensor::scalar<int64_t>(2)})[0], {1, 2, 2}, {3, 0, -1, 0});
  EXPECT_FALSE(infer_text(Dft{.axis = 2}, {"f32[1,4,2]"}).ok());
  EXPECT_FALSE(infer_text(Dft{.onesided = true}, {"f32[1,4,2]"}).ok());
  EXPECT_FALSE(evaluate(*make_op(Dft{}), std::vector{x, Tensor::scalar<int64_t>(-1)}).ok());
}

TEST(MelWeights, TrianglesPeakAtOne) {
  const auto scalar = [](int64_t v) { return Tensor::scalar(v); };
  const Tensor y = run(MelWeights{}, {scalar(2), scalar(16), scalar(8192), Tensor::scalar(0.0f),
                                      Tensor::scalar(4096.0f)})[0];
  ASSERT_EQ(y.dims(), (std::vector<int64_t>{9, 2}));
  for (int64_t bin = 0; bin < 2; ++bin) {
    double most = 0;
    for (int64_t f = 0; f < 9; ++f) most = std::max(most, y.real_at(f * 2 + bin));
    EXPECT_EQ(most, 1);
  }
  EXPECT_FALSE(evaluate(*make_op(MelWeights{}), std::vector{scalar(1 << 30), scalar(16),
                                                            scalar(8192), scalar(0), scalar(1)})
                   .ok());
}

TEST(Det, ExchangesRows) {
  const Tensor x = f32({2, 2, 2}, {0, 1, 1, 0, 1, 2, 2, 4});
  expect_values(run(Det{}, {x})[0], {2}, {-1, 0});
  EXPECT_EQ(run(Det{}, {f32({0, 0}, {})})[0].real_at(0), 1);
  EXPECT_FALSE(infer_text(Det{}, {"f32[2,3]"}).ok());
}

TEST(Bitcast, KeepsBytes) {
  EXPECT_EQ(run(Bitcast{DType::i32}, {Tensor::scalar(1.0f)})[0].int_at(0), 0x3F800000);
  const Tensor bytes = run(Bitcast{DType::u8}, {Tensor::vector<int32_t>({0x01020304})})[0];
  expect_values(bytes, {1, 4}, {4, 3, 2, 1});
  EXPECT_EQ(run(Bitcast{DType::i32}, {bytes})[0].int_at(0), 0x01020304);
  EXPECT_FALSE(infer_text(Bitcast{DType::f64}, {"f32[3]"}).ok());
  EXPECT_FALSE(infer_text(Bitcast{DType::boolean}, {"u8[3]"}).ok());
}

}  // namespace
}  // namespace tenon
