// Rules of layers of quantised tensors, as TensorFlow 1 had them.
#include <algorithm>
#include <cmath>

#include "import/tensorflow/quant.h"

namespace tenon::tf {
namespace {

// The range an i32 sum of products has: one step of the product of steps per integer.
Result<std::vector<Value*>> product_range(RuleContext& c, DType a_type, Value* a_min, Value* a_max,
                                          DType b_type, Value* b_min, Value* b_max) {
  const Maths m{c};
  const IntegerRange a = TRY(range_of(a_type)), b = TRY(range_of(b_type));
  Value* sa = TRY(m.op("div", TRY(m.op("sub", a_max, a_min)), a.high - a.low));
  Value* sb = TRY(m.op("div", TRY(m.op("sub", b_max, b_min)), b.high - b.low));
  Value* step = TRY(m.op("mul", sa, sb));
  return std::vector<Value*>{TRY(m.op("mul", step, -std::ldexp(1, 31))),
                             TRY(m.op("mul", step, std::ldexp(1, 31)))};
}

// The integer that stands for 0; the nearest there is where the range does not include 0.
Result<Value*> zero_point(RuleContext& c, DType dtype, Value* min, Value* max) {
  const Maths m{c};
  const IntegerRange r = TRY(range_of(dtype));
  Value* scale = TRY(m.op("div", TRY(m.num(r.high - r.low)), TRY(m.op("sub", max, min))));
  Value* zero = TRY(m.round_away(TRY(m.op("mul", min, scale))));
  zero = TRY(m.op("sub", TRY(m.num(r.low)), zero));
  zero = TRY(c.builder.op("clip", {zero}, {{"min", r.low}, {"max", r.high}}));
  return cast_to(c, zero, dtype);
}

// Products of bytes, by a core op that takes them; of other integers in f32.
bool is_byte(DType t) {
  return t == DType::i8 || t == DType::u8;
}
Result<Value*> centred(RuleContext& c, Value* x, Value* zero) {
  return c.builder.op("sub", {TRY(cast_to(c, x, DType::f32)), TRY(cast_to(c, zero, DType::f32))});
}

// (x, filter, min x, max x, min filter, max filter) to i32 with its range.
Values quantized_conv(RuleContext& c) {
  Builder& b = c.builder;
  Value* w = c.inputs[1];
  const auto strides = TRY(c.node.attrs.get_ints("strides"));
  if (!w->shape().is_static() || w->shape().rank() != 4 || strides.size() != 4)
    return unsupported("the filter must have four known dimensions");
  Value* x = c.inputs[0];
  std::vector<int64_t> pads(4, 0);
  if (TRY(c.node.attrs.get_string("padding")) == "SAME")
    for (int i = 0; i < 2; ++i) {
      const auto k = static_cast<size_t>(i);
      const int64_t stride = strides[k + 1], kernel = w->shape()[i].size();
      const Dim d = TRY(rank_of(x)) == 4 ? x->shape()[i + 1] : Dim::unknown();
      if (stride < 1 || (stride != 1 && !d.known()))
        return unsupported("padding SAME needs the size of the input; give it with --input-shape");
      const int64_t out = stride == 1 ? 0 : (d.size() + stride - 1) / stride;
      const int64_t total =
          stride == 1 ? kernel - 1 : std::max<int64_t>((out - 1) * stride + kernel - d.size(), 0);
      pads[k] = total / 2;
      pads[k + 2] = total - total / 2;
    }
  Value* x_zero = TRY(zero_point(c, x->dtype(), c.inputs[2], c.inputs[3]));
  Value* w_zero = TRY(zero_point(c, w->dtype(), c.inputs[4], c.inputs[5]));
  const std::vector<Builder::Attr> attrs{{"strides", std::vector<int64_t>{strides[1], strides[2]}},
                                         {"pads", pads}};
  Value* y =
      is_byte(x->dtype()) && is_byte(w->dtype())
          ? TRY(b.op("quantized_conv", {x, w, x_zero, w_zero}, attrs))
          : TRY(b.op("conv", {TRY(centred(c, x, x_zero)), TRY(centred(c, w, w_zero))}, attrs));
  const auto range = TRY(product_range(c, c.inputs[0]->dtype(), c.inputs[2], c.inputs[3],
                                       w->dtype(), c.inputs[4], c.inputs[5]));
  return std::vector<Value*>{TRY(cast_to(c, y, DType::i32)), range[0], range[1]};
}

Result<Value*> transposed(RuleContext& c, Value* matrix) {
  return c.builder.op("transpose", {matrix}, {{"perm", std::vector<int64_t>{1, 0}}});
}

Values quantized_matmul(RuleContext& c) {
  Value *a = c.inputs[0], *w = c.inputs[1];
  if (TRY(c.node.attrs.get_bool("transpose_a", false))) a = TRY(transposed(c, a));
  if (TRY(c.node.attrs.get_bool("transpose_b", false))) w = TRY(transposed(c, w));
  Value* a_zero = TRY(zero_point(c, a->dtype(), c.inputs[2], c.inputs[3]));
  Value* w_zero = TRY(zero_point(c, w->dtype(), c.inputs[4], c.inputs[5]));
  Value* y =
      is_byte(a->dtype()) && is_byte(w->dtype())
          ? TRY(c.builder.op("quantized_matmul", {a, w, a_zero, w_zero}))
          : TRY(c.builder.op("matmul", {TRY(centred(c, a, a_zero)), TRY(centred(c, w, w_zero))}));
  const auto range = TRY(
      product_range(c, a->dtype(), c.inputs[2], c.inputs[3], w->dtype(), c.inputs[4], c.inputs[5]));
  return std::vector<Value*>{TRY(cast_to(c, y, DType::i32)), range[0], range[1]};
}

// (x, bias, min x, max x, min bias, max bias) to i32, with a range that holds every sum.
Values quantized_bias_add(RuleContext& c) {
  const Maths m{c};
  Value* x = TRY(dequantize_first(c, c.inputs[0], c.inputs[2], c.inputs[3]));
  Value* bias = TRY(dequantize_first(c, c.inputs[1], c.inputs[4], c.inputs[5]));
  Value* low = TRY(m.op("min", c.inputs[2], c.inputs[4]));
  Value* high = TRY(m.op("max", c.inputs[3], c.inputs[5]));
  Value* most = TRY(m.op("max", TRY(m.op("abs", low)), TRY(m.op("abs", high))));
  most = TRY(m.op("mul", most, std::ldexp(1, 17)));
  Value* least = TRY(m.op("neg", most));
  x = TRY(quantize_first(c, x, least, most, DType::i32));
  bias = TRY(quantize_first(c, bias, least, most, DType::i32));
  Value* zero = TRY(quantize_number(c, TRY(m.num(0)), least, most, DType::i32));
  return std::vector<Value*>{TRY(m.op("add", x, TRY(m.op("add", bias, zero)))), least, most};
}

// From i32 to u8 as TensorFlow does it: in fixed point, with 16 bits behind the point.
Result<Value*> shrink_to_byte(RuleContext& c, Value* min, Value* max) {
  Builder& b = c.builder;
  const Maths m{c};
  constexpr double kOne = 1 << 16, kMost = 255;
  const auto wide = [&](Value* v) { return cast_to(c, v, DType::f64); };
  const auto whole = [&](Value* v) { return cast_to(c, v, DType::i64); };
  const auto real = [&](double v) { return number(c, v, DType::f64); };
  const auto integer = [&](double v) { return number(c, v, DType::i64); };
  Value *from = c.inputs[1], *to = c.inputs[2];
  Value* in_range = TRY(wide(TRY(m.op("sub", to, from))));
  Value* out_range = TRY(m.op("sub", max, min));
  Value* per_step = TRY(m.op("div_no_nan", TRY(m.num(kMost)), out_range));
  out_range = TRY(wide(out_range));
  Value* scale = TRY(b.op("mul", {in_range, TRY(real(kMost * kOne))}));
  scale = TRY(whole(TRY(b.op("div_no_nan", {scale, out_range}))));
  Value* middle = TRY(m.op("mul", TRY(m.op("mul", TRY(m.op("add", from, to)), 0.5)), per_step));
  middle = TRY(whole(TRY(m.op("mul", middle, kOne))));
  Value* low = TRY(b.op("mul", {TRY(wide(min)), TRY(real(kMost * kOne))}));
  low = TRY(b.op("div_no_nan", {low, out_range}));
  low = TRY(whole(TRY(Maths{c, DType::f64}.round_away(low))));
  Value* offset = TRY(b.op("sub", {middle, low}));
  offset = TRY(b.op("add", {offset, TRY(integer(kOne / 2))}));
  Value* y = TRY(b.op("mul", {TRY(whole(c.inputs[0])), scale}));
  y = TRY(b.op("shift_right", {y, TRY(integer(32))}));
  y = TRY(b.op("shift_right", {TRY(b.op("add", {y, offset})), TRY(integer(16))}));
  y = TRY(b.op("min", {TRY(b.op("max", {y, TRY(integer(0))})), TRY(integer(kMost))}));
  return cast_to(c, y, DType::u8);
}

// What the lowest of integers stands for, or 0 below it, and the highest.
Values requantization_range(RuleContext& c) {
  const Maths m{c};
  Value* least = TRY(m.op("reduce_min", c.inputs[0]));
  Value* most = TRY(m.op("reduce_max", c.inputs[0]));
  least = TRY(dequantize_number(c, least, c.inputs[1], c.inputs[2]));
  most = TRY(dequantize_number(c, most, c.inputs[1], c.inputs[2]));
  return std::vector<Value*>{TRY(m.op("min", least, 0.0)), most};
}

// To fewer bits: over a range given, or over that of the values.
Values requantize(RuleContext& c) {
  const DType out = TRY(dtype_attr(c, "out_type", DataType::qu8));
  Value *min = nullptr, *max = nullptr;
  if (c.inputs.size() > 4) {
    min = c.inputs[3];
    max = c.inputs[4];
  } else {
    const auto range = TRY(requantization_range(c));
    min = range[0];
    max = range[1];
  }
  if (out == DType::u8 && c.inputs[0]->dtype() == DType::i32)
    return std::vector<Value*>{TRY(shrink_to_byte(c, min, max)), min, max};
  Value* x = TRY(dequantize_first(c, c.inputs[0], c.inputs[1], c.inputs[2]));
  return std::vector<Value*>{TRY(quantize_first(c, x, min, max, out)), min, max};
}

// Limits at the integers that stand for 0 and, for Relu6, 6.
Values quantized_relu(RuleContext& c) {
  const Maths m{c};
  Value *x = c.inputs[0], *min = c.inputs[1], *max = c.inputs[2];
  Value* zero = TRY(quantize_number(c, TRY(m.num(0)), min, max, x->dtype()));
  Value* y = TRY(c.builder.op("max", {x, zero}));
  if (c.node.op == "QuantizedRelu6")
    y = TRY(c.builder.op("min", {y, TRY(quantize_number(c, TRY(m.num(6)), min, max, x->dtype()))}));
  return std::vector<Value*>{y, min, max};
}

// The largest of integers is that of what they stand for; their mean is cut off towards 0.
Values quantized_pool(RuleContext& c) {
  const bool averages = c.node.op == "QuantizedAvgPool";
  const auto kernel = TRY(c.node.attrs.get_ints("ksize"));
  const auto strides = TRY(c.node.attrs.get_ints("strides"));
  if (kernel.size() != 4 || strides.size() != 4)
    return unsupported("only over two spatial dimensions");
  const bool same = TRY(c.node.attrs.get_string("padding")) == "SAME";
  const std::vector<Builder::Attr> attrs{{"kernel", std::vector<int64_t>{kernel[1], kernel[2]}},
                                         {"strides", std::vector<int64_t>{strides[1], strides[2]}},
                                         {"auto_pad", std::string(same ? "same_upper" : "none")}};
  Value *x = c.inputs[0], *y = nullptr;
  if (averages) {
    // A whole mean may come out a little too small.
    const Maths m{c};
    y = TRY(c.builder.op("avg_pool", {TRY(cast_to(c, x, m.t))}, attrs));
    y = TRY(m.op("add", y, TRY(m.op("mul", TRY(m.op("sign", y)), 1e-4))));
    y = TRY(cast_to(c, y, x->dtype()));
  } else {
    y = TRY(c.builder.op("max_pool", {x}, attrs));
  }
  return std::vector<Value*>{y, c.inputs[1], c.inputs[2]};
}

Values quantized_reshape(RuleContext& c) {
  Value* y = TRY(c.builder.op("reshape", {c.inputs[0], c.inputs[1]}, {{"allow_zero", true}}));
  return std::vector<Value*>{y, c.inputs[2], c.inputs[3]};
}

// Integers over one range as integers over another, step by step as TensorFlow does it in f32; over
// the same range they stay what they are.
Result<Value*> to_range(RuleContext& c, Value* x, Value* low, Value* high, Value* new_low,
                        Value* new_high) {
  const Maths m{c};
  const DType t = x->dtype();
  const IntegerRange r = TRY(range_of(t));
  const double steps = r.steps() - 1;
  Value* scale = TRY(m.op("div", TRY(m.op("sub", high, low)), steps));
  Value* first = TRY(m.op("mul", TRY(m.round_away(TRY(m.op("div", low, scale)))), scale));
  Value* y = TRY(m.op("sub", TRY(cast_to(c, x, m.t)), r.low));
  y = TRY(m.op("add", TRY(m.op("mul", y, scale)), first));
  scale = TRY(m.op("div", TRY(m.num(steps)), TRY(m.op("sub", new_high, new_low))));
  first = TRY(m.op("sub", TRY(m.round_away(TRY(m.op("mul", new_low, scale)))), r.low));
  y = TRY(m.op("sub", TRY(m.round_away(TRY(m.op("mul", y, scale)))), first));
  y = TRY(cast_to(c, TRY(c.builder.op("clip", {y}, {{"min", r.low}, {"max", r.high}})), t));
  Value* same = TRY(
      m.op("logical_and", TRY(m.op("equal", low, new_low)), TRY(m.op("equal", high, new_high))));
  return c.builder.op("select", {same, x, y});
}

// (axis, tensors, lowest and highest real numbers of each): over a range that holds all and 0.
Values quantized_concat(RuleContext& c) {
  const Maths m{c};
  const size_t n = (c.inputs.size() - 1) / 3;
  if (n < 1 || c.inputs.size() != 3 * n + 1)
    return invalid_model("each tensor needs a lowest and a highest number");
  const DType t = c.inputs[1]->dtype();
  Value *low = TRY(m.num(0)), *high = c.inputs[1 + 2 * n];
  for (size_t i = 0; i < n; ++i) {
    low = TRY(m.op("min", low, c.inputs[1 + n + i]));
    high = TRY(m.op("max", high, c.inputs[1 + 2 * n + i]));
  }
  if (is_signed_int(t)) {
    high = TRY(m.op("max", TRY(m.op("abs", low)), TRY(m.op("abs", high))));
    low = TRY(m.op("neg", high));
  }
  std::vector<Value*> parts;
  for (size_t i = 0; i < n; ++i) {
    Value *own_low = c.inputs[1 + n + i], *own_high = c.inputs[1 + 2 * n + i];
    parts.push_back(TRY(to_range(c, c.inputs[1 + i], own_low, own_high, low, high)));
  }
  return std::vector<Value*>{TRY(join(c, parts, TRY(c.int_scalar(0)))), low, high};
}

// (x, y, lowest and highest of x, of y) to i32: with a range that holds every sum.
Values quantized_add(RuleContext& c) {
  const Maths m{c};
  Value* x = TRY(dequantize_number(c, c.inputs[0], c.inputs[2], c.inputs[3]));
  Value* y = TRY(dequantize_number(c, c.inputs[1], c.inputs[4], c.inputs[5]));
  Value* low = TRY(m.op("min", c.inputs[2], c.inputs[4]));
  Value* high = TRY(m.op("max", c.inputs[3], c.inputs[5]));
  Value* most = TRY(m.op("max", TRY(m.op("abs", low)), TRY(m.op("abs", high))));
  most = TRY(m.op("mul", most, std::ldexp(1, 14)));
  Value* least = TRY(m.op("neg", most));
  Value* sum = TRY(quantize_number(c, TRY(m.op("add", x, y)), least, most, DType::i32));
  return std::vector<Value*>{sum, least, most};
}

Values quantized_mul(RuleContext& c) {
  Value *x = c.inputs[0], *y = c.inputs[1];
  Value* x_zero = TRY(zero_point(c, x->dtype(), c.inputs[2], c.inputs[3]));
  Value* y_zero = TRY(zero_point(c, y->dtype(), c.inputs[4], c.inputs[5]));
  Value* z = TRY(c.builder.op("mul", {TRY(centred(c, x, x_zero)), TRY(centred(c, y, y_zero))}));
  const auto range = TRY(
      product_range(c, x->dtype(), c.inputs[2], c.inputs[3], y->dtype(), c.inputs[4], c.inputs[5]));
  return std::vector<Value*>{TRY(cast_to(c, z, DType::i32)), range[0], range[1]};
}

constexpr RuleEntry kRules[] = {
    {"QuantizeDownAndShrinkRange", requantize, 3},
    {"QuantizedAdd", quantized_add, 6},
    {"QuantizedAvgPool", quantized_pool, 3},
    {"QuantizedBiasAdd", quantized_bias_add, 6},
    {"QuantizedConcat", quantized_concat, 4},
    {"QuantizedConv2D", quantized_conv, 6},
    {"QuantizedMatMul", quantized_matmul, 6},
    {"QuantizedMaxPool", quantized_pool, 3},
    {"QuantizedMul", quantized_mul, 6},
    {"QuantizedRelu", quantized_relu, 3},
    {"QuantizedRelu6", quantized_relu, 3},
    {"QuantizedReshape", quantized_reshape, 4},
    {"RequantizationRange", requantization_range, 3},
    {"Requantize", requantize, 5},
};

}  // namespace

std::span<const RuleEntry> quant_layer_rules() {
  return kRules;
}

}  // namespace tenon::tf
