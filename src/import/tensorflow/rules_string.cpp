// Rules of strings.
#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

Value* text(RuleContext& c, std::string_view value) {
  return c.builder.constant(Tensor::scalar(std::string(value)));
}

// The strings of a constant operand.
Result<std::vector<std::string>> texts(const RuleContext& c, size_t i) {
  const Tensor* t = i < c.inputs.size() ? c.inputs[i]->constant() : nullptr;
  if (t == nullptr || t->dtype() != DType::string)
    return unsupported(
        "the names of features and patterns must be known when the model is compiled");
  const auto span = t->span<std::string>();
  return std::vector<std::string>(span.begin(), span.end());
}

Values change_case(RuleContext& c) {
  const bool utf8 = !TRY(c.node.attrs.get_string("encoding", "")).empty();
  return one(c.builder.op("text_case", {c.inputs[0]},
                          {{"upper", c.node.op == "StringUpper"}, {"utf8", utf8}}));
}

Result<bool> counts_characters(const RuleContext& c) {
  return TRY(c.node.attrs.get_string("unit", "BYTE")) == "UTF8_CHAR";
}

Values length(RuleContext& c) {
  return one(c.builder.op("text_length", {c.inputs[0]}, {{"utf8", TRY(counts_characters(c))}}));
}

Values substr(RuleContext& c) {
  return one(c.builder.op("text_slice", c.inputs, {{"utf8", TRY(counts_characters(c))}}));
}

// StaticRegexReplace has the pattern in attributes, RegexReplace as operands.
Values regex_replace(RuleContext& c) {
  std::vector<Value*> in = c.inputs;
  if (in.size() < 3) {
    in.push_back(text(c, TRY(c.node.attrs.get_string("pattern"))));
    in.push_back(text(c, TRY(c.node.attrs.get_string("rewrite"))));
  }
  return one(c.builder.op("regex_replace", in,
                          {{"all", TRY(c.node.attrs.get_bool("replace_global", true))}}));
}

// StaticRegexFullMatch and RegexFullMatch, whose pattern is an operand.
Values regex_match(RuleContext& c) {
  std::string pattern;
  if (c.inputs.size() > 1) {
    const auto given = TRY(texts(c, 1));
    if (given.size() != 1) return invalid_model("the pattern must be a single string");
    pattern = given[0];
  } else {
    pattern = std::string(TRY(c.node.attrs.get_string("pattern")));
  }
  return one(c.builder.op("regex_match", {c.inputs[0]}, {{"pattern", pattern}}));
}

// add joins strings, with broadcasting.
Values join_strings(RuleContext& c) {
  const std::string_view separator = TRY(c.node.attrs.get_string("separator", ""));
  Value* joined = c.inputs[0];
  for (size_t i = 1; i < c.inputs.size(); ++i) {
    if (!separator.empty()) joined = TRY(c.builder.op("add", {joined, text(c, separator)}));
    joined = TRY(c.builder.op("add", {joined, c.inputs[i]}));
  }
  return std::vector<Value*>{joined};
}

Values reduce_join(RuleContext& c) {
  const auto count = c.inputs[1]->shape().elements();
  if (!count || *count > 64) return unsupported("the number of axes must be known");
  Value* axes = TRY(flatten(c, c.inputs[1]));
  // One after the other, in the order they are named.
  Value* y = c.inputs[0];
  const std::string separator(TRY(c.node.attrs.get_string("separator", "")));
  for (int64_t i = 0; i < *count; ++i)
    y = TRY(add_with_attr(c.builder, "text_reduce", {y}, "axes", TRY(element(c, axes, i)),
                          {{"keep_dims", true}, {"separator", separator}}, "rank"));
  if (*count == 0 || TRY(c.node.attrs.get_bool("keep_dims", false))) return std::vector<Value*>{y};
  return one(add_with_attr(c.builder, "squeeze", {y}, "axes", axes, {}, "none"));
}

Values split(RuleContext& c) {
  const bool first = c.node.op == "StringSplit";
  Node* node = TRY(
      c.builder.node("text_split", {c.inputs[0], c.inputs[1]},
                     {{"most", first ? int64_t{-1} : TRY(c.node.attrs.get_int("maxsplit", -1))},
                      {"any_of", first},
                      {"skip_empty", first && TRY(c.node.attrs.get_bool("skip_empty", true))}}));
  return std::vector<Value*>{node->output(0), node->output(1), node->output(2)};
}

