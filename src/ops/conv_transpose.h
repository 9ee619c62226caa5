// Transposed convolution (the gradient of conv by its input), channels last.
#pragma once

#include "ops/activation.h"
#include "ops/op.h"

namespace tenon {

// conv_transpose(x, filter [, bias]) with x [N, spatial…, C], filter [spatial…, M/groups, C], which
// is TensorFlow's conv2d_backprop_input layout, bias [M]. A spatial size is
//   (in - 1) * stride + (kernel - 1) * dilation + 1 - pads + output_padding
struct ConvTranspose {
  std::vector<int64_t> strides;
  std::vector<int64_t> pads;
  std::vector<int64_t> dilations;
  int64_t groups = 1;
  std::vector<int64_t> output_padding;
  ActivationKind activation = ActivationKind::none;
  double alpha = 0;
  double beta = 0;
  DType result = DType::none;

  static const OpDef def;
  static constexpr std::string_view name = "conv_transpose";
  static constexpr std::string_view doc =
      "Transposed convolution, channels last: x [N, spatial…, C], filter [spatial…, M/groups, C], "
      "optional bias [M]; y = activation(conv_transpose(x, filter) + bias).";
  static constexpr Arity inputs{2, 3};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "strides", &ConvTranspose::strides, "per spatial dimension; empty means 1"},
        Field{2, "pads", &ConvTranspose::pads, "cut off the begins, then the ends; empty means 0"},
        Field{3, "dilations", &ConvTranspose::dilations, "per spatial dimension; empty means 1"},
        Field{4, "groups", &ConvTranspose::groups, "channel groups"},
        Field{5, "output_padding", &ConvTranspose::output_padding,
              "added at the end per spatial dimension; empty means 0"},
        Field{6, "activation", &ConvTranspose::activation, "applied to the result"},
        Field{7, "alpha", &ConvTranspose::alpha, "first parameter of the activation"},
        Field{8, "beta", &ConvTranspose::beta, "second parameter of the activation"},
        Field{9, "result", &ConvTranspose::result,
              "type of the result: f32 of 16-bit x; none: as x"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

}  // namespace tenon
