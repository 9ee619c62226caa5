// Rules of uniform quantisation: integers that stand for (value - zero point) * scale, with one
// scale for the tensor or one per index of an axis.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "import/tensorflow/dimension_numbers.h"

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

// Limits as if the quantised values were taken apart: floor(sums * factor + 0.5) + zero point.
// `factor` (f64) is what one of the sums stands for, in scales of the result.
Result<Value*> rescaled(RuleContext& c, Value* sums, Value* factor, Value* zeros,
                        const Quantisation& q, DType t) {
  Builder& b = c.builder;
  Value* y = TRY(b.op("mul", {TRY(cast_to(c, sums, DType::f64)), factor}));
  y = TRY(b.op("floor", {TRY(b.op("add", {y, TRY(number(c, 0.5, DType::f64))}))}));
  y = TRY(b.op("add", {y, TRY(along(c, zeros, y, q.axis, DType::f64))}));
  return cast_to(c, TRY(b.op("clip", {y}, {{"min", q.low}, {"max", q.high}})), t);
}

// The product of the operands' scales over that of the result, along the result's axis.
Result<Value*> product_factor(RuleContext& c, Value* sums, Value* left, Value* right, Value* out,
                              int64_t axis) {
  Builder& b = c.builder;
  Value* y = TRY(along(c, right, sums, axis, DType::f64));
  y = TRY(b.op("mul", {y, TRY(along(c, left, sums, -1, DType::f64))}));
  return b.op("div", {y, TRY(along(c, out, sums, axis, DType::f64))});
}

// Real numbers as TensorFlow quantises them on the way: over the range of each row of the batch, 0
// included, in steps of which one is 0. Gives the multiples of the scale, and the scales.
Result<std::pair<Value*, Value*>> in_steps(RuleContext& c, Value* x) {
  Builder& b = c.builder;
  constexpr double kLow = -128, kHigh = 127;
  const int rank = TRY(rank_of(x));
  std::vector<int64_t> axes;
  for (int i = 1; i < rank; ++i) axes.push_back(i);
  const auto num = [&](double v) { return number(c, v, DType::f64); };
  const auto op = [&](const char* name, std::vector<Value*> in) {
    return b.op(name, std::move(in));
  };
  const auto end = [&](const char* reduce, const char* choose) -> Result<Value*> {
    Value* v = TRY(b.op(reduce, {x}, {{"axes", axes}, {"keep_dims", true}}));
    return b.op(choose, {TRY(cast_to(c, v, DType::f64)), TRY(num(0))});
  };
  Value* low = TRY(end("reduce_min", "min"));
  Value* high = TRY(end("reduce_max", "max"));
  Value* range = TRY(op("sub", {high, low}));
  Value* is_flat = TRY(op("equal", {range, TRY(num(0))}));
  Value* steps = TRY(num(kHigh - kLow));
  range = TRY(op("select", {is_flat, steps, range}));
  Value* scale = TRY(cast_to(c, TRY(op("div", {range, steps})), DType::f32));
  Value* inverse = TRY(op("div", {steps, range}));
  // The integer for 0 from the end that is nearer to it.
  Value* wide = TRY(cast_to(c, scale, DType::f64));
  Value *from = TRY(op("div", {low, wide})), *to = TRY(op("div", {high, wide}));
  const auto error = [&](Value* v, double limit) -> Result<Value*> {
    return op("add", {TRY(op("abs", {v})), TRY(num(std::abs(limit)))});
  };
  Value* by_low = TRY(op("less", {TRY(error(from, kLow)), TRY(error(to, kHigh))}));
  Value* zero = TRY(op("select", {by_low, TRY(op("sub", {TRY(num(kLow)), from})),
                                  TRY(op("sub", {TRY(num(kHigh)), to}))}));
  zero = TRY(b.op("clip", {zero}, {{"min", kLow}, {"max", kHigh}}));
  zero = TRY(op("floor", {TRY(op("add", {zero, TRY(num(0.5))}))}));
  inverse = TRY(cast_to(c, inverse, DType::f32));
  Value* y = TRY(op("mul", {x, inverse}));
  y = TRY(op("floor", {TRY(op("add", {y, TRY(number(c, 0.5, DType::f32))}))}));
  zero = TRY(cast_to(c, zero, DType::f32));
  y = TRY(op("add", {y, zero}));
  y = TRY(b.op("clip", {y}, {{"min", kLow}, {"max", kHigh}}));
  return std::pair(TRY(op("sub", {y, zero})), scale);
}

