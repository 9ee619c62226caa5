// Samples of distributions with parameters, as functions of a key and a counter: TensorFlow's
// values.
#pragma once

#include "ops/op.h"

namespace tenon {

enum class SampleKind : uint8_t { gamma, poisson, binomial };
inline constexpr std::array<std::string_view, 3> kSampleKindNames{"gamma", "poisson", "binomial"};
constexpr std::span<const std::string_view> enum_names(SampleKind) {
  return kSampleKindNames;
}

struct StatelessSample {
  SampleKind kind = SampleKind::gamma;
  DType dtype = DType::f32;

  static const OpDef def;
  static constexpr std::string_view name = "stateless_sample";
  static constexpr std::string_view doc =
      "stateless_sample(shape, key, counter, parameter [, probability]): samples of a distribution "
      "for each parameter (the shape of gamma, the rate of Poisson, the tries of binomial), whose "
      "dimensions are the last of shape, and those of the probability.";
  static constexpr Arity inputs{4, 5};
  static constexpr auto fields() {
    return std::tuple{Field{1, "kind", &StatelessSample::kind, "the distribution"},
                      Field{2, "dtype", &StatelessSample::dtype, "of the result"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct StatelessCategories {
  DType dtype = DType::i64;

  static const OpDef def;
  static constexpr std::string_view name = "stateless_categories";
  static constexpr std::string_view doc =
      "stateless_categories(logits [batch, n], count, key, counter): for every row `count` classes "
      "drawn with the probabilities softmax(logits), [batch, count].";
  static constexpr Arity inputs{4};
  static constexpr auto fields() {
    return std::tuple{Field{1, "dtype", &StatelessCategories::dtype, "i32 or i64"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct StatelessPermutation {
  static const OpDef def;
  static constexpr std::string_view name = "stateless_permutation";
  static constexpr std::string_view doc =
      "stateless_permutation(count, key, counter): the numbers below count in random order, i64.";
  static constexpr Arity inputs{3};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
