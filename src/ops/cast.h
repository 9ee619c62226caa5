// Conversion between element types.
#pragma once

#include "ops/op.h"
#include "tensor/narrow.h"

namespace tenon {

// Floats to integers truncate toward zero; values that do not fit saturate and NaN gives 0.
// Integers to narrower integers wrap. Numbers to bool: whether not zero. Complex to real drops the
// imaginary part.
struct Cast {
  DType to = DType::f32;
  bool saturate = true;
  Rounding rounding = Rounding::nearest;

  static const OpDef def;
  static constexpr std::string_view name = "cast";
  static constexpr std::string_view doc =
      "Converts elements: floats to integers truncate and saturate, integers wrap, complex to real "
      "drops the imaginary part.";
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kPointwise;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "to", &Cast::to, "the new element type"},
        Field{2, "saturate", &Cast::saturate,
              "to floats of 8 bits: what is too large becomes the largest, else infinity or NaN"},
        Field{3, "rounding", &Cast::rounding, "to f8e8m0"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
