// Ops that give the same elements another shape.
#pragma once

#include "ops/op.h"

namespace tenon {

struct Reshape {
  bool allow_zero = false;

  static const OpDef def;
  static constexpr std::string_view name = "reshape";
  static constexpr std::string_view doc =
      "reshape(x, shape): the elements of x under another shape; one dimension may be -1.";
  static constexpr Arity inputs{2};
  static constexpr uint32_t traits = kView;
  static constexpr auto fields() {
    return std::tuple{Field{1, "allow_zero", &Reshape::allow_zero,
                            "0 in the shape means 0; else it copies the dimension of x"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ExpandDims {
  std::vector<int64_t> axes;

  static const OpDef def;
  static constexpr std::string_view name = "expand_dims";
  static constexpr std::string_view doc = "Inserts dimensions of size 1.";
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kView;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "axes", &ExpandDims::axes, "where the new dimensions are in the result"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct Squeeze {
  std::vector<int64_t> axes;

  static const OpDef def;
  static constexpr std::string_view name = "squeeze";
  static constexpr std::string_view doc = "Removes dimensions of size 1.";
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kView;
  static constexpr auto fields() {
    return std::tuple{Field{1, "axes", &Squeeze::axes, "which dimensions; empty: all of size 1"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct Identity {
  static const OpDef def;
  static constexpr std::string_view name = "identity";
  static constexpr std::string_view doc = "The input, unchanged.";
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kView;
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
