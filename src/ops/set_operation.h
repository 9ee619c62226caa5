// Sets in the last dimension of sparse tensors.
#pragma once

#include "ops/op.h"

namespace tenon {

enum class SetKind : uint8_t { a_without_b, b_without_a, both, either };
inline constexpr std::array<std::string_view, 4> kSetKindNames{"a_without_b", "b_without_a", "both",
                                                               "either"};
constexpr std::span<const std::string_view> enum_names(SetKind) {
  return kSetKindNames;
}

struct SetOperation {
  SetKind kind = SetKind::both;

  static const OpDef def;
  static constexpr std::string_view name = "set_operation";
  static constexpr std::string_view doc =
      "set_operation(places, values, size, places, values, size): the last dimension of two sparse "
      "tensors seen as sets. Gives places i64 [k,rank], values in ascending order, and the size.";
  static constexpr Arity inputs{6};
  static constexpr Arity outputs{3};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{Field{1, "kind", &SetOperation::kind, "which elements are kept"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
