// Products of 8-bit integers with what turns the sums back into numbers: convolution and matrix
// product as quantised models mean them, zero points, scales and requantisation included.
#pragma once

#include "ops/activation.h"
#include "ops/auto_pad.h"
#include "ops/op.h"

namespace tenon {

// Operands of both ops: (x, weights [, x_zero] [, weights_zero] [, scale] [, bias] [, y_scale]
// [, y_zero]). With the exact i32 sum s = sum over (x - x_zero)(weights - weights_zero):
//   without scale     y = s
//   with scale        y = activation(s * scale + bias)                        f32
//   with y_scale      y = saturate(round(… / y_scale) + y_zero)               type of y_zero
struct QuantizedConv {
  std::vector<int64_t> strides;  // as those of conv
  std::vector<int64_t> pads;     // what lies outside x counts as x_zero
  std::vector<int64_t> dilations;
  int64_t groups = 1;
  ActivationKind activation = ActivationKind::none;
  double alpha = 0;
  double beta = 0;
  AutoPad auto_pad = AutoPad::none;

  static const OpDef def;
  static constexpr std::string_view name = "quantized_conv";
  static constexpr std::string_view doc =
      "conv of i8 or u8, channels last: (x, filter [, x_zero] [, filter_zero] [, scale] [, bias] "
      "[, y_scale] [, y_zero]). The sums of (x - x_zero)(filter - filter_zero) are exact in i32, "
      "which is the result without scale; with it activation(sum * scale + bias) in f32; with "
      "y_scale that divided by it, rounded to even, plus y_zero, saturated in the type of y_zero. "
      "filter_zero and scale are scalars or vectors [M], bias is [M], the others scalars.";
  static constexpr Arity inputs{2, 8};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "strides", &QuantizedConv::strides, "per spatial dimension; empty means 1"},
        Field{2, "pads", &QuantizedConv::pads,
              "begins of the spatial dimensions, then ends; empty means 0"},
        Field{3, "dilations", &QuantizedConv::dilations, "per spatial dimension; empty means 1"},
        Field{4, "groups", &QuantizedConv::groups, "channel groups"},
        Field{5, "activation", &QuantizedConv::activation, "none, relu or clip"},
        Field{6, "alpha", &QuantizedConv::alpha, "low end of clip"},
        Field{7, "beta", &QuantizedConv::beta, "high end of clip"},
        Field{8, "auto_pad", &QuantizedConv::auto_pad,
              "pads by the size of the input; then no pads"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

struct QuantizedMatmul {
  ActivationKind activation = ActivationKind::none;
  double alpha = 0;
  double beta = 0;

  static const OpDef def;
  static constexpr std::string_view name = "quantized_matmul";
  static constexpr std::string_view doc =
      "matmul of i8 or u8 over the last two dimensions, batch dimensions broadcast: (a, b [, "
      "a_zero] [, b_zero] [, scale] [, bias] [, y_scale] [, y_zero]), the operands and results as "
      "those of quantized_conv, vectors going along the columns of b.";
  static constexpr Arity inputs{2, 8};
  static constexpr auto fields() {
    return std::tuple{Field{1, "activation", &QuantizedMatmul::activation, "none, relu or clip"},
                      Field{2, "alpha", &QuantizedMatmul::alpha, "low end of clip"},
                      Field{3, "beta", &QuantizedMatmul::beta, "high end of clip"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

}  // namespace tenon