Values as_string(RuleContext& c) {
  const bool scientific = TRY(c.node.attrs.get_bool("scientific", false));
  const bool shortest = TRY(c.node.attrs.get_bool("shortest", false));
  return one(c.builder.op("text_from_number", {c.inputs[0]},
                          {{"precision", TRY(c.node.attrs.get_int("precision", -1))},
                           {"width", TRY(c.node.attrs.get_int("width", -1))},
                           {"style", std::string(scientific ? "scientific"
                                                 : shortest ? "shortest"
                                                            : "fixed")},
                           {"fill", std::string(TRY(c.node.attrs.get_string("fill", "")))}}));
}

Values to_number(RuleContext& c) {
  return one(c.builder.op("number_from_text", {c.inputs[0]},
                          {{"dtype", TRY(dtype_attr(c, "out_type", DataType::f32))}}));
}

Values hash_bucket(RuleContext& c) {
  std::vector<int64_t> key;
  if (c.node.op.ends_with("Strong")) key = TRY(c.node.attrs.get_ints("key"));
  return one(c.builder.op("hash_bucket", {c.inputs[0]},
                          {{"buckets", TRY(c.node.attrs.get_int("num_buckets"))},
                           {"key", key},
                           {"murmur", c.node.op == "StringToHashBucket"}}));
}

// The bytes of FarmHash's fingerprint of each string.
Values fingerprint(RuleContext& c) {
  const auto method = TRY(texts(c, 1));
  if (method.size() != 1 || method[0] != "farmhash64")
    return unsupported("this kind of fingerprint");
  if (c.inputs[0]->dtype() != DType::string || TRY(rank_of(c.inputs[0])) != 1)
    return unsupported("only of vectors of strings");
  Value* hash = TRY(c.builder.op("hash_bucket", {c.inputs[0]}, {{"buckets", int64_t{0}}}));
  return one(c.builder.op("bitcast", {hash}, {{"to", DType::u8}}));
}

Values decode_raw(RuleContext& c) {
  return one(c.builder.op("decode_raw", {c.inputs[0]},
                          {{"dtype", TRY(dtype_attr(c, "out_type", DataType::u8))},
                           {"big_endian", !TRY(c.node.attrs.get_bool("little_endian", true))}}));
}

// The text of each operand in place of a placeholder.
Values format(RuleContext& c) {
  std::string_view rest = TRY(c.node.attrs.get_string("template", "%s"));
  const std::string_view placeholder = TRY(c.node.attrs.get_string("placeholder", "%s"));
  const int64_t most = TRY(c.node.attrs.get_int("summarize", 3));
  if (placeholder.empty()) return invalid_model("the placeholder is empty");
  Value* y = nullptr;
  const auto append = [&](Value* part) -> Status {
    y = y == nullptr ? part : TRY(c.builder.op("add", {y, part}));
    return {};
  };
  for (Value* input : c.inputs) {
    const size_t at = rest.find(placeholder);
    if (at == std::string_view::npos) return invalid_model("there are too few placeholders");
    TRY(append(text(c, rest.substr(0, at))));
    TRY(append(TRY(c.builder.op("text_summary", {input}, {{"most", most}}))));
    rest.remove_prefix(at + placeholder.size());
  }
  if (rest.find(placeholder) != std::string_view::npos)
    return invalid_model("there are more placeholders than operands");
  TRY(append(text(c, rest)));
  return std::vector<Value*>{y};
}

// (strings, numbers of segments, their count): the strings of each segment joined.
Values join_segments(RuleContext& c) {
  return one(
      c.builder.op("text_join_segments", c.inputs,
                   {{"separator", std::string(TRY(c.node.attrs.get_string("separator", "")))}}));
}

constexpr RuleEntry kRules[] = {
    {"AsString", as_string},
    {"DecodeRaw", decode_raw},
    {"Fingerprint", fingerprint, 2},
    {"ReduceJoin", reduce_join, 2},
    {"RegexFullMatch", regex_match, 2},
    {"RegexReplace", regex_replace, 3},
    {"StaticRegexFullMatch", regex_match},
    {"StaticRegexReplace", regex_replace},
    {"StringFormat", format, 0},
    {"StringJoin", join_strings},
    {"StringLength", length},
    {"StringLower", change_case},
    {"StringSplit", split, 2},
    {"StringSplitV2", split, 2},
    {"StringStrip", same<"text_strip">},
    {"StringToHashBucket", hash_bucket},
    {"StringToHashBucketFast", hash_bucket},
    {"StringToHashBucketStrong", hash_bucket},
    {"StringToNumber", to_number},
    {"StringUpper", change_case},
    {"Substr", substr, 3},
    {"UnsortedSegmentJoin", join_segments, 3},
};

}  // namespace

std::span<const RuleEntry> string_rules() {
  return kRules;
}

}  // namespace tenon::tf
