// Tensors as text for people.
#pragma once

#include "ops/op.h"

namespace tenon {

struct TextSummary {
  int64_t most = -1;

  static const OpDef def;
  static constexpr std::string_view name = "text_summary";
  static constexpr std::string_view doc =
      "A tensor as NumPy prints it, in one string; strings in quotes.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "most", &TextSummary::most, "elements shown at each end of a dimension; -1: all"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
