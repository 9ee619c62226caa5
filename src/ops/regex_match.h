// Regular expressions.
#pragma once

#include "ops/op.h"

namespace tenon {

// The syntax of base/regex.h.
struct RegexMatch {
  std::string pattern;

  static const OpDef def;
  static constexpr std::string_view name = "regex_match";
  static constexpr std::string_view doc = "Whether each whole string matches the pattern.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "pattern", &RegexMatch::pattern, "a regular expression"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
