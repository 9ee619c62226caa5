// Base 64 as used in addresses: the last two of the 64 characters are - and _.
#pragma once

#include "ops/op.h"

namespace tenon {

struct EncodeBase64 {
  bool pad = false;

  static const OpDef def;
  static constexpr std::string_view name = "encode_base64";
  static constexpr std::string_view doc = "The bytes of each string in base 64.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "pad", &EncodeBase64::pad, "to groups of four characters by ="}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct DecodeBase64 {
  static const OpDef def;
  static constexpr std::string_view name = "decode_base64";
  static constexpr std::string_view doc =
      "The bytes that each string stands for in base 64, padded or not.";
  static constexpr Arity inputs{1};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
