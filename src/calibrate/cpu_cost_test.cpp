#include "cost/cpu_cost.h"

#include <gtest/gtest.h>

#include <cmath>

#include "device/cpu/kernels/winograd.h"
#include "ops/conv.h"

namespace tenon::cost {
namespace {

struct Layer {
  int64_t height, width, kernel_height, kernel_width, in, out, stride, pad_height, pad_width;
};

StepFeatures features(const Layer& l, DType dtype) {
  Graph graph;
  const auto shape = [](std::initializer_list<int64_t> sizes) {
    return Shape(std::vector<Dim>(sizes.begin(), sizes.end()));
  };
  Value* x = graph.add_input(TensorType{dtype, shape({1, l.height, l.width, l.in})}, "x");
  Value* w = graph.add_input(
      TensorType{dtype, shape({l.kernel_height, l.kernel_width, l.in, l.out})}, "w");
  Conv conv;
  conv.strides = {l.stride, l.stride};
  conv.pads = {l.pad_height, l.pad_width, l.pad_height, l.pad_width};
  if (dtype == DType::bf16) conv.result = DType::f32;
  Builder builder(graph);
  const auto y = builder.op(conv, {x, w});
  EXPECT_TRUE(y.ok());
  return features_of(*(*y)->producer(), 0);
}

cpu::ConvParams params_of(const Layer& l, bool pairs) {
  cpu::ConvParams p;
  p.in[1] = l.height;
  p.in[2] = l.width;
  p.kernel[1] = l.kernel_height;
  p.kernel[2] = l.kernel_width;
  p.stride[1] = p.stride[2] = l.stride;
  p.pad_begin[1] = l.pad_height;
  p.pad_begin[2] = l.pad_width;
  p.out[1] = (l.height + 2 * l.pad_height - l.kernel_height) / l.stride + 1;
  p.out[2] = (l.width + 2 * l.pad_width - l.kernel_width) / l.stride + 1;
  p.in_channels = pairs ? l.in / 2 : l.in;
  p.out_channels = l.out;
  return p;
}

bool kernels_take_it(const Layer& l, bool pairs) {
  const cpu::ConvParams p = params_of(l, pairs);
  return (pairs ? cpu::winograd_pairs_refusal(p) : cpu::winograd_refusal(p)) == nullptr;
}

// By tiles of six outputs there are more values of each filter, and they are 64.
bool is_of_large_tiles(const Layer& l) {
  const StepFeatures f = features(l, DType::f32);
  return f.kind == "f32.winograd" && f.values[6] == 64. * static_cast<double>(l.in) *
                                                        std::ceil(static_cast<double>(l.out) / 16) *
                                                        16;
}

TEST(CpuCost, WinogradIsTakenWhereKernelsTakeIt) {
  int taken = 0, refused = 0, of_six = 0;
  for (const auto& [rows, columns] :
       {std::pair{3, 3}, {5, 5}, {7, 7}, {4, 4}, {1, 3}, {3, 1}, {1, 7}, {2, 2}, {1, 1}})
    for (const int64_t size : {4, 7, 14, 28, 56, 60})
      for (const int64_t in : {16, 24, 32, 48, 64, 256})
        for (const int64_t out : {8, 16, 40, 64, 256})
          for (const int64_t stride : {1, 2}) {
            const Layer l{size, size, rows, columns, in, out, stride, rows / 2, columns / 2};
            for (const bool pairs : {false, true}) {
              const bool takes = kernels_take_it(l, pairs);
              EXPECT_EQ(features(l, pairs ? DType::bf16 : DType::f32).kind.ends_with(".winograd"),
                        takes)
                  << rows << "x" << columns << " of " << size << ", " << in << " to " << out
                  << ", stride " << stride << (pairs ? ", pairs" : "");
              if (takes && !pairs) {
                const bool large = cpu::winograd_f6_refusal(params_of(l, false)) == nullptr;
                EXPECT_EQ(is_of_large_tiles(l), large)
                    << rows << "x" << columns << " of " << size << ", " << in << " to " << out;
                of_six += large ? 1 : 0;
              }
              ++(takes ? taken : refused);
            }
          }
  EXPECT_GT(taken, 300);
  EXPECT_GT(refused, 300);
  EXPECT_GT(of_six, 3);
}

TEST(CpuCost, TapsInPaddingAreNotMultiplied) {
  // Rows and columns of taps: 6, 7 and 6 of 7 pixels.
  const StepFeatures padded = features({7, 7, 3, 3, 512, 512, 1, 1, 1}, DType::f32);
  EXPECT_EQ(padded.kind, "f32.spatial");
  EXPECT_DOUBLE_EQ(padded.values[1], 19. * 19 * 512 * 512);
  const StepFeatures valid = features({9, 9, 3, 3, 512, 512, 2, 0, 0}, DType::f32);
  EXPECT_DOUBLE_EQ(valid.values[1], 4. * 4 * 9 * 512 * 512);
}

// A factor for each channel goes into the weights of a convolution of one tap, or into its rows
// where those are fewer.
TEST(CpuCost, FactorsOfChannelsCostTheirWeights) {
  const auto features_of_factor = [](int64_t size, int64_t in, int64_t out) {
    Graph graph;
    const auto tensor = [&](std::initializer_list<int64_t> sizes, const char* name) {
      return graph.add_input(
          TensorType{DType::f32, Shape(std::vector<Dim>(sizes.begin(), sizes.end()))}, name);
    };
    Builder builder(graph);
    const auto scaled =
        builder.op("mul", {tensor({1, size, size, in}, "x"), tensor({1, 1, 1, in}, "scale")});
    EXPECT_TRUE(scaled.ok());
    EXPECT_TRUE(builder.op(Conv(), {*scaled, tensor({1, 1, in, out}, "w")}).ok());
    return features_of(*(*scaled)->producer(), 0);
  };
  const StepFeatures many = features_of_factor(56, 96, 24), few = features_of_factor(4, 96, 24);
  EXPECT_EQ(many.kind, "f32.scale");
  EXPECT_EQ(many.values[1], 96 * 32);
  EXPECT_EQ(few.values[1], 0);
  EXPECT_EQ(few.values[2], 4 * 4 * 96);
}

TEST(CpuCost, PairsTakeNoLongerThanFloats) {
  for (const int64_t size : {4, 16, 28, 112})
    for (const int64_t in : {4, 16, 32, 64}) {
      const Layer l{size, size, 3, 3, in, 64, 2, 1, 1};
      const auto of = [&](DType dtype) {
        return predicted_ns(features(l, dtype), CpuLevel::avx512_bf16);
      };
      EXPECT_LE(of(DType::bf16), 1.01 * of(DType::f32)) << size << " " << in;
    }
}

double recurrent_ns(CpuLevel level, bool two_bytes) {
  Graph graph;
  const auto input = [&](DType dtype, std::initializer_list<Dim> sizes) {
    return graph.add_input(TensorType{dtype, Shape(std::vector<Dim>(sizes))}, "v");
  };
  Value* x = input(DType::f32, {50, 1, 16});
  Value* w = input(DType::i8, {1, 16, 128});
  Value* r = input(DType::i8, {1, 32, 128});
  Value* scale = input(DType::f32, {1, 128});
  Builder builder(graph);
  const auto y =
      builder.node("lstm", {x, w, r, nullptr, nullptr, nullptr, nullptr, nullptr, scale, scale},
                   {{"two_bytes", two_bytes}});
  EXPECT_TRUE(y.ok());
  return predicted_ns(features_of(**y), level);
}

TEST(CpuCost, TwoBytesOfRecurrentLayersTakeLonger) {
  for (const CpuLevel level : {CpuLevel::avx2, CpuLevel::avx512, CpuLevel::avx512_bf16})
    EXPECT_GT(recurrent_ns(level, true), 1.5 * recurrent_ns(level, false));
}

}  // namespace
}  // namespace tenon::cost
