// Boxes drawn into images.
#pragma once

#include "ops/op.h"

namespace tenon {

struct DrawBoxes {
  static const OpDef def;
  static constexpr std::string_view name = "draw_boxes";
  static constexpr std::string_view doc =
      "draw_boxes(images [n,height,width,channels], boxes f32 [n,count,4], colours f32 "
      "[m,channels]): "
      "the outlines of boxes (top, left, bottom, right as fractions), one pixel thick, in the "
      "colours in turn, of which there are ten without any given.";
  static constexpr Arity inputs{3};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
