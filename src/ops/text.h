// Strings element by element: case, space, length, parts, joining, patterns. Strings are bytes;
// where `utf8` is set, characters are code points.
#pragma once

#include "ops/op.h"

namespace tenon {

struct TextCase {
  bool upper = false;
  bool utf8 = false;

  static const OpDef def;
  static constexpr std::string_view name = "text_case";
  static constexpr std::string_view doc = "Strings in lower or upper case.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "upper", &TextCase::upper, "to upper case, else to lower"},
                      Field{2, "utf8", &TextCase::utf8, "letters beyond ASCII too"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct TextStrip {
  static const OpDef def;
  static constexpr std::string_view name = "text_strip";
  static constexpr std::string_view doc = "Strings without white space at both ends.";
  static constexpr Arity inputs{1};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct TextLength {
  bool utf8 = false;

  static const OpDef def;
  static constexpr std::string_view name = "text_length";
  static constexpr std::string_view doc = "The number of bytes or characters of strings, i32.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "utf8", &TextLength::utf8, "count characters"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct TextSlice {
  bool utf8 = false;

  static const OpDef def;
  static constexpr std::string_view name = "text_slice";
  static constexpr std::string_view doc =
      "text_slice(x, from, length): a part of each string; negative places count from the end. "
      "All three broadcast.";
  static constexpr Arity inputs{3};
  static constexpr auto fields() {
    return std::tuple{Field{1, "utf8", &TextSlice::utf8, "count characters"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct TextReduce {
  std::vector<int64_t> axes;
  bool keep_dims = false;
  std::string separator;

  static const OpDef def;
  static constexpr std::string_view name = "text_reduce";
  static constexpr std::string_view doc = "Strings joined over axes, the first axis outermost.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "axes", &TextReduce::axes, "in the order of joining; empty: none"},
                      Field{2, "keep_dims", &TextReduce::keep_dims, "keep the axes with size 1"},
                      Field{3, "separator", &TextReduce::separator, "between two strings"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct TextJoinSegments {
  std::string separator;

  static const OpDef def;
  static constexpr std::string_view name = "text_join_segments";
  static constexpr std::string_view doc =
      "text_join_segments(x, segments, count): the strings (or slices of them) of each segment "
      "joined in their order; segments are numbered, and have the first dimensions of x.";
  static constexpr Arity inputs{3};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{Field{1, "separator", &TextJoinSegments::separator, "between two strings"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct RegexReplace {
  bool all = true;

  static const OpDef def;
  static constexpr std::string_view name = "regex_replace";
  static constexpr std::string_view doc =
      "regex_replace(x, pattern, rewrite): what matches a pattern (RE2 syntax) replaced.";
  static constexpr Arity inputs{3};
  static constexpr auto fields() {
    return std::tuple{Field{1, "all", &RegexReplace::all, "every match, else the first"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
