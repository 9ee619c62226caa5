// The bits of elements read as another type.
#pragma once

#include "ops/op.h"

namespace tenon {

struct Bitcast {
  DType to = DType::f32;

  static const OpDef def;
  static constexpr std::string_view name = "bitcast";
  static constexpr std::string_view doc =
      "The bytes of x as elements of another type. To smaller elements adds a last dimension of so "
      "many as make one element of x; to larger ones takes that dimension away.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "to", &Bitcast::to, "the new element type"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
