// The k largest or smallest elements along an axis, and where they are.
#pragma once

#include "ops/op.h"

namespace tenon {

// top_k(x, k) gives values and indices; of equal elements the one with the lower index comes first,
// and NaN counts as larger than every number. With k the size of the axis it sorts.
struct TopK {
  int64_t axis = -1;
  bool largest = true;
  bool sorted = true;
  DType index_dtype = DType::i32;

  static const OpDef def;
  static constexpr std::string_view name = "top_k";
  static constexpr std::string_view doc =
      "top_k(x, k): values and indices of the k largest or smallest along an axis.";
  static constexpr Arity inputs{2};
  static constexpr Arity outputs{2};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "axis", &TopK::axis},
        Field{2, "largest", &TopK::largest, "the largest, else the smallest"},
        Field{3, "sorted", &TopK::sorted, "the result must be in order (it always is)"},
        Field{4, "index_dtype", &TopK::index_dtype, "integer type of the indices"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
