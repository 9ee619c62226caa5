// Determinants.
#pragma once

#include "ops/op.h"

namespace tenon {

struct Det {
  static const OpDef def;
  static constexpr std::string_view name = "det";
  static constexpr std::string_view doc = "The determinants of the matrices x [..., n, n].";
  static constexpr Arity inputs{1};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
