// Between real numbers and their integer representation: real = (integer - zero) * scale.
#pragma once

#include "ops/op.h"

namespace tenon {

struct QuantizeLinear {
  int64_t axis = 1;
  DType dtype = DType::none;

  static const OpDef def;
  static constexpr std::string_view name = "quantize_linear";
  static constexpr std::string_view doc =
      "quantize_linear(x, scale [, zero]): round(x / scale) + zero, to even and saturated. scale "
      "and zero are scalars or vectors along `axis`.";
  static constexpr Arity inputs{2, 3};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "axis", &QuantizeLinear::axis, "of vectors of scales"},
        Field{2, "dtype", &QuantizeLinear::dtype, "of the result; none: of zero, else u8"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct DequantizeLinear {
  int64_t axis = 1;

  static const OpDef def;
  static constexpr std::string_view name = "dequantize_linear";
  static constexpr std::string_view doc =
      "dequantize_linear(x, scale [, zero]): (x - zero) * scale in the type of scale. scale and "
      "zero are scalars or vectors along `axis`.";
  static constexpr Arity inputs{2, 3};
  static constexpr auto fields() {
    return std::tuple{Field{1, "axis", &DequantizeLinear::axis, "of vectors of scales"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

// What FakeQuant rounds to, in float as the source frameworks do: ties depend on it.
struct FakeQuantLevels {
  float from = 0, to = 0;  // the ends, shifted so that 0 is a level
  float step = 0;          // 0: everything becomes 0
};

struct FakeQuant {
  double min = -6;
  double max = 6;
  int64_t bits = 8;
  bool narrow = false;

  static const OpDef def;
  static constexpr std::string_view name = "fake_quant";
  static constexpr std::string_view doc =
      "Rounds x to the levels that integers of `bits` bits give over [min, max], the range being "
      "shifted so that 0 is a level.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "min", &FakeQuant::min, "low end of the range"},
                      Field{2, "max", &FakeQuant::max, "high end of the range"},
                      Field{3, "bits", &FakeQuant::bits, "2 to 16"},
                      Field{4, "narrow", &FakeQuant::narrow, "the lowest integer is not used"}};
  }
  FakeQuantLevels levels() const;
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct DynamicQuantizeLinear {
  static const OpDef def;
  static constexpr std::string_view name = "dynamic_quantize_linear";
  static constexpr std::string_view doc =
      "x to u8 with a scale and zero point from its own range (which includes 0). Gives y, scale, "
      "zero.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{3};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
