// Choice between two tensors by a third.
#pragma once

#include "ops/op.h"

namespace tenon {

// select(cond, x, y): x where cond holds, else y; all three broadcast together.
struct Select {
  static const OpDef def;
  static constexpr std::string_view name = "select";
  static constexpr std::string_view doc = "select(cond, x, y): x where cond holds, else y.";
  static constexpr Arity inputs{3};
  static constexpr uint32_t traits = kPointwise;
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
