// Strings cut into parts, and rows of different length made into a tensor.
#pragma once

#include "ops/op.h"

namespace tenon {

struct TextSplit {
  int64_t most = -1;
  bool any_of = false;
  bool skip_empty = false;

  static const OpDef def;
  static constexpr std::string_view name = "text_split";
  static constexpr std::string_view doc =
      "text_split(x [n], separator): the parts of each string as a sparse matrix: places i64 "
      "[k,2], "
      "parts [k], size i64 [2]. An empty separator stands for runs of white space.";
  static constexpr Arity inputs{2};
  static constexpr Arity outputs{3};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "most", &TextSplit::most, "cuts per string; -1: as many as there are"},
        Field{2, "any_of", &TextSplit::any_of,
              "each byte of the separator separates; an empty one separates all bytes"},
        Field{3, "skip_empty", &TextSplit::skip_empty, "empty parts are left out"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct RaggedToDense {
  std::vector<std::string> partitions;

  static const OpDef def;
  static constexpr std::string_view name = "ragged_to_dense";
  static constexpr std::string_view doc =
      "ragged_to_dense(shape, values, default, partitions…): nested rows of different length cut "
      "or "
      "filled up to a shape, in which -1 stands for the longest row.";
  static constexpr Arity inputs{4, kVariadic};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{Field{1, "partitions", &RaggedToDense::partitions,
                            "what each partition is: first_dim_size, value_rowids or row_splits"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
