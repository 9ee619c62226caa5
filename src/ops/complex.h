// Taking complex numbers apart and putting them together.
#pragma once

#include "ops/op.h"

namespace tenon {

enum class ComplexPart : uint8_t { real, imag, complex_abs, angle, conj };

Result<TensorTypes> infer_complex_part(ComplexPart part, const InferContext& context);
Status eval_complex_part(ComplexPart part, EvalContext& context);

inline constexpr std::array<std::array<std::string_view, 2>, 5> kComplexParts{
    {{"real", "The real part"},
     {"imag", "The imaginary part"},
     {"complex_abs", "The magnitude"},
     {"angle", "The angle, from -pi to pi"},
     {"conj", "The complex conjugate; real numbers stay themselves"}}};

// All but conj give real numbers.
template <ComplexPart P>
struct ComplexUnary {
  static const OpDef def;
  static constexpr std::string_view name = kComplexParts[static_cast<size_t>(P)][0];
  static constexpr std::string_view doc = kComplexParts[static_cast<size_t>(P)][1];
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kPointwise;
  Result<TensorTypes> infer(const InferContext& context) const {
    return infer_complex_part(P, context);
  }
  Status eval(EvalContext& context) const { return eval_complex_part(P, context); }
};
template <ComplexPart P>
constinit const OpDef ComplexUnary<P>::def = define<ComplexUnary<P>>();

// complex(re, im) with broadcasting, of f32 or f64.
struct MakeComplex {
  static const OpDef def;
  static constexpr std::string_view name = "complex";
  static constexpr std::string_view doc = "complex(re, im): re + i im.";
  static constexpr Arity inputs{2};
  static constexpr uint32_t traits = kPointwise;
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
