// Softmax and its logarithm along an axis.
#pragma once

#include "ops/op.h"

namespace tenon {

struct Softmax {
  int64_t axis = -1;

  static const OpDef def;
  static constexpr std::string_view name = "softmax";
  static constexpr std::string_view doc = "e^x / sum(e^x) along an axis.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() { return std::tuple{Field{1, "axis", &Softmax::axis}}; }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct LogSoftmax {
  int64_t axis = -1;

  static const OpDef def;
  static constexpr std::string_view name = "log_softmax";
  static constexpr std::string_view doc = "x - log(sum(e^x)) along an axis.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() { return std::tuple{Field{1, "axis", &LogSoftmax::axis}}; }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
