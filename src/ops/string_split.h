// Splitting strings.
#pragma once

#include "ops/op.h"

namespace tenon {

struct StringSplit {
  int64_t max_splits = -1;
  std::string delimiter;

  static const OpDef def;
  static constexpr std::string_view name = "string_split";
  static constexpr std::string_view doc =
      "string_split(x): the parts of each string along a new last dimension, filled up with empty "
      "strings, and how many there are.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{2};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "delimiter", &StringSplit::delimiter, "between parts; empty: runs of white space"},
        Field{2, "max_splits", &StringSplit::max_splits,
              "the rest stays whole; negative: no limit"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
