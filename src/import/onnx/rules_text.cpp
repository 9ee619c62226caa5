// Rules of the ops on strings.
#include <fmt/format.h>

#include "import/onnx/rule_support.h"

namespace tenon::onnx {
namespace {

Result<Values> string_normalizer(RuleContext& c) {
  return one(c.op("string_normalize", {c.in(0)},
                  {{"case_change", TRY(c.get_string("case_change_action", "NONE"))},
                   {"case_sensitive", TRY(c.get_bool("is_case_sensitive", false))},
                   {"stopwords", TRY(c.get_strings("stopwords"))}}));
}

Result<Values> string_split(RuleContext& c) {
  return all(c.builder.node("string_split", {c.in(0)},
                            {{"delimiter", TRY(c.get_string("delimiter", ""))},
                             {"max_splits", TRY(c.get_int("maxsplit", -1))}}));
}

Result<Values> regex_full_match(RuleContext& c) {
  return one(c.op("regex_match", {c.in(0)}, {{"pattern", TRY(c.get_string("pattern", ""))}}));
}

Result<Values> tf_idf_vectorizer(RuleContext& c) {
  return one(c.op("tf_idf", {c.in(0)},
                  {{"mode", TRY(c.get_string("mode"))},
                   {"min_length", TRY(c.get_int("min_gram_length"))},
                   {"max_length", TRY(c.get_int("max_gram_length"))},
                   {"max_skip", TRY(c.get_int("max_skip_count"))},
                   {"counts", TRY(c.get_ints("ngram_counts"))},
                   {"indexes", TRY(c.get_ints("ngram_indexes"))},
                   {"pool_ints", TRY(c.get_ints("pool_int64s"))},
                   {"pool_strings", TRY(c.get_strings("pool_strings"))},
                   {"weights", TRY(c.get_floats("weights"))}}));
}

constexpr Rule kRules[] = {
    {"RegexFullMatch", 1, regex_full_match},    {"StringConcat", 2, direct<"add">},
    {"StringNormalizer", 1, string_normalizer}, {"StringSplit", 1, string_split},
    {"TfIdfVectorizer", 1, tf_idf_vectorizer},
};

}  // namespace

std::span<const Rule> text_rules() {
  return kRules;
}

}  // namespace tenon::onnx
