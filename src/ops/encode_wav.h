// Writing WAV files.
#pragma once

#include "ops/op.h"

namespace tenon {

struct EncodeWav {
  static const OpDef def;
  static constexpr std::string_view name = "encode_wav";
  static constexpr std::string_view doc =
      "encode_wav(samples f32 [n, channels], rate): a WAV file (16-bit PCM) in a string; 1 is the "
      "largest sample.";
  static constexpr Arity inputs{2};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
