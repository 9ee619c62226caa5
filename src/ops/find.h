// Searching values: positions, distinct elements, buckets, tables.
#pragma once

#include "ops/op.h"

namespace tenon {

struct NonZero {
  static const OpDef def;
  static constexpr std::string_view name = "non_zero";
  static constexpr std::string_view doc =
      "The positions of the elements that are not 0, i64 [rank, n], in row-major order.";
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kDataDependent;
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct Unique {
  std::vector<int64_t> axis;
  bool sorted = true;

  static const OpDef def;
  static constexpr std::string_view name = "unique";
  static constexpr std::string_view doc =
      "unique(x): the distinct elements or slices, the position of the first of each, for every "
      "element which one it is, and how many there are of each (positions and counts i64).";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{4};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "axis", &Unique::axis, "slices along one dimension; empty: single elements"},
        Field{2, "sorted", &Unique::sorted, "in ascending order; else in order of appearance"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct Bucketize {
  std::vector<double> boundaries;

  static const OpDef def;
  static constexpr std::string_view name = "bucketize";
  static constexpr std::string_view doc =
      "For each element the number of boundaries not above it, i32.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "boundaries", &Bucketize::boundaries, "ascending"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct InvertPermutation {
  static const OpDef def;
  static constexpr std::string_view name = "invert_permutation";
  static constexpr std::string_view doc = "y[x[i]] = i.";
  static constexpr Arity inputs{1};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct TableFind {
  static const OpDef def;
  static constexpr std::string_view name = "table_find";
  static constexpr std::string_view doc =
      "table_find(query, keys, values, default): the value of each query's key, or the default.";
  static constexpr Arity inputs{4};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
