// Scaled dot-product attention.
#pragma once

#include "ops/op.h"

namespace tenon {

// attention(q, k, v [, mask]) with q [B,H,S,D], k [B,K,T,D], v [B,K,T,E], K dividing H (query head
// h uses head h * K / H): softmax(scale * q k^T + mask) v. The mask is broadcast to [B,H,S,T]:
// added, or where boolean, true keeps. A row with nothing kept gives zeros.
struct Attention {
  double scale = 0;
  bool causal = false;

  static const OpDef def;
  static constexpr std::string_view name = "attention";
  static constexpr std::string_view doc =
      "Scaled dot-product attention: q [B,H,S,D], k [B,K,T,D], v [B,K,T,E], K dividing H, optional "
      "mask broadcast to [B,H,S,T] (added; a boolean one keeps where true): softmax(scale q k^T + "
      "mask) v. A row with nothing kept gives zeros.";
  static constexpr Arity inputs{3, 4};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "scale", &Attention::scale, "of the scores; 0 means 1 / sqrt(D)"},
        Field{2, "causal", &Attention::causal, "query i sees keys j <= i + T - S only"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

}  // namespace tenon
