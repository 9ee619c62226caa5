// Attributes that a model only knows when it runs: the axes of a reduction, the scales of a resize.
#pragma once

#include "ops/op.h"

namespace tenon {

// What is known of the shape of the result before the attribute is.
enum class ShapeHint : uint8_t { same, rank, none };
inline constexpr std::array<std::string_view, 3> kShapeHintNames{"same", "rank", "none"};
constexpr std::span<const std::string_view> enum_names(ShapeHint) {
  return kShapeHintNames;
}

// with_attr(operands…, value): the one result of `op` on the operands. Ops keep their parameters in
// attributes, which is what kernels want; this op is for the rare model that computes one of them.
struct WithAttr {
  std::string op;
  std::string attr;
  std::vector<std::string> attrs;
  ShapeHint hint = ShapeHint::none;

  static const OpDef def;
  static constexpr std::string_view name = "with_attr";
  static constexpr std::string_view doc =
      "with_attr(operands…, value): another op on the operands, with one of its attributes taken "
      "from the value.";
  static constexpr Arity inputs{2, kVariadic};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "op", &WithAttr::op, "name of the op; it has one result and no sub-graph"},
        Field{2, "attr", &WithAttr::attr, "the attribute given by the last operand: numbers"},
        Field{3, "attrs", &WithAttr::attrs, "the other attributes, each as name=value"},
        Field{4, "hint", &WithAttr::hint,
              "what the attribute leaves alone of the result it would have by default: its shape, "
              "its rank, or neither"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
