// Repetition: broadcasting to a shape and tiling.
#pragma once

#include "ops/op.h"
#include "ops/strided_view.h"

namespace tenon {

struct Expand {
  static const OpDef def;
  static constexpr std::string_view name = "expand";
  static constexpr std::string_view doc =
      "expand(x, shape): x broadcast against the shape; a dimension of 1 in the shape keeps that "
      "of "
      "x.";
  static constexpr Arity inputs{2};
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Result<StridedView> strided_view(const EvalContext& context) const;
  Status eval(EvalContext& context) const;
};

struct Tile {
  static const OpDef def;
  static constexpr std::string_view name = "tile";
  static constexpr std::string_view doc = "tile(x, repeats): x repeated along each dimension.";
  static constexpr Arity inputs{2};
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Result<StridedView> strided_view(const EvalContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
