// Writing image files.
#pragma once

#include "ops/op.h"

namespace tenon {

struct EncodePng {
  int64_t compression = -1;

  static const OpDef def;
  static constexpr std::string_view name = "encode_png";
  static constexpr std::string_view doc =
      "Each image [..., height, width, channels] of u8 or u16 as a PNG file in a string.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "compression", &EncodePng::compression, "0 to 9; -1: the usual level"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
