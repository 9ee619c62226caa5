// Rows of different length as a vector of all their elements and the places where rows begin
// (splits, one more than there are rows).
#pragma once

#include "ops/op.h"

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

struct TextPoints {
  int64_t replacement = 0xFFFD;
  bool skip_errors = false;

  static const OpDef def;
  static constexpr std::string_view name = "text_points";
  static constexpr std::string_view doc =
      "The code points of UTF-8 strings: splits i64, points i32, and the byte each begins at, i64.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{3};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "replacement", &TextPoints::replacement, "for bytes that are no UTF-8"},
        Field{2, "skip_errors", &TextPoints::skip_errors, "leave such bytes out"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct TextFromPoints {
  static const OpDef def;
  static constexpr std::string_view name = "text_from_points";
  static constexpr std::string_view doc =
      "text_from_points(points, splits): one UTF-8 string per row of code points.";
  static constexpr Arity inputs{2};
  static constexpr uint32_t traits = kDataDependent;
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
