// Reading tf.Example records: the features that models are fed with in serving.
#pragma once

#include "ops/op.h"

namespace tenon {

// parse_example(serialized, defaults…): per sparse feature its places, values and size, grouped by
// kind (all places first), then the dense features.
struct ParseExample {
  std::vector<std::string> sparse_keys;
  std::vector<std::string> sparse_types;
  std::vector<std::string> dense_keys;
  std::vector<std::string> dense_types;

  static const OpDef def;
  static constexpr std::string_view name = "parse_example";
  static constexpr std::string_view doc =
      "parse_example(serialized, defaults…): features of tf.Example records: places i64 [k,2], "
      "then "
      "values, then sizes of the sparse ones, then the dense ones with the records' dimension in "
      "front.";
  static constexpr Arity inputs{1, kVariadic};
  static constexpr Arity outputs{0, kVariadic};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "sparse_keys", &ParseExample::sparse_keys, "names of the sparse features"},
        Field{2, "sparse_types", &ParseExample::sparse_types, "f32, i64 or str of each"},
        Field{3, "dense_keys", &ParseExample::dense_keys, "names of the dense features"},
        Field{4, "dense_types", &ParseExample::dense_types,
              "type and shape in one record of each; a first dimension of ? varies"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
