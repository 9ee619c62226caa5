// Batched matrix product with what is commonly fused into it.
#pragma once

#include "ops/activation.h"
#include "ops/op.h"

namespace tenon {

// matmul(a, b [, bias] [, residual]) over the last two dimensions, batch dimensions broadcast:
//   y = activation(alpha * op(a) op(b) + bias + residual)
struct Matmul {
  bool transpose_a = false;
  bool transpose_b = false;
  double alpha = 1;
  ActivationKind activation = ActivationKind::none;
  double act_alpha = 0;
  double act_beta = 0;
  DType result = DType::none;

  static const OpDef def;
  static constexpr std::string_view name = "matmul";
  static constexpr std::string_view doc =
      "Matrix product over the last two dimensions (rank 2 or more), batch dimensions broadcast; "
      "optional bias broadcast to the result, optional residual of the result's shape: y = "
      "activation(alpha * a b + bias + residual). Products of i8 and u8 are i32. b may be f16 or "
      "bf16 where a is f32.";
  static constexpr Arity inputs{2, 4};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "transpose_a", &Matmul::transpose_a, "a is used transposed"},
        Field{2, "transpose_b", &Matmul::transpose_b, "b is used transposed"},
        Field{3, "alpha", &Matmul::alpha, "scales the product"},
        Field{4, "activation", &Matmul::activation, "applied to the result"},
        Field{5, "act_alpha", &Matmul::act_alpha, "first parameter of the activation"},
        Field{6, "act_beta", &Matmul::act_beta, "second parameter of the activation"},
        Field{7, "result", &Matmul::result, "type of the result: f32 of 16-bit a; none: as a"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

}  // namespace tenon
