// Joining tensors along a dimension, and cutting one into parts.
#pragma once

#include "ops/op.h"

namespace tenon {

struct Concat {
  int64_t axis = 0;

  static const OpDef def;
  static constexpr std::string_view name = "concat";
  static constexpr std::string_view doc = "Joins tensors along one dimension.";
  static constexpr Arity inputs{1, kVariadic};
  static constexpr auto fields() {
    return std::tuple{Field{1, "axis", &Concat::axis, "the dimension that grows"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct Split {
  int64_t axis = 0;
  std::vector<int64_t> sizes;
  int64_t num = 0;

  static const OpDef def;
  static constexpr std::string_view name = "split";
  static constexpr std::string_view doc = "Cuts a tensor into parts along one dimension.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{1, kVariadic};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "axis", &Split::axis, "the dimension that is cut"},
        Field{2, "sizes", &Split::sizes, "of the parts; one may be -1: the rest"},
        Field{3, "num", &Split::num, "equal parts instead of sizes; the last may be smaller"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