// (x, w, scales and zero points of x, of w, of the result)
Values product(RuleContext& c, Value* sums, int64_t axis) {
  Quantisation q = TRY(quantisation(c, "output_"));
  if (q.axis >= 0) q.axis = axis;
  Value* factor = TRY(product_factor(c, sums, c.inputs[2], c.inputs[4], c.inputs[6], axis));
  return one(
      rescaled(c, sums, factor, c.inputs[7], q, TRY(to_dtype(TRY(c.node.attrs.get_type("Tout"))))));
}

// Integers of w less their zero points, as f32.
Result<Value*> centred(RuleContext& c, Value* w, Value* zeros, int64_t axis) {
  return c.builder.op("sub",
                      {TRY(cast_to(c, w, DType::f32)), TRY(along(c, zeros, w, axis, DType::f32))});
}

Values dot(RuleContext& c) {
  Value *x = c.inputs[0], *w = c.inputs[1];
  Value* x_zero = TRY(cast_to(c, c.inputs[3], x->dtype()));
  Value* w_zero = TRY(cast_to(c, c.inputs[5], w->dtype()));
  Value* sums = TRY(c.builder.op("quantized_matmul", {x, w, x_zero, w_zero}));
  return product(c, sums, 1);
}

// (x, w, scales and zero points of w): x is real.
Values dot_hybrid(RuleContext& c) {
  const auto [x, scale] = TRY(in_steps(c, c.inputs[0]));
  const int64_t axis = TRY(c.node.attrs.get_int("rhs_quantization_axis", -1));
  Value* w = TRY(centred(c, c.inputs[1], c.inputs[3], axis));
  Value* y = TRY(c.builder.op("matmul", {x, w}));
  Value* factor =
      TRY(c.builder.op("mul", {scale, TRY(along(c, c.inputs[2], y, axis, DType::f32))}));
  return one(c.builder.op("mul", {y, factor}));
}

// The options of a convolution, and where its dimensions are.
Result<std::pair<ConvDimensions, ConvOptions>> conv_options(RuleContext& c) {
  const Attrs& a = c.node.attrs;
  const std::string_view message = TRY(a.get_string("dimension_numbers", ""));
  ConvDimensions d = TRY(uniform_conv_dimensions(message, TRY(rank_of(c.inputs[0]))));
  const size_t n = d.input_spatial.size();
  const auto list = [&](std::string_view name) -> Result<std::vector<int64_t>> {
    std::vector<int64_t> values;
    if (a.has(name)) values = TRY(a.get_ints(name));
    if (values.empty()) values.assign(n, 1);
    for (const int64_t v : values)
      if (v < 1 || v > 1 << 24) return invalid_model(fmt::format("'{}' is out of range", name));
    return values;
  };
  ConvOptions options{.strides = TRY(list("window_strides")),
                      .dilations = TRY(list("rhs_dilation")),
                      .pads = std::vector<int64_t>(2 * n, 0)};
  for (const int64_t v : TRY(list("lhs_dilation")))
    if (v != 1) return unsupported("an input with gaps (lhs_dilation)");
  if (TRY(a.get_int("batch_group_count", 1)) != 1)
    return unsupported("groups of the batch (batch_group_count)");
  options.groups = TRY(a.get_int("feature_group_count", 1));
  const std::string_view padding = TRY(a.get_string("padding"));
  options.same = padding == "SAME";
  if (padding == "EXPLICIT") {
    const auto pairs = TRY(a.get_ints("explicit_padding"));
    if (pairs.size() != 2 * n) return invalid_model("explicit_padding does not fit the dimensions");
    for (size_t i = 0; i < 2 * n; ++i) options.pads[i % 2 * n + i / 2] = pairs[i];
    for (const int64_t pad : pairs)
      if (pad < 0 || pad > 1 << 24) return invalid_model("explicit_padding is out of range");
  }
  return std::pair(std::move(d), std::move(options));
}

