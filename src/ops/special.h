// Special functions of one tensor, element by element.
#pragma once

#include <array>

#include "ops/op.h"

namespace tenon {

enum class SpecialKind : uint8_t {
  lgamma,
  digamma,
  erfinv,
  bessel_i0e,
  bessel_i1e,
  ndtri,
  bessel_k0e,
  bessel_k1e,
  bessel_j0,
  bessel_j1,
  bessel_y0,
  bessel_y1,
  dawson,
  exponential_integral,
  fresnel_sin,
  fresnel_cos,
  spence
};
inline constexpr std::array<std::array<std::string_view, 2>, 17> kSpecialInfos{
    {{"lgamma", "The logarithm of the magnitude of the gamma function"},
     {"digamma", "The derivative of lgamma"},
     {"erfinv", "The inverse of erf"},
     {"bessel_i0e", "The modified Bessel function of order 0, times e^-|x|"},
     {"bessel_i1e", "The modified Bessel function of order 1, times e^-|x|"},
     {"ndtri", "The quantile of the normal distribution"},
     {"bessel_k0e", "The modified Bessel function of the second kind and order 0, times e^x"},
     {"bessel_k1e", "The modified Bessel function of the second kind and order 1, times e^x"},
     {"bessel_j0", "The Bessel function of order 0"},
     {"bessel_j1", "The Bessel function of order 1"},
     {"bessel_y0", "The Bessel function of the second kind and order 0"},
     {"bessel_y1", "The Bessel function of the second kind and order 1"},
     {"dawson", "Dawson's integral: e^(-x^2) times that of e^(t^2) from 0 to x"},
     {"exponential_integral", "The integral of e^t / t up to x, of x >= 0"},
     {"fresnel_sin", "The integral of sin(pi t^2 / 2) from 0 to x"},
     {"fresnel_cos", "The integral of cos(pi t^2 / 2) from 0 to x"},
     {"spence", "The integral of log(t) / (1 - t) from 1 to x"}}};
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
