// The matrix that takes a spectrum to the mel scale.
#pragma once

#include "ops/op.h"

namespace tenon {

// Triangles between num_bins + 2 frequencies spaced evenly on the scale
// mel(f) = 2595 log10(1 + f / 700), rounded to frequencies of the transform.
struct MelWeights {
  DType dtype = DType::f32;

  static const OpDef def;
  static constexpr std::string_view name = "mel_weights";
  static constexpr std::string_view doc =
      "mel_weights(num_bins, dft_length, sample_rate, low_hertz, high_hertz): the matrix "
      "[dft_length "
      "/ 2 + 1, num_bins] that takes a spectrum to the mel scale.";
  static constexpr Arity inputs{5};
  static constexpr auto fields() {
    return std::tuple{Field{1, "dtype", &MelWeights::dtype, "of the result: a real number type"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
