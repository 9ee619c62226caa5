// Indices as rows of one on value among off values.
#pragma once

#include "ops/op.h"

namespace tenon {

// one_hot(indices, depth, on, off): inserts an axis of size depth; off everywhere where the index
// is outside [0, depth).
struct OneHot {
  int64_t axis = -1;
  bool wrap_negative = false;

  static const OpDef def;
  static constexpr std::string_view name = "one_hot";
  static constexpr std::string_view doc =
      "one_hot(indices, depth, on, off): inserts an axis of size depth that is on at the index and "
      "off elsewhere.";
  static constexpr Arity inputs{4};
  static constexpr auto fields() {
    return std::tuple{Field{1, "axis", &OneHot::axis, "where the new axis stands in the result"},
                      Field{2, "wrap_negative", &OneHot::wrap_negative,
                            "indices in [-depth, 0) count from the end"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
