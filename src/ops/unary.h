// Elementwise functions of one tensor, without attributes.
#pragma once

#include <array>

#include "ops/op.h"

namespace tenon {

enum class UnaryKind : uint8_t {
  abs,
  neg,
  sign,
  floor,
  ceil,
  round,
  exp,
  expm1,
  log,
  log1p,
  sqrt,
  rsqrt,
  square,
  reciprocal,
  sin,
  cos,
  tan,
  asin,
  acos,
  atan,
  sinh,
  cosh,
  tanh,
  asinh,
  acosh,
  atanh,
  erf,
  erfc,
  logical_not,
  bitwise_not,
  is_nan,
  is_inf,
  is_finite,
  relu,
  sigmoid,
  softplus,
  softsign,
  silu,
  hard_swish,
  mish
};

struct UnaryInfo {
  std::string_view name;
  std::string_view doc;
};
// In the order of UnaryKind.
inline constexpr std::array<UnaryInfo, 40> kUnaryInfos{{
    {"abs", "|x|"},
    {"neg", "-x"},
    {"sign", "-1, 0 or 1; NaN stays NaN"},
    {"floor", "The largest integer not above x"},
    {"ceil", "The smallest integer not below x"},
    {"round", "The nearest integer, halves to even"},
    {"exp", "e^x"},
    {"expm1", "e^x - 1"},
    {"log", "Natural logarithm"},
    {"log1p", "log(1 + x)"},
    {"sqrt", "Square root"},
    {"rsqrt", "1 / sqrt(x)"},
    {"square", "x * x"},
    {"reciprocal", "1 / x"},
    {"sin", "Sine"},
    {"cos", "Cosine"},
    {"tan", "Tangent"},
    {"asin", "Inverse sine"},
    {"acos", "Inverse cosine"},
    {"atan", "Inverse tangent"},
    {"sinh", "Hyperbolic sine"},
    {"cosh", "Hyperbolic cosine"},
    {"tanh", "Hyperbolic tangent"},
    {"asinh", "Inverse hyperbolic sine"},
    {"acosh", "Inverse hyperbolic cosine"},
    {"atanh", "Inverse hyperbolic tangent"},
    {"erf", "The error function"},
    {"erfc", "1 - erf(x)"},
    {"logical_not", "Not, of booleans"},
    {"bitwise_not", "All bits inverted, of integers"},
    {"is_nan", "Whether x is NaN"},
    {"is_inf", "Whether x is infinite"},
    {"is_finite", "Whether x is neither infinite nor NaN"},
    {"relu", "max(x, 0)"},
    {"sigmoid", "1 / (1 + e^-x)"},
    {"softplus", "log(1 + e^x)"},
    {"softsign", "x / (1 + |x|)"},
    {"silu", "x * sigmoid(x)"},
    {"hard_swish", "x * min(max(x + 3, 0), 6) / 6"},
    {"mish", "x * tanh(softplus(x))"},
}};

Result<TensorTypes> infer_unary(UnaryKind kind, const InferContext& context);
Status eval_unary(UnaryKind kind, EvalContext& context);
// The function of one floating-point value.
double unary_value(UnaryKind kind, double x);

template <UnaryKind K>
struct Unary {
  static constexpr UnaryKind kind = K;
  static const OpDef def;
  static constexpr std::string_view name = kUnaryInfos[static_cast<size_t>(K)].name;
  static constexpr std::string_view doc = kUnaryInfos[static_cast<size_t>(K)].doc;
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kPointwise;
  Result<TensorTypes> infer(const InferContext& context) const { return infer_unary(K, context); }
  Status eval(EvalContext& context) const { return eval_unary(K, context); }
};
template <UnaryKind K>
constinit const OpDef Unary<K>::def = define<Unary<K>>();

using Relu = Unary<UnaryKind::relu>;
using Sigmoid = Unary<UnaryKind::sigmoid>;
using Tanh = Unary<UnaryKind::tanh>;

}  // namespace tenon
