// Permutation of dimensions.
#pragma once

#include "ops/op.h"

namespace tenon {

struct Transpose {
  std::vector<int64_t> perm;

  static const OpDef def;
  static constexpr std::string_view name = "transpose";
  static constexpr std::string_view doc =
      "Permutes dimensions: dimension i of the result is dimension perm[i] of x.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "perm", &Transpose::perm, "empty: reverses the dimensions"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
