// Reading the feature lists of tf.SequenceExample records. Their context is read by parse_example.
#pragma once

#include "ops/op.h"

namespace tenon {

struct ParseFeatureLists {
  std::vector<std::string> sparse_keys;
  std::vector<std::string> sparse_types;
  std::vector<std::string> dense_keys;
  std::vector<std::string> dense_types;
  std::vector<std::string> ragged_keys;
  std::vector<std::string> ragged_types;
  std::vector<int64_t> may_miss;

  static const OpDef def;
  static constexpr std::string_view name = "parse_feature_lists";
  static constexpr std::string_view doc =
      "parse_feature_lists(serialized): feature lists of tf.SequenceExample records. Places i64 "
      "[k,3] (record, step, element) of the sparse ones, then values, then sizes; the dense ones "
      "[records, steps, …] filled up with zeros; the numbers of steps i64 [records] of each dense "
      "one; values of the ragged ones, then the splits i64 of records, then those of steps. "
      "Without the records' dimension (and its splits) for a single record.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{0, kVariadic};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "sparse_keys", &ParseFeatureLists::sparse_keys, "names of the sparse lists"},
        Field{2, "sparse_types", &ParseFeatureLists::sparse_types, "f32, i64 or str of each"},
        Field{3, "dense_keys", &ParseFeatureLists::dense_keys, "names of the dense lists"},
        Field{4, "dense_types", &ParseFeatureLists::dense_types, "type and shape of one step"},
        Field{5, "ragged_keys", &ParseFeatureLists::ragged_keys, "names of the ragged lists"},
        Field{6, "ragged_types", &ParseFeatureLists::ragged_types, "f32, i64 or str of each"},
        Field{7, "may_miss", &ParseFeatureLists::may_miss,
              "per dense list 1 where a record without it has no steps, else that is an error"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
