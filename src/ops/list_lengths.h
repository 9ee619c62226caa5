// How long each item of a list is.
#pragma once

#include "ops/op.h"

namespace tenon {

struct ListLengths {
  static const OpDef def;
  static constexpr std::string_view name = "list_lengths";
  static constexpr std::string_view doc =
      "list_lengths(list): the first dimension of each item, i64; 0 for one that was never set.";
  static constexpr Arity inputs{1};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
