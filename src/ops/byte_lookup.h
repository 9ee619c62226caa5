// A function of bytes as the table of its values.
#pragma once

#include "ops/op.h"

namespace tenon {

struct ByteLookup {
  static const OpDef def;
  static constexpr std::string_view name = "byte_lookup";
  static constexpr std::string_view doc =
      "byte_lookup(x, table): x of i8 or u8, 256 values of any one type but strings; the value of "
      "the lowest x first.";
  static constexpr Arity inputs{2};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
