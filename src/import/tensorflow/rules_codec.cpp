// Rules of encodings: base 64, comma-separated values, Unicode; and of the files of a model.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

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
  out.reserve(static_cast<size_t>(node->output_count()));
  for (int i = 0; i < node->output_count(); ++i) out.push_back(node->output(i));
  return out;
}

// What the attribute names, as the core ops call it.
Result<std::string> encoding_attr(const RuleContext& c, std::string_view attr) {
  const std::string_view given = TRY(c.node.attrs.get_string(attr, "UTF-8"));
  std::string name;
  name.reserve(given.size());
  for (const char ch : given)
    if (ch != '-' && ch != '_') name += static_cast<char>(ch >= 'a' && ch <= 'z' ? ch - 32 : ch);
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"UTF8", "utf_8"},        {"UTF16BE", "utf_16_be"}, {"UTF16LE", "utf_16_le"},
      {"UTF32BE", "utf_32_be"}, {"UTF32LE", "utf_32_le"}, {"ISO88591", "latin_1"},
      {"LATIN1", "latin_1"},    {"USASCII", "ascii"},     {"ASCII", "ascii"}};
  for (const auto& [icu, own] : kNames)
    if (icu == name) return std::string(own);
  return unsupported("the encoding " + std::string(given));
}

Result<std::string> errors_attr(const RuleContext& c) {
  const std::string_view errors = TRY(c.node.attrs.get_string("errors", "replace"));
  return std::string(errors == "ignore" ? "skip" : errors == "strict" ? "fail" : "replace");
}

// Splits, code points and where these begin.
struct Points {
  Value *splits = nullptr, *points = nullptr, *starts = nullptr;
};

Result<Points> decoded(RuleContext& c) {
  Builder& b = c.builder;
  const std::string errors = TRY(errors_attr(c));
  const int64_t replacement = TRY(c.node.attrs.get_int("replacement_char", 0xFFFD));
  Node* node = TRY(b.node("text_points", {TRY(flatten(c, c.inputs[0]))},
                          {{"replacement", replacement},
                           {"errors", errors},
                           {"encoding", TRY(encoding_attr(c, "input_encoding"))}}));
  Points p{node->output(0), node->output(1), node->output(2)};
  if (!TRY(c.node.attrs.get_bool("replace_control_characters", false))) return p;
  const auto point = [&](int64_t v) { return b.constant(Tensor::scalar(static_cast<int32_t>(v))); };
  Value* control = TRY(b.op("less", {p.points, point(0x20)}));
  if (errors != "skip") {
    p.points = TRY(b.op("select", {control, point(replacement), p.points}));
    return p;
  }
  Value* kept = TRY(b.op("logical_not", {control}));
  Value* sums = TRY(b.op("cumsum", {TRY(cast_to(c, kept, DType::i64))}, {{"axis", int64_t{0}}}));
  p.splits = TRY(b.op("gather", {TRY(join(c, {b.ints({0}), sums})), p.splits}));
  Value* rows = TRY(flatten(c, TRY(b.op("non_zero", {kept}))));
  p.points = TRY(b.op("gather", {p.points, rows}));
  p.starts = TRY(b.op("gather", {p.starts, rows}));
  return p;
}

Result<Value*> encoded(RuleContext& c, Value* points, Value* splits) {
  return c.builder.op("text_from_points", {points, splits},
                      {{"replacement", TRY(c.node.attrs.get_int("replacement_char", 0xFFFD))},
                       {"errors", TRY(errors_attr(c))},
                       {"encoding", TRY(encoding_attr(c, "output_encoding"))}});
}

// UnicodeDecode and UnicodeDecodeWithOffsets: splits, code points, offsets.
Values unicode_decode(RuleContext& c) {
  const Points p = TRY(decoded(c));
  const DType splits = TRY(dtype_attr(c, "Tsplits", DataType::i64));
  return std::vector<Value*>{TRY(cast_to(c, p.splits, splits)), p.points, p.starts};
}

Values unicode_encode(RuleContext& c) {
  return one(encoded(c, c.inputs[0], c.inputs[1]));
}

Values transcode(RuleContext& c) {
  const Points p = TRY(decoded(c));
  Value* texts = TRY(encoded(c, p.points, p.splits));
  return one(
      c.builder.op("reshape", {texts, TRY(shape_of(c, c.inputs[0]))}, {{"allow_zero", true}}));
}

Values decompress(RuleContext& c) {
  const std::string_view type = TRY(c.node.attrs.get_string("compression_type", ""));
  if (type.empty()) return std::vector<Value*>{c.inputs[0]};
  if (type != "ZLIB" && type != "GZIP") return unsupported("compression_type " + std::string(type));
  return one(c.builder.op("inflate", {c.inputs[0]}, {{"gzip", type == "GZIP"}}));
}

// Strings cut or filled with zeros to a number of bytes.
Values decode_padded(RuleContext& c) {
  const int64_t length = TRY(c.int_scalar(1));
  if (length < 1 || length > int64_t{1} << 30) return invalid_model("fixed_length is out of range");
  return one(c.builder.op("decode_raw", {c.inputs[0]},
                          {{"dtype", TRY(dtype_attr(c, "out_type", DataType::u8))},
                           {"big_endian", !TRY(c.node.attrs.get_bool("little_endian", true))},
                           {"length", length}}));
}

// The content of one of the model's assets, whose name is known as its path is.
Values read_file(RuleContext& c) {
  const Tensor* path = c.inputs[0]->constant();
  if (path == nullptr || path->dtype() != DType::string || path->elements() != 1)
    return unsupported(
        "the name of the file it reads is not known when the model is compiled; export a signature "
        "that takes the file's content");
  const std::string name = std::filesystem::path(path->data<std::string>()[0]).filename().string();
  if (std::ranges::find(c.model.meta.assets, name, &AssetFileDef::filename) ==
      c.model.meta.assets.end())
    return unsupported(
        fmt::format("'{}', which it reads, is no asset of the model; export the "
                    "model with it as tf.saved_model.Asset",
                    path->data<std::string>()[0]));
  const auto file = TRY(MappedFile::open(TRY(c.model.asset_path(name))));
  return std::vector<Value*>{
      c.builder.constant(Tensor::scalar(std::string(as_text(file->bytes()))))};
}

constexpr RuleEntry kRules[] = {
    {"DecodeBase64", same<"decode_base64">},
    {"DecodeCSV", decode_csv, 2},
    {"DecodeCompressed", decompress},
    {"DecodePaddedRaw", decode_padded, 2},
    {"EncodeBase64", encode_base64},
    {"EncodeWav", same<"encode_wav">, 2},
    {"ReadFile", read_file},
    {"UnicodeDecode", unicode_decode},
    {"UnicodeDecodeWithOffsets", unicode_decode},
    {"UnicodeEncode", unicode_encode, 2},
    {"UnicodeTranscode", transcode},
};

}  // namespace

std::span<const RuleEntry> codec_rules() {
  return kRules;
}

}  // namespace tenon::tf