Values conv(RuleContext& c) {
  const auto [d, options] = TRY(conv_options(c));
  Value *x = c.inputs[0], *w = c.inputs[1];
  Value* x_zero = TRY(cast_to(c, c.inputs[3], x->dtype()));
  Value* w_zero = TRY(cast_to(c, c.inputs[5], w->dtype()));
  Value* sums = TRY(convolve(c, x, w, x_zero, w_zero, d, options));
  return product(c, sums, d.output_feature);
}

Values conv_hybrid(RuleContext& c) {
  const auto [d, options] = TRY(conv_options(c));
  if (d.input_batch != 0 || d.output_batch != 0)
    return unsupported("a batch that is not the first dimension");
  const auto [x, scale] = TRY(in_steps(c, c.inputs[0]));
  const bool per_channel = TRY(c.node.attrs.get_int("rhs_quantization_axis", -1)) >= 0;
  Value* w = TRY(centred(c, c.inputs[1], c.inputs[3], per_channel ? d.kernel_output : -1));
  Value* y = TRY(convolve(c, x, w, nullptr, nullptr, d, options));
  const int64_t axis = per_channel ? d.output_feature : -1;
  Value* factor =
      TRY(c.builder.op("mul", {scale, TRY(along(c, c.inputs[2], y, axis, DType::f32))}));
  return one(c.builder.op("mul", {y, factor}));
}

// (a, b, scales and zero points of a, of b, of the result): each brought to the result's scale.
Values add(RuleContext& c) {
  Builder& b = c.builder;
  const Quantisation q = TRY(quantisation(c, "output_"));
  const int rank = std::max(TRY(rank_of(c.inputs[0])), TRY(rank_of(c.inputs[1])));
  Value* zeros = c.inputs[7];
  const auto brought = [&](size_t i, const char* prefix) -> Result<Value*> {
    const Quantisation own = TRY(quantisation(c, prefix));
    Value* x = c.inputs[i];
    // The result's axis, in an operand of fewer dimensions.
    const int64_t axis = q.axis < 0 ? -1 : q.axis - (rank - TRY(rank_of(x)));
    Value* zero = TRY(along(c, c.inputs[3 + 2 * i], x, own.axis, DType::f64));
    Value* steps = TRY(b.op("sub", {TRY(cast_to(c, x, DType::f64)), zero}));
    Value* scale = TRY(along(c, c.inputs[2 + 2 * i], x, own.axis, DType::f64));
    Value* factor = TRY(b.op("div", {scale, TRY(along(c, c.inputs[6], x, axis, DType::f64))}));
    steps = TRY(b.op("mul", {steps, factor}));
    return b.op("floor", {TRY(b.op("add", {steps, TRY(number(c, 0.5, DType::f64))}))});
  };
  Value* y = TRY(b.op("add", {TRY(brought(0, "lhs_")), TRY(brought(1, "rhs_"))}));
  y = TRY(b.op("add", {y, TRY(along(c, zeros, y, q.axis, DType::f64))}));
  y = TRY(b.op("clip", {y}, {{"min", q.low}, {"max", q.high}}));
  return one(cast_to(c, y, c.inputs[0]->dtype()));
}

// (x, min, max, scales, zero points): limits of the integers.
Values clip(RuleContext& c) {
  Value* x = c.inputs[0];
  const int64_t axis = TRY(c.node.attrs.get_int("quantization_axis", -1));
  Value* y = TRY(c.builder.op("max", {x, TRY(along(c, c.inputs[1], x, axis, x->dtype()))}));
  return one(c.builder.op("min", {y, TRY(along(c, c.inputs[2], x, axis, x->dtype()))}));
}

constexpr RuleEntry kRules[] = {
    {"UniformDequantize", dequantize, 3},     {"UniformQuantize", quantize, 3},
    {"UniformQuantizedAdd", add, 8},          {"UniformQuantizedClipByValue", clip, 5},
    {"UniformQuantizedConvolution", conv, 8}, {"UniformQuantizedConvolutionHybrid", conv_hybrid, 4},
    {"UniformQuantizedDot", dot, 8},          {"UniformQuantizedDotHybrid", dot_hybrid, 4},
    {"UniformRequantize", requantize, 5},
};

}  // namespace

std::span<const RuleEntry> uniform_rules() {
  return kRules;
}

}  // namespace tenon::tf
