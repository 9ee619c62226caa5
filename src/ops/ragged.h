// Rows of different length as a vector of all their elements and the places where rows begin
// (splits, one more than there are rows).
#pragma once

#include "ops/op.h"
#include "ops/text_encoding.h"

namespace tenon {

struct RaggedRange {
  static const OpDef def;
  static constexpr std::string_view name = "ragged_range";
  static constexpr std::string_view doc =
      "ragged_range(starts, limits, deltas): the splits i64 and elements of one range per row; "
      "each "
      "operand is a vector or one number for all rows.";
  static constexpr Arity inputs{3};
  static constexpr Arity outputs{2};
  static constexpr uint32_t traits = kDataDependent;
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

// What becomes of bytes or numbers that are no characters.
enum class TextErrors : uint8_t { replace, skip, fail };
inline constexpr std::array<std::string_view, 3> kTextErrorsNames{"replace", "skip", "fail"};
constexpr std::span<const std::string_view> enum_names(TextErrors) {
  return kTextErrorsNames;
}

struct TextPoints {
  int64_t replacement = 0xFFFD;
  TextErrors errors = TextErrors::replace;
  TextEncoding encoding = TextEncoding::utf_8;

  static const OpDef def;
  static constexpr std::string_view name = "text_points";
  static constexpr std::string_view doc =
      "The code points of strings: splits i64, points i32, and the byte each begins at, i64.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{3};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "replacement", &TextPoints::replacement, "for bytes that are no characters"},
        Field{3, "errors", &TextPoints::errors, "what becomes of such bytes"},
        Field{4, "encoding", &TextPoints::encoding, "of the strings"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct TextFromPoints {
  int64_t replacement = 0xFFFD;
  TextErrors errors = TextErrors::replace;
  TextEncoding encoding = TextEncoding::utf_8;

  static const OpDef def;
  static constexpr std::string_view name = "text_from_points";
  static constexpr std::string_view doc =
      "text_from_points(points, splits): one string per row of code points.";
  static constexpr Arity inputs{2};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "replacement", &TextFromPoints::replacement, "for numbers of no character"},
        Field{2, "errors", &TextFromPoints::errors, "what becomes of such numbers"},
        Field{3, "encoding", &TextFromPoints::encoding, "of the strings"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct TextNgrams {
  std::vector<int64_t> widths;
  int64_t pad_width = 0;
  bool keep_short = false;
  std::string separator;
  std::string left_pad;
  std::string right_pad;

  static const OpDef def;
  static constexpr std::string_view name = "text_ngrams";
  static constexpr std::string_view doc =
      "text_ngrams(x, splits): runs of strings next to each other in a row, joined; per row all of "
      "the first width, then of the second. Gives them and their splits.";
  static constexpr Arity inputs{2};
  static constexpr Arity outputs{2};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "widths", &TextNgrams::widths, "numbers of strings joined"},
        Field{2, "pad_width", &TextNgrams::pad_width,
              "pads at both ends of a row; -1: one less than the width"},
        Field{3, "keep_short", &TextNgrams::keep_short, "a row too short for any width gives one"},
        Field{4, "separator", &TextNgrams::separator, "between two strings"},
        Field{5, "left_pad", &TextNgrams::left_pad, "stands before a row"},
        Field{6, "right_pad", &TextNgrams::right_pad, "stands behind a row"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
