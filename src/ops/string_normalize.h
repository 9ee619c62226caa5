// Cleaning strings: stop words and case.
#pragma once

#include "ops/op.h"

namespace tenon {

enum class CaseChange : uint8_t { none, lower, upper };
inline constexpr std::array<std::string_view, 3> kCaseChangeNames{"NONE", "LOWER", "UPPER"};
constexpr std::span<const std::string_view> enum_names(CaseChange) {
  return kCaseChangeNames;
}

struct StringNormalize {
  CaseChange case_change = CaseChange::none;
  bool case_sensitive = false;
  std::vector<std::string> stopwords;

  static const OpDef def;
  static constexpr std::string_view name = "string_normalize";
  static constexpr std::string_view doc =
      "x [n] or [1, n] without the stop words, in another case; one empty string where none is "
      "left. Case is that of UTF-8 text in Latin, Greek and Cyrillic letters.";
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "case_change", &StringNormalize::case_change, "of what is left"},
        Field{2, "case_sensitive", &StringNormalize::case_sensitive, "comparing to stop words"},
        Field{3, "stopwords", &StringNormalize::stopwords, "strings that are left out"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
