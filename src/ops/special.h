// Special functions of one tensor, element by element.
#pragma once

#include <array>

#include "ops/op.h"

namespace tenon {

enum class SpecialKind : uint8_t { lgamma, digamma, erfinv, bessel_i0e, bessel_i1e };
inline constexpr std::array<std::array<std::string_view, 2>, 5> kSpecialInfos{
    {{"lgamma", "The logarithm of the magnitude of the gamma function"},
     {"digamma", "The derivative of lgamma"},
     {"erfinv", "The inverse of erf"},
     {"bessel_i0e", "The modified Bessel function of order 0, times e^-|x|"},
     {"bessel_i1e", "The modified Bessel function of order 1, times e^-|x|"}}};
Result<TensorTypes> infer_special(SpecialKind kind, const InferContext& context);
Status eval_special(SpecialKind kind, EvalContext& context);

template <SpecialKind K>
struct Special {
  static const OpDef def;
  static constexpr std::string_view name = kSpecialInfos[static_cast<size_t>(K)][0];
  static constexpr std::string_view doc = kSpecialInfos[static_cast<size_t>(K)][1];
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kPointwise;
  Result<TensorTypes> infer(const InferContext& context) const { return infer_special(K, context); }
  Status eval(EvalContext& context) const { return eval_special(K, context); }
};
template <SpecialKind K>
constinit const OpDef Special<K>::def = define<Special<K>>();

}  // namespace tenon
