// Elementwise functions of one tensor with parameters.
#pragma once

#include <limits>

#include "ops/op.h"

namespace tenon {

enum class GeluKind : uint8_t { none, tanh };
inline constexpr std::array<std::string_view, 2> kGeluNames{"none", "tanh"};
constexpr std::span<const std::string_view> enum_names(GeluKind) {
  return kGeluNames;
}

// Type checks and the loop common to the ops below; f computes one value in double.
Result<TensorTypes> infer_unary_attr(std::string_view name, const InferContext& context,
                                     bool ints = false);

#define TENON_UNARY_ATTR(text, description)                      \
  static const OpDef def;                                        \
  static constexpr std::string_view name = text;                 \
  static constexpr std::string_view doc = description;           \
  static constexpr Arity inputs{1};                              \
  static constexpr uint32_t traits = kPointwise;                 \
  double value(double x) const;                                  \
  Status eval(EvalContext& context) const;                       \
  Result<TensorTypes> infer(const InferContext& context) const { \
    return infer_unary_attr(name, context);                      \
  }

struct LeakyRelu {
  double alpha = 0.01;
  TENON_UNARY_ATTR("leaky_relu", "x < 0 ? alpha * x : x")
  static constexpr auto fields() { return std::tuple{Field{1, "alpha", &LeakyRelu::alpha}}; }
};

struct Elu {
  double alpha = 1;
  TENON_UNARY_ATTR("elu", "x < 0 ? alpha * (e^x - 1) : x")
  static constexpr auto fields() { return std::tuple{Field{1, "alpha", &Elu::alpha}}; }
};

struct Selu {
  double alpha = 1.6732632423543772;
  double gamma = 1.0507009873554805;
  TENON_UNARY_ATTR("selu", "gamma * (x > 0 ? x : alpha * (e^x - 1))")
  static constexpr auto fields() {
    return std::tuple{Field{1, "alpha", &Selu::alpha}, Field{2, "gamma", &Selu::gamma}};
  }
};

struct Celu {
  double alpha = 1;
  TENON_UNARY_ATTR("celu", "x > 0 ? x : alpha * (e^(x / alpha) - 1)")
  static constexpr auto fields() { return std::tuple{Field{1, "alpha", &Celu::alpha}}; }
};

// Also for integers.
struct Clip {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  static const OpDef def;
  static constexpr std::string_view name = "clip";
  static constexpr std::string_view doc = "min(max(x, min), max); NaN stays NaN";
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kPointwise;
  static constexpr auto fields() {
    return std::tuple{Field{1, "min", &Clip::min}, Field{2, "max", &Clip::max}};
  }
  double value(double x) const;
  Result<TensorTypes> infer(const InferContext& context) const {
    return infer_unary_attr(name, context, true);
  }
  Status eval(EvalContext& context) const;
};

struct HardSigmoid {
  double alpha = 0.2;
  double beta = 0.5;
  TENON_UNARY_ATTR("hard_sigmoid", "min(max(alpha * x + beta, 0), 1)")
  static constexpr auto fields() {
    return std::tuple{Field{1, "alpha", &HardSigmoid::alpha}, Field{2, "beta", &HardSigmoid::beta}};
  }
};

struct Gelu {
  GeluKind approximate = GeluKind::none;
  TENON_UNARY_ATTR("gelu", "x times the normal distribution function of x")
  static constexpr auto fields() {
    return std::tuple{Field{1, "approximate", &Gelu::approximate,
                            "none: by the error function; tanh: the usual approximation"}};
  }
};

struct ThresholdedRelu {
  double alpha = 1;
  TENON_UNARY_ATTR("thresholded_relu", "x > alpha ? x : 0")
  static constexpr auto fields() { return std::tuple{Field{1, "alpha", &ThresholdedRelu::alpha}}; }
};

struct Shrink {
  double lambd = 0.5;
  double bias = 0;
  TENON_UNARY_ATTR("shrink", "x < -lambd: x + bias; x > lambd: x - bias; else 0")
  static constexpr auto fields() {
    return std::tuple{Field{1, "lambd", &Shrink::lambd}, Field{2, "bias", &Shrink::bias}};
  }
};

#undef TENON_UNARY_ATTR

}  // namespace tenon
