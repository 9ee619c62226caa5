// Rules of uniform quantisation: integers that stand for (value - zero point) * scale, with one
// scale for the tensor or one per index of an axis.
#include <cmath>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

struct Quantisation {
  int64_t axis = -1;
  double low = 0, high = 0;
};

Result<Quantisation> quantisation(const RuleContext& c, const std::string& prefix) {
  const Attrs& a = c.node.attrs;
  return Quantisation{TRY(a.get_int(prefix + "quantization_axis", -1)),
                      static_cast<double>(TRY(a.get_int(prefix + "quantization_min_val"))),
                      static_cast<double>(TRY(a.get_int(prefix + "quantization_max_val")))};
}

// Scales or zero points against x.
Result<Value*> along(RuleContext& c, Value* v, const Value* x, int64_t axis, DType dtype) {
  return along_axis(c, TRY(cast_to(c, v, dtype)), x, axis);
}

// floor(x / scale + 0.5) + zero point within the limits, as T.
Result<Value*> quantised(RuleContext& c, Value* x, Value* scales, Value* zeros,
                         const Quantisation& q, DType t) {
  Builder& b = c.builder;
  Value* inverse = TRY(
      b.op("div", {TRY(number(c, 1, DType::f32)), TRY(along(c, scales, x, q.axis, DType::f32))}));
  Value* y = TRY(b.op("mul", {x, inverse}));
  y = TRY(b.op("floor", {TRY(b.op("add", {y, TRY(number(c, 0.5, DType::f32))}))}));
  // In f64 every i32 is exact.
  y = TRY(cast_to(c, y, DType::f64));
  y = TRY(b.op("add", {y, TRY(along(c, zeros, x, q.axis, DType::f64))}));
  return cast_to(c, TRY(b.op("clip", {y}, {{"min", q.low}, {"max", q.high}})), t);
}

Result<Value*> real(RuleContext& c, Value* x, Value* scales, Value* zeros, const Quantisation& q) {
  Builder& b = c.builder;
  Value* y = TRY(
      b.op("sub", {TRY(cast_to(c, x, DType::i32)), TRY(along(c, zeros, x, q.axis, DType::i32))}));
  return b.op("mul",
              {TRY(cast_to(c, y, DType::f32)), TRY(along(c, scales, x, q.axis, DType::f32))});
}

Values quantize(RuleContext& c) {
  return one(quantised(c, c.inputs[0], c.inputs[1], c.inputs[2], TRY(quantisation(c, "")),
                       TRY(to_dtype(TRY(c.node.attrs.get_type("Tout"))))));
}

Values dequantize(RuleContext& c) {
  return one(real(c, c.inputs[0], c.inputs[1], c.inputs[2], TRY(quantisation(c, ""))));
}

// (x, its scales and zero points, those of the result)
Values requantize(RuleContext& c) {
  Value* x = TRY(real(c, c.inputs[0], c.inputs[1], c.inputs[2], TRY(quantisation(c, "input_"))));
  return one(quantised(c, x, c.inputs[3], c.inputs[4], TRY(quantisation(c, "output_")),
                       TRY(to_dtype(TRY(c.node.attrs.get_type("Tout"))))));
}

constexpr RuleEntry kRules[] = {
    {"UniformDequantize", dequantize, 3},
    {"UniformQuantize", quantize, 3},
    {"UniformRequantize", requantize, 5},
};

}  // namespace

std::span<const RuleEntry> uniform_rules() {
  return kRules;
}

}  // namespace tenon::tf
