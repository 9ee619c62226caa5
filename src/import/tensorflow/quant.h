// Formulas that rules of TensorFlow's quantised tensors share: integers with the real numbers that
// their lowest and highest values stand for as further tensors.
#pragma once

#include "import/tensorflow/compose.h"

namespace tenon::tf {

// Short names for what every formula here is made of.
struct Maths {
  RuleContext& c;
  DType t = DType::f32;

  Result<Value*> num(double v) const { return number(c, v, t); }
  Result<Value*> op(const char* name, Value* x, Value* y) const {
    return c.builder.op(name, {x, y});
  }
  Result<Value*> op(const char* name, Value* x, double y) const { return op(name, x, TRY(num(y))); }
  Result<Value*> op(const char* name, Value* x) const { return c.builder.op(name, {x}); }
  // Halves away from zero.
  Result<Value*> round_away(Value* x) const {
    Value* up = TRY(op("floor", TRY(op("add", TRY(op("abs", x)), 0.5))));
    return op("mul", TRY(op("sign", x)), up);
  }
};

struct IntegerRange {
  double low = 0, high = 0;
  double steps() const { return high - low + 1; }
};

// Error: unsupported for types that are no integers of 8, 16 or 32 bits.
Result<IntegerRange> range_of(DType dtype);
// x as integers of `dtype` over the range [min, max] by the first-value scheme: real 0 is an
// integer, and the lowest integer stands for min; and back. In f32, as TensorFlow does it for whole
// tensors.
Result<Value*> quantize_first(RuleContext& c, Value* x, Value* min, Value* max, DType dtype);
Result<Value*> dequantize_first(RuleContext& c, Value* x, Value* min, Value* max);
// The same in f64, as TensorFlow does it for single numbers.
Result<Value*> quantize_number(RuleContext& c, Value* x, Value* min, Value* max, DType dtype);
Result<Value*> dequantize_number(RuleContext& c, Value* x, Value* min, Value* max);

}  // namespace tenon::tf
