// Arithmetic sequences.
#pragma once

#include "ops/op.h"

namespace tenon {

// range(start, limit, delta): start, start + delta, … up to but without limit.
struct Range {
  static const OpDef def;
  static constexpr std::string_view name = "range";
  static constexpr std::string_view doc =
      "range(start, limit, delta): start, start + delta, … up to but without limit.";
  static constexpr Arity inputs{3};
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
