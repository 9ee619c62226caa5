// Counts of n-grams in sequences.
#pragma once

#include "ops/op.h"

namespace tenon {

enum class TfIdfMode : uint8_t { tf, idf, tfidf };
inline constexpr std::array<std::string_view, 3> kTfIdfModeNames{"TF", "IDF", "TFIDF"};
constexpr std::span<const std::string_view> enum_names(TfIdfMode) {
  return kTfIdfModeNames;
}

struct TfIdf {
  TfIdfMode mode = TfIdfMode::tf;
  int64_t min_length = 1;
  int64_t max_length = 1;
  int64_t max_skip = 0;
  std::vector<int64_t> counts;
  std::vector<int64_t> indexes;
  std::vector<int64_t> pool_ints;
  std::vector<std::string> pool_strings;
  std::vector<double> weights;

  static const OpDef def;
  static constexpr std::string_view name = "tf_idf";
  static constexpr std::string_view doc =
      "tf_idf(x [n] or [batch, n]): how often each n-gram of a pool occurs in each sequence, f32 "
      "[..., largest index + 1].";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "mode", &TfIdf::mode, "counts, weights of what occurs, or counts times weights"},
        Field{2, "min_length", &TfIdf::min_length, "of the n-grams"},
        Field{3, "max_length", &TfIdf::max_length, "of the n-grams"},
        Field{4, "max_skip", &TfIdf::max_skip, "elements left out between those of an n-gram"},
        Field{5, "counts", &TfIdf::counts, "where in the pool the 1-grams, 2-grams, … start"},
        Field{6, "indexes", &TfIdf::indexes, "element of the result for each n-gram"},
        Field{7, "pool_ints", &TfIdf::pool_ints, "the n-grams one after the other"},
        Field{8, "pool_strings", &TfIdf::pool_strings, "the same for strings"},
        Field{9, "weights", &TfIdf::weights, "of the n-grams; empty: 1"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
