// Moving blocks of space into the batch and back.
#pragma once

#include "ops/op.h"

namespace tenon {

struct SpaceToBatch {
  static const OpDef def;
  static constexpr std::string_view name = "space_to_batch";
  static constexpr std::string_view doc =
      "space_to_batch(x, block, pads): x [N, spatial…, …] padded by pads [spatial, 2], each "
      "position "
      "of a block becoming a batch of its own.";
  static constexpr Arity inputs{3};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct BatchToSpace {
  static const OpDef def;
  static constexpr std::string_view name = "batch_to_space";
  static constexpr std::string_view doc =
      "batch_to_space(x, block, crops): the inverse of space_to_batch; crops [spatial, 2] are cut "
      "off.";
  static constexpr Arity inputs{3};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
