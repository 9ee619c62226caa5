// Special functions of several tensors, element by element with broadcasting.
#pragma once

#include <array>

#include "ops/op.h"

namespace tenon {

enum class SpecialBinaryKind : uint8_t { igamma, igammac, zeta, polygamma, next_after, betainc };
struct SpecialBinaryInfo {
  std::string_view name, doc;
  int operands = 2;
};
inline constexpr std::array<SpecialBinaryInfo, 6> kSpecialBinaryInfos{
    {{"igamma", "igamma(a, x): the lower regularised incomplete gamma function"},
     {"igammac", "igammac(a, x): 1 - igamma(a, x)"},
     {"zeta", "zeta(x, q): Hurwitz's zeta function, the sum of (q + k)^-x"},
     {"polygamma", "polygamma(n, x): the n-th derivative of digamma"},
     {"next_after", "next_after(x, y): the number beside x in the direction of y"},
     {"betainc", "betainc(a, b, x): the regularised incomplete beta function", 3}}};
Result<TensorTypes> infer_special_binary(SpecialBinaryKind kind, const InferContext& context);
Status eval_special_binary(SpecialBinaryKind kind, EvalContext& context);

template <SpecialBinaryKind K>
struct SpecialBinary {
  static const OpDef def;
  static constexpr std::string_view name = kSpecialBinaryInfos[static_cast<size_t>(K)].name;
  static constexpr std::string_view doc = kSpecialBinaryInfos[static_cast<size_t>(K)].doc;
  static constexpr Arity inputs{kSpecialBinaryInfos[static_cast<size_t>(K)].operands};
  static constexpr uint32_t traits = kPointwise;
  Result<TensorTypes> infer(const InferContext& c) const { return infer_special_binary(K, c); }
  Status eval(EvalContext& c) const { return eval_special_binary(K, c); }
};
template <SpecialBinaryKind K>
constinit const OpDef SpecialBinary<K>::def = define<SpecialBinary<K>>();

}  // namespace tenon
