// Regular expressions.
#pragma once

#include "ops/op.h"

namespace tenon {

// The syntax of RE2 but for what only matters to searching: literals, ., classes (also \d \w \s and
// [:alpha:]), groups, |, * + ? {m,n} (lazy ones match the same whole strings), ^ $ \A \z \b \B,
// (?i) at the start. Runs in time proportional to the lengths of text and pattern.
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
