// Matrix product with weights of few bits.
#pragma once

#include "ops/activation.h"
#include "ops/op.h"

namespace tenon {

// matmul_nbits(a, b, scale [, bias] [, residual]) with a [.., k] of f32 and integers w [k, n]:
//   y = activation(a (w * scale) + bias + residual)
// scale is f32 [groups, n]: k / groups successive rows of w share one per column. With 8 bits b is
// w as i8; with 4 it is u8 [k / 2, n], row i holding rows 2 i (low half) and 2 i + 1 of w + 8.
struct MatmulNbits {
  int64_t bits = 8;
  ActivationKind activation = ActivationKind::none;
  double act_alpha = 0;
  double act_beta = 0;

  static const OpDef def;
  static constexpr std::string_view name = "matmul_nbits";
  static constexpr std::string_view doc =
      "Product of f32 with weights of few bits: (a, b, scale [, bias] [, residual]), y = "
      "activation(a (w * scale) + bias + residual), scale [groups, n] with k / groups rows of w to "
      "each. 8 bits: b is w, i8 [k, n]. 4 bits: b is u8 [k / 2, n] with rows 2 i and 2 i + 1 of w "
      "+ "
      "8 in the low and high halves of row i.";
  static constexpr Arity inputs{3, 5};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "bits", &MatmulNbits::bits, "8 or 4"},
        Field{2, "activation", &MatmulNbits::activation, "applied to the result"},
        Field{3, "act_alpha", &MatmulNbits::act_alpha, "first parameter of the activation"},
        Field{4, "act_beta", &MatmulNbits::act_beta, "second parameter of the activation"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

}  // namespace tenon
