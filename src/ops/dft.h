// The Fourier transform as ONNX has it: along any axis, complex numbers as pairs.
#pragma once

#include "ops/op.h"

namespace tenon {

struct Dft {
  int64_t axis = -2;
  bool inverse = false;
  bool onesided = false;

  static const OpDef def;
  static constexpr std::string_view name = "dft";
  static constexpr std::string_view doc =
      "dft(x [..., 1 or 2] [, length]): the Fourier transform along an axis cut or zero-padded to "
      "the length; the last dimension holds the real and, where there is one, the imaginary part.";
  static constexpr Arity inputs{1, 2};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "axis", &Dft::axis, "the dimension transformed; not the last"},
        Field{2, "inverse", &Dft::inverse, "the inverse, divided by the length"},
        Field{3, "onesided", &Dft::onesided,
              "forward: only the length / 2 + 1 first frequencies of a real signal; inverse: x "
              "holds only those, and the result is real"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
