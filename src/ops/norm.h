// Normalisation ops.
#pragma once

#include "ops/op.h"

namespace tenon {

struct BatchNorm {
  double epsilon = 1e-5;

  static const OpDef def;
  static constexpr std::string_view name = "batch_norm";
  static constexpr std::string_view doc =
      "batch_norm(x, scale, offset, mean, variance) over the last axis: (x - mean) / sqrt(variance "
      "+ epsilon) * scale + offset, the parameters being vectors of x's channels.";
  static constexpr Arity inputs{5};
  static constexpr auto fields() {
    return std::tuple{Field{1, "epsilon", &BatchNorm::epsilon, "added to the variance"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

struct LayerNorm {
  int64_t axis = -1;
  double epsilon = 1e-5;

  static const OpDef def;
  static constexpr std::string_view name = "layer_norm";
  static constexpr std::string_view doc =
      "layer_norm(x [, gamma] [, beta]): mean 0 and variance 1 over the axes from `axis` on, then "
      "* gamma + beta, which are broadcast to x.";
  static constexpr Arity inputs{1, 3};
  static constexpr auto fields() {
    return std::tuple{Field{1, "axis", &LayerNorm::axis, "first axis normalised over"},
                      Field{2, "epsilon", &LayerNorm::epsilon, "added to the variance"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

struct RmsNorm {
  int64_t axis = -1;
  double epsilon = 1e-5;

  static const OpDef def;
  static constexpr std::string_view name = "rms_norm";
  static constexpr std::string_view doc =
      "rms_norm(x [, gamma]): x / sqrt(mean(x * x) + epsilon) over the axes from `axis` on, then * "
      "gamma, which is broadcast to x.";
  static constexpr Arity inputs{1, 2};
  static constexpr auto fields() {
    return std::tuple{Field{1, "axis", &RmsNorm::axis, "first axis normalised over"},
                      Field{2, "epsilon", &RmsNorm::epsilon, "added to the mean square"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

struct InstanceNorm {
  double epsilon = 1e-5;

  static const OpDef def;
  static constexpr std::string_view name = "instance_norm";
  static constexpr std::string_view doc =
      "instance_norm(x [N, spatial…, C], scale [C], bias [C]): mean 0 and variance 1 over the "
      "spatial dimensions of each image and channel, then * scale + bias.";
  static constexpr Arity inputs{3};
  static constexpr auto fields() {
    return std::tuple{Field{1, "epsilon", &InstanceNorm::epsilon, "added to the variance"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

struct GroupNorm {
  int64_t groups = 1;
  double epsilon = 1e-5;

  static const OpDef def;
  static constexpr std::string_view name = "group_norm";
  static constexpr std::string_view doc =
      "group_norm(x [N, spatial…, C], scale [C], bias [C]): mean 0 and variance 1 over the spatial "
      "dimensions and each group of adjacent channels, then * scale + bias.";
  static constexpr Arity inputs{3};
  static constexpr auto fields() {
    return std::tuple{Field{1, "groups", &GroupNorm::groups, "groups the channels fall into"},
                      Field{2, "epsilon", &GroupNorm::epsilon, "added to the variance"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const;
};

// ONNX's convention; TensorFlow's depth_radius r is size 2 r + 1 and its alpha is alpha / size.
struct Lrn {
  int64_t size = 5;
  double alpha = 1e-4;
  double beta = 0.75;
  double bias = 1;

  static const OpDef def;
  static constexpr std::string_view name = "lrn";
  static constexpr std::string_view doc =
      "Local response normalisation over the last axis: x / (bias + alpha / size * s) ^ beta with "
      "s the sum of squares of the `size` channels around it.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "size", &Lrn::size, "channels in the window"},
                      Field{2, "alpha", &Lrn::alpha, "scales the sum of squares"},
                      Field{3, "beta", &Lrn::beta, "exponent"},
                      Field{4, "bias", &Lrn::bias, "added to the scaled sum"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
