// Rules of encodings: base 64, comma-separated values, Unicode.
#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

Values encode_base64(RuleContext& c) {
  return one(c.builder.op("encode_base64", {c.inputs[0]},
                          {{"pad", TRY(c.node.attrs.get_bool("pad", false))}}));
}

// (records, the default of each field…)
Values decode_csv(RuleContext& c) {
  std::vector<int64_t> columns;
  if (c.node.attrs.has("select_cols")) columns = TRY(c.node.attrs.get_ints("select_cols"));
  Node* node = TRY(
      c.builder.node("decode_csv", c.inputs,
                     {{"delimiter", std::string(TRY(c.node.attrs.get_string("field_delim", ",")))},
                      {"quotes", TRY(c.node.attrs.get_bool("use_quote_delim", true))},
                      {"missing", std::string(TRY(c.node.attrs.get_string("na_value", "")))},
                      {"columns", columns}}));
  std::vector<Value*> out;
  for (int i = 0; i < node->output_count(); ++i) out.push_back(node->output(i));
  return out;
}

// From UTF-8 to UTF-8: what is no character is replaced or left out.
Values transcode(RuleContext& c) {
  Builder& b = c.builder;
  for (const char* which : {"input_encoding", "output_encoding"})
    if (TRY(c.node.attrs.get_string(which, "UTF-8")) != "UTF-8") return unsupported("only UTF-8");
  const std::string_view errors = TRY(c.node.attrs.get_string("errors", "replace"));
  const int64_t replacement = TRY(c.node.attrs.get_int("replacement_char", 0xFFFD));
  Value* flat = TRY(flatten(c, c.inputs[0]));
  Node* node = TRY(b.node("text_points", {flat},
                          {{"replacement", replacement}, {"skip_errors", errors == "ignore"}}));
  Value *splits = node->output(0), *points = node->output(1);
  if (TRY(c.node.attrs.get_bool("replace_control_characters", false))) {
    const auto point = [&](int64_t v) {
      return b.constant(Tensor::scalar(static_cast<int32_t>(v)));
    };
    Value* control = TRY(b.op("less", {points, point(0x20)}));
    if (errors == "ignore") {
      Value* kept = TRY(b.op("logical_not", {control}));
      Value* sums =
          TRY(b.op("cumsum", {TRY(cast_to(c, kept, DType::i64))}, {{"axis", int64_t{0}}}));
      splits = TRY(b.op("gather", {TRY(join(c, {b.ints({0}), sums})), splits}));
      points = TRY(b.op("gather", {points, TRY(flatten(c, TRY(b.op("non_zero", {kept}))))}));
    } else {
      points = TRY(b.op("select", {control, point(replacement), points}));
    }
  }
  Value* texts = TRY(b.op("text_from_points", {points, splits}));
  return one(b.op("reshape", {texts, TRY(shape_of(c, c.inputs[0]))}, {{"allow_zero", true}}));
}

constexpr RuleEntry kRules[] = {
    {"DecodeBase64", same<"decode_base64">},
    {"DecodeCSV", decode_csv, 2},
    {"EncodeBase64", encode_base64},
    {"UnicodeTranscode", transcode},
};

}  // namespace

std::span<const RuleEntry> codec_rules() {
  return kRules;
}

}  // namespace tenon::tf
