// Crosses of categorical features.
#pragma once

#include "ops/op.h"

namespace tenon {

struct SparseCross {
  int64_t sparse = 0;
  bool hashed = true;
  int64_t buckets = 0;
  std::vector<int64_t> key;
  std::vector<int64_t> salt;
  std::string separator = "_X_";

  static const OpDef def;
  static constexpr std::string_view name = "sparse_cross";
  static constexpr std::string_view doc =
      "sparse_cross(places…, values…, sizes…, dense…): for every row all ways to take one value of "
      "each feature, strings or i64, as a sparse matrix: places i64 [n,2], hashes i64 or joined "
      "texts [n], size i64 [2].";
  static constexpr Arity inputs{1, kVariadic};
  static constexpr Arity outputs{3};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "sparse", &SparseCross::sparse, "number of sparse features; the rest are dense"},
        Field{2, "hashed", &SparseCross::hashed, "hashes, else texts"},
        Field{3, "buckets", &SparseCross::buckets, "their number; 0: as many as i64 has"},
        Field{4, "key", &SparseCross::key,
              "the number that the hash begins with; empty: the first value"},
        Field{5, "salt", &SparseCross::salt,
              "two numbers: strings are hashed by SipHash with them"},
        Field{6, "separator", &SparseCross::separator, "between two texts"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
