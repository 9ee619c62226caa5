// A value known at compile time.
#pragma once

#include "ops/op.h"

namespace tenon {

struct Constant {
  Tensor value;

  static const OpDef def;
  static constexpr std::string_view name = "const";
  static constexpr std::string_view doc = "A value known at compile time.";
  static constexpr Arity inputs{0};
  static constexpr auto fields() {
    return std::tuple{Field{1, "value", &Constant::value, "the value"}};
  }
  Result<TensorTypes> infer(const InferContext&) const { return TensorTypes{value.type()}; }
  std::optional<SymInts> infer_ints(const InferContext&) const;
  Status eval(EvalContext& context) const {
    context.out(0) = value;
    return {};
  }
};

}  // namespace tenon
