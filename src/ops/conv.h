// Convolution, channels last, any number of spatial dimensions.
#pragma once

#include "ops/activation.h"
#include "ops/auto_pad.h"
#include "ops/op.h"

namespace tenon {

// conv(x, filter [, bias] [, residual]) with x [N, spatial…, C], filter [spatial…, C/groups, M],
// bias [M], residual of the output's shape:
//   y = activation(convolution(x, filter) + bias + residual)
struct Conv {
  std::vector<int64_t> strides;    // per spatial dimension; empty means 1
  std::vector<int64_t> pads;       // begin of each spatial dimension, then end of each; empty: 0
  std::vector<int64_t> dilations;  // empty means 1
  int64_t groups = 1;
  ActivationKind activation = ActivationKind::none;
  double alpha = 0;
  double beta = 0;
  AutoPad auto_pad = AutoPad::none;
  DType result = DType::none;

  static const OpDef def;
  static constexpr std::string_view name = "conv";
  static constexpr std::string_view doc =
      "Convolution, channels last: x [N, spatial…, C], filter [spatial…, C/groups, M], optional "
      "bias [M], optional residual [N, spatial…, M]; y = activation(conv(x, filter) + bias + "
      "residual). A filter of f16 or bf16 may come with x of f32.";
  static constexpr Arity inputs{2, 4};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "strides", &Conv::strides, "per spatial dimension; empty means 1"},
        Field{2, "pads", &Conv::pads, "begins of the spatial dimensions, then ends; empty means 0"},
        Field{3, "dilations", &Conv::dilations, "per spatial dimension; empty means 1"},
        Field{4, "groups", &Conv::groups, "channel groups"},
        Field{5, "activation", &Conv::activation, "applied to the result"},
        Field{6, "alpha", &Conv::alpha, "first parameter of the activation"},
        Field{7, "beta", &Conv::beta, "second parameter of the activation"},
        Field{8, "auto_pad", &Conv::auto_pad, "pads by the size of the input; then no pads"},
        Field{9, "result", &Conv::result, "type of the result: f32 of 16-bit x; none: as x"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

}  // namespace tenon
