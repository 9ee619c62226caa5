// Scaled dot-product attention.
#pragma once

#include "ops/op.h"

namespace tenon {

// attention(q, k, v [, mask]) with q [B,H,S,D], k [B,K,T,D], v [B,K,T,E], K dividing H (query head
// h uses head h * K / H): softmax(scale * q k^T + mask) v. The mask is broadcast to [B,H,S,T]:
// added, or where boolean, true keeps. A row with nothing kept gives zeros, or NaN as softmax does.
// With length_first q, k, v and the result have their heads after the length, [B,S,H,D]; the mask
// is as before.
struct Attention {
  double scale = 0;
  bool causal = false;
  bool length_first = false;
  bool nan_when_empty = false;

  static const OpDef def;
  static constexpr std::string_view name = "attention";
  static constexpr std::string_view doc =
      "Scaled dot-product attention: q [B,H,S,D], k [B,K,T,D], v [B,K,T,E], K dividing H, optional "
      "mask broadcast to [B,H,S,T] (added; a boolean one keeps where true): softmax(scale q k^T + "
      "mask) v. A row with nothing kept gives zeros unless nan_when_empty. With length_first q, k, "
      "v and the result are "
      "[B,S,H,D] and so on.";
  static constexpr Arity inputs{3, 4};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "scale", &Attention::scale, "of the scores; 0 means 1 / sqrt(D)"},
        Field{2, "causal", &Attention::causal, "query i sees keys j <= i + T - S only"},
        Field{3, "length_first", &Attention::length_first,
              "heads come after the length in q, k, v and the result"},
        Field{4, "nan_when_empty", &Attention::nan_when_empty,
              "a row with nothing kept is NaN, as the softmax of it, and not zero"}};
  }
  int head_axis() const { return length_first ? 2 : 1; }
  int length_axis() const { return length_first ? 1 : 2; }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

}  // namespace tenon
