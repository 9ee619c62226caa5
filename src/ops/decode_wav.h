// Reading WAV files.
#pragma once

#include "ops/op.h"

namespace tenon {

struct DecodeWav {
  int64_t channels = -1;
  int64_t samples = -1;

  static const OpDef def;
  static constexpr std::string_view name = "decode_wav";
  static constexpr std::string_view doc =
      "A WAV file (16-bit PCM) held in a string: samples f32 [n, channels] in [-1, 1), and how "
      "many "
      "there are a second, i32.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{2};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "channels", &DecodeWav::channels, "wanted: cut, or the first repeated; -1: all"},
        Field{2, "samples", &DecodeWav::samples, "wanted: cut, or zeros at the end; -1: all"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
