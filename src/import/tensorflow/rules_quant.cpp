// Rules of quantisation. TensorFlow's quantised tensors are integers with the real numbers that
// their lowest and highest values stand for as further tensors.
#include <cmath>
#include <limits>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

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

Result<IntegerRange> range_of(DType dtype) {
  if (!is_int(dtype) || dtype_size(dtype) > 4)
    return unsupported("quantised numbers of 8, 16 or 32 bits are expected");
  const int bits = 8 * static_cast<int>(dtype_size(dtype));
  if (is_unsigned_int(dtype)) return IntegerRange{0, std::ldexp(1, bits) - 1};
  return IntegerRange{-std::ldexp(1, bits - 1), std::ldexp(1, bits - 1) - 1};
}

// What the ranges [min, max] of `bits` bits become when shifted so that 0 is a level.
Values fake_quant_args(RuleContext& c) {
  return one(c.builder.op("fake_quant", {c.inputs[0]},
                          {{"min", static_cast<double>(TRY(c.node.attrs.get_float("min", -6)))},
                           {"max", static_cast<double>(TRY(c.node.attrs.get_float("max", 6)))},
                           {"bits", TRY(c.node.attrs.get_int("num_bits", 8))},
                           {"narrow", TRY(c.node.attrs.get_bool("narrow_range", false))}}));
}

// FakeQuantWithMinMaxVars and its form per channel: min and max are operands.
Values fake_quant_vars(RuleContext& c) {
  const Maths m{c};
  Value *x = c.inputs[0], *min = c.inputs[1], *max = c.inputs[2];
  const int64_t bits = TRY(c.node.attrs.get_int("num_bits", 8));
  const bool narrow = TRY(c.node.attrs.get_bool("narrow_range", false));
  if (bits < 2 || bits > 16) return invalid_model("num_bits is out of range");
  const auto low = reals(c, 1), high = reals(c, 2);
  if (low.ok() && high.ok() && low->size() == 1 && high->size() == 1)
    return one(c.builder.op(
        "fake_quant", {x},
        {{"min", (*low)[0]}, {"max", (*high)[0]}, {"bits", bits}, {"narrow", narrow}}));
  const double bottom = narrow ? 1 : 0, top = std::ldexp(1, static_cast<int>(bits)) - 1;
  Value* scale = TRY(m.op("div", TRY(m.op("sub", max, min)), top - bottom));
  Value* zero = TRY(m.op("sub", TRY(m.num(bottom)), TRY(m.op("div", min, scale))));
  zero = TRY(m.op("floor", TRY(m.op("add", zero, 0.5))));
  zero = TRY(c.builder.op("clip", {zero}, {{"min", bottom}, {"max", top}}));
  Value* least = TRY(m.op("mul", TRY(m.op("sub", TRY(m.num(bottom)), zero)), scale));
  Value* most = TRY(m.op("mul", TRY(m.op("sub", TRY(m.num(top)), zero)), scale));
  Value* y = TRY(m.op("sub", TRY(m.op("min", TRY(m.op("max", x, least)), most)), least));
  y = TRY(m.op("floor", TRY(m.op("add", TRY(m.op("div", y, scale)), 0.5))));
  y = TRY(m.op("add", TRY(m.op("mul", y, scale)), least));
  // A range without width gives zeros.
  Value* empty = TRY(m.op("equal", max, min));
  return one(c.builder.op("select", {empty, TRY(m.num(0)), y}));
}

// x as integers of `dtype` over the range [min, max] by the first-value scheme: real 0 is an
// integer, and the lowest integer stands for min.
Result<Value*> quantize_first(RuleContext& c, Value* x, Value* min, Value* max, DType dtype) {
  // Integers of 32 bits have more digits than f32.
  const Maths m{c, dtype_size(dtype) == 4 ? DType::f64 : DType::f32};
  const IntegerRange range = TRY(range_of(dtype));
  for (Value** v : {&x, &min, &max}) *v = TRY(cast_to(c, *v, m.t));
  const double adjust = range.steps() / (range.steps() - 1);
  Value* width = TRY(m.op("mul", TRY(m.op("sub", max, min)), adjust));
  Value* scale = TRY(m.op("div", TRY(m.num(range.steps())), width));
  Value* offset = TRY(m.round_away(TRY(m.op("mul", min, scale))));
  Value* y = TRY(m.op("sub", TRY(m.round_away(TRY(m.op("mul", x, scale)))), offset));
  y = TRY(m.op("add", y, range.low));
  y = TRY(c.builder.op("clip", {y}, {{"min", range.low}, {"max", range.high}}));
  return cast_to(c, y, dtype);
}

// Integers of 32 bits have more digits than f32: as TensorFlow does, all but the first step is f64.
Result<Value*> dequantize_first(RuleContext& c, Value* x, Value* min, Value* max) {
  const Maths m{c};
  const IntegerRange range = TRY(range_of(x->dtype()));
  const double adjust = range.steps() / (range.steps() - 1);
  if (dtype_size(x->dtype()) == 4) {
    const Maths wide{c, DType::f64};
    Value* width = TRY(cast_to(c, TRY(m.op("sub", max, min)), DType::f64));
    Value* scale = TRY(wide.op("div", TRY(wide.op("mul", width, adjust)), range.steps()));
    Value* narrow = TRY(cast_to(c, scale, DType::f32));
    Value* first = TRY(m.op("mul", TRY(m.round_away(TRY(m.op("div", min, narrow)))), narrow));
    Value* y = TRY(wide.op("sub", TRY(cast_to(c, x, DType::f64)), range.low));
    y = TRY(wide.op("add", TRY(wide.op("mul", y, scale)), TRY(cast_to(c, first, DType::f64))));
    return cast_to(c, y, DType::f32);
  }
  Value* width = TRY(m.op("mul", TRY(m.op("sub", max, min)), adjust));
  Value* scale = TRY(m.op("div", width, range.steps()));
  Value* first = TRY(m.op("mul", TRY(m.round_away(TRY(m.op("div", min, scale)))), scale));
  Value* y = TRY(m.op("sub", TRY(cast_to(c, x, DType::f32)), range.low));
  return m.op("add", TRY(m.op("mul", y, scale)), first);
}

// The scale that one end of the range allows; an end on the other side of 0 does not count.
Result<Value*> scale_of_side(RuleContext& c, Value* end, double limit) {
  const Maths m{c, end->dtype()};
  constexpr double kHuge = std::numeric_limits<float>::max();
  Value* counts = TRY(m.op(limit > 0 ? "greater" : "less", end, 0.0));
  return c.builder.op("select",
                      {counts, TRY(m.op("div", TRY(m.num(limit)), end)), TRY(m.num(kHuge))});
}

Values quantize_v2(RuleContext& c) {
  const Maths m{c};
  const std::string_view mode = TRY(c.node.attrs.get_string("mode", "MIN_COMBINED"));
  const bool even =
      TRY(c.node.attrs.get_string("round_mode", "HALF_AWAY_FROM_ZERO")) == "HALF_TO_EVEN";
  const bool narrow = TRY(c.node.attrs.get_bool("narrow_range", false));
  const int64_t axis = TRY(c.node.attrs.get_int("axis", -1));
  const double least_width =
      static_cast<double>(TRY(c.node.attrs.get_float("ensure_minimum_range", 0.01f)));
  const DType dtype = TRY(dtype_attr(c, "T", DataType::qu8));
  const IntegerRange range = TRY(range_of(dtype));
  Value* x = c.inputs[0];
  // The range includes 0 and is not empty.
  Value* min = TRY(m.op("min", c.inputs[1], 0.0));
  Value* size = TRY(m.op(
      "max", TRY(m.op("max", TRY(m.op("abs", c.inputs[1])), TRY(m.op("abs", c.inputs[2])))), 1.0));
  Value* max =
      TRY(m.op("max", c.inputs[2], TRY(m.op("add", min, TRY(m.op("mul", size, least_width))))));
  max = TRY(m.op("max", max, 0.0));
  Value *near = TRY(along_axis(c, min, x, axis)), *far = TRY(along_axis(c, max, x, axis));
  const auto rounded = [&](Value* v) -> Result<Value*> {
    Value* r = even ? TRY(m.op("round", v)) : TRY(m.round_away(v));
    const bool skips = narrow && mode == "SCALED";
    r = TRY(c.builder.op("clip", {r},
                         {{"min", skips ? range.low + 1 : range.low}, {"max", range.high}}));
    return cast_to(c, r, dtype);
  };
  if (mode == "MIN_FIRST")
    return std::vector<Value*>{TRY(quantize_first(c, x, near, far, dtype)), min, max};
  if (mode == "MIN_COMBINED") {
    Value* scale =
        TRY(m.op("div", TRY(m.num(range.high - range.low)), TRY(m.op("sub", far, near))));
    Value* y = TRY(m.op("min", TRY(m.op("max", x, near)), far));
    y = TRY(m.op("mul", TRY(m.op("sub", y, near)), scale));
    if (range.low < 0) y = TRY(m.op("sub", y, range.steps() / 2));
    return std::vector<Value*>{TRY(rounded(y)), min, max};
  }
  if (mode != "SCALED") return unsupported("this mode of quantisation");
  // The scale that both ends of the range allow.
  const double low = narrow ? range.low + 1 : range.low;
  const auto scale_of = [&](Value* a, Value* b) -> Result<Value*> {
    Value* s = TRY(scale_of_side(c, b, range.high));
    if (low == 0) return s;
    return m.op("min", s, TRY(scale_of_side(c, a, low)));
  };
  Value* scale = TRY(scale_of(near, far));
  Value* y = TRY(rounded(TRY(m.op("mul", x, scale))));
  Value* flat = TRY(scale_of(min, max));
  return std::vector<Value*>{y, TRY(m.op("div", TRY(m.num(low)), flat)),
                             TRY(m.op("div", TRY(m.num(range.high)), flat))};
}

Values dequantize(RuleContext& c) {
  const Maths m{c};
  const std::string_view mode = TRY(c.node.attrs.get_string("mode", "MIN_COMBINED"));
  const int64_t axis = TRY(c.node.attrs.get_int("axis", -1));
  const bool narrow = TRY(c.node.attrs.get_bool("narrow_range", false));
  const DType out = TRY(dtype_attr(c, "dtype", DataType::f32));
  Value* x = c.inputs[0];
  const IntegerRange range = TRY(range_of(x->dtype()));
  Value* min = TRY(along_axis(c, c.inputs[1], x, axis));
  Value* max = TRY(along_axis(c, c.inputs[2], x, axis));
  Value* y = nullptr;
  if (mode == "MIN_FIRST") {
    y = TRY(dequantize_first(c, x, min, max));
  } else if (mode == "MIN_COMBINED") {
    Value* scale = TRY(m.op("div", TRY(m.op("sub", max, min)), range.high - range.low));
    y = TRY(cast_to(c, x, DType::f32));
    if (range.low < 0) y = TRY(m.op("add", y, range.steps() / 2));
    y = TRY(m.op("add", TRY(m.op("mul", y, scale)), min));
  } else if (mode == "SCALED") {
    Value* scale = TRY(m.op("div", max, range.high));
    const double low = narrow ? range.low + 1 : range.low;
    if (low < 0) scale = TRY(m.op("max", scale, TRY(m.op("div", min, low))));
    y = TRY(m.op("mul", TRY(cast_to(c, x, DType::f32)), scale));
  } else {
    return unsupported("this mode of dequantisation");
  }
  return one(cast_to(c, y, out));
}

// QuantizeAndDequantize, V2, V3 (the number of bits is an operand) and V4.
Values quantize_and_dequantize(RuleContext& c) {
  Value* x = c.inputs[0];
  const Maths m{c, x->dtype()};
  const bool is_signed = TRY(c.node.attrs.get_bool("signed_input", true));
  const bool narrow = TRY(c.node.attrs.get_bool("narrow_range", false));
  const int64_t axis = TRY(c.node.attrs.get_int("axis", -1));
  const bool up = TRY(c.node.attrs.get_string("round_mode", "HALF_TO_EVEN")) == "HALF_UP";
  const bool v1 = c.node.op == "QuantizeAndDequantize", v3 = c.node.op.ends_with("V3");
  const int64_t bits = v3 ? TRY(c.int_scalar(3)) : TRY(c.node.attrs.get_int("num_bits", 8));
  if (bits < 2 || bits > 32) return invalid_model("num_bits is out of range");
  Value *min = nullptr, *max = nullptr;
  const bool given = TRY(c.node.attrs.get_bool("range_given", v3));
  if (!given) {
    std::vector<int64_t> axes;
    if (axis != -1)
      for (int i = 0; i < TRY(rank_of(x)); ++i)
        if (i != axis) axes.push_back(i);
    min = TRY(c.builder.op("reduce_min", {x}, {{"axes", axes}, {"keep_dims", axis != -1}}));
    max = TRY(c.builder.op("reduce_max", {x}, {{"axes", axes}, {"keep_dims", axis != -1}}));
  } else if (v1) {
    min = TRY(m.num(TRY(c.node.attrs.get_float("input_min", 0))));
    max = TRY(m.num(TRY(c.node.attrs.get_float("input_max", 0))));
  } else {
    if (c.inputs.size() < 3) return invalid_model("the range is missing");
    min = TRY(along_axis(c, c.inputs[1], x, axis));
    max = TRY(along_axis(c, c.inputs[2], x, axis));
  }
  const int power = static_cast<int>(bits) - (is_signed ? 1 : 0);
  const double high = std::ldexp(1, power) - 1;
  const double low = is_signed ? -std::ldexp(1, power) + (narrow ? 1 : 0) : 0;
  Value* scale = TRY(scale_of_side(c, max, high));
  if (low < 0) scale = TRY(m.op("min", scale, TRY(scale_of_side(c, min, low))));
  Value* y = x;
  // Within their own range no value is out of it, but of negative ones without a sign.
  if (given) {
    Value* least = TRY(m.op("div", TRY(m.num(low)), scale));
    Value* most = TRY(m.op("div", TRY(m.num(high)), scale));
    y = TRY(m.op("min", TRY(m.op("max", x, least)), most));
  }
  y = TRY(m.op("mul", y, scale));
  y = up ? TRY(m.op("floor", TRY(m.op("add", y, 0.5)))) : TRY(m.op("round", y));
  return one(m.op("div", y, scale));
}

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
  Value* y = TRY(quantize_first(c, TRY(m.op("add", x, bias)), least, most, DType::i32));
  return std::vector<Value*>{y, least, most};
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
  low = TRY(whole(TRY(b.op("div_no_nan", {low, out_range}))));
  Value* offset = TRY(b.op("sub", {middle, low}));
  offset = TRY(b.op("add", {offset, TRY(integer(kOne / 2))}));
  Value* y = TRY(b.op("mul", {TRY(whole(c.inputs[0])), scale}));
  y = TRY(b.op("shift_right", {y, TRY(integer(32))}));
  y = TRY(b.op("shift_right", {TRY(b.op("add", {y, offset})), TRY(integer(16))}));
  y = TRY(b.op("min", {TRY(b.op("max", {y, TRY(integer(0))})), TRY(integer(kMost))}));
  return cast_to(c, y, DType::u8);
}

// To fewer bits: over a range given, or over that of the values.
Values requantize(RuleContext& c) {
  const DType out = TRY(dtype_attr(c, "out_type", DataType::qu8));
  Value* x = TRY(dequantize_first(c, c.inputs[0], c.inputs[1], c.inputs[2]));
  Value *min = nullptr, *max = nullptr;
  if (c.inputs.size() > 4) {
    min = c.inputs[3];
    max = c.inputs[4];
  } else {
    const Maths m{c};
    min = TRY(m.op("min", TRY(m.op("reduce_min", x)), 0.0));
    max = TRY(m.op("max", TRY(m.op("reduce_max", x)), 0.0));
  }
  if (out != DType::u8 || c.inputs[0]->dtype() != DType::i32)
    return std::vector<Value*>{TRY(quantize_first(c, x, min, max, out)), min, max};
  return std::vector<Value*>{TRY(shrink_to_byte(c, min, max)), min, max};
}

Values requantization_range(RuleContext& c) {
  const Maths m{c};
  Value* x = TRY(dequantize_first(c, c.inputs[0], c.inputs[1], c.inputs[2]));
  return std::vector<Value*>{TRY(m.op("min", TRY(m.op("reduce_min", x)), 0.0)),
                             TRY(m.op("max", TRY(m.op("reduce_max", x)), 0.0))};
}

// Limits at the integers that stand for 0 and, for Relu6, 6.
Values quantized_relu(RuleContext& c) {
  const Maths m{c};
  Value *x = c.inputs[0], *min = c.inputs[1], *max = c.inputs[2];
  Value* zero = TRY(quantize_first(c, TRY(m.num(0)), min, max, x->dtype()));
  Value* y = TRY(c.builder.op("max", {x, zero}));
  if (c.node.op == "QuantizedRelu6")
    y = TRY(c.builder.op("min", {y, TRY(quantize_first(c, TRY(m.num(6)), min, max, x->dtype()))}));
  return std::vector<Value*>{y, min, max};
}

// The largest of integers is that of what they stand for.
Values quantized_max_pool(RuleContext& c) {
  const auto kernel = TRY(c.node.attrs.get_ints("ksize"));
  const auto strides = TRY(c.node.attrs.get_ints("strides"));
  if (kernel.size() != 4 || strides.size() != 4)
    return unsupported("only over two spatial dimensions");
  const bool same = TRY(c.node.attrs.get_string("padding")) == "SAME";
  Value* y = TRY(c.builder.op("max_pool", {c.inputs[0]},
                              {{"kernel", std::vector<int64_t>{kernel[1], kernel[2]}},
                               {"strides", std::vector<int64_t>{strides[1], strides[2]}},
                               {"auto_pad", std::string(same ? "same_upper" : "none")}}));
  return std::vector<Value*>{y, c.inputs[1], c.inputs[2]};
}

Values quantized_reshape(RuleContext& c) {
  Value* y = TRY(c.builder.op("reshape", {c.inputs[0], c.inputs[1]}, {{"allow_zero", true}}));
  return std::vector<Value*>{y, c.inputs[2], c.inputs[3]};
}

constexpr RuleEntry kRules[] = {
    {"Dequantize", dequantize, 3},
    {"FakeQuantWithMinMaxArgs", fake_quant_args},
    {"FakeQuantWithMinMaxVars", fake_quant_vars, 3},
    {"FakeQuantWithMinMaxVarsPerChannel", fake_quant_vars, 3},
    {"QuantizeAndDequantize", quantize_and_dequantize},
    {"QuantizeAndDequantizeV2", quantize_and_dequantize, 3},
    {"QuantizeAndDequantizeV3", quantize_and_dequantize, 4},
    {"QuantizeAndDequantizeV4", quantize_and_dequantize, 3},
    {"QuantizeDownAndShrinkRange", requantize, 3},
    {"QuantizeV2", quantize_v2, 3},
    {"QuantizedBiasAdd", quantized_bias_add, 6},
    {"QuantizedConv2D", quantized_conv, 6},
    {"QuantizedMatMul", quantized_matmul, 6},
    {"QuantizedMaxPool", quantized_max_pool, 3},
    {"QuantizedRelu", quantized_relu, 3},
    {"QuantizedRelu6", quantized_relu, 3},
    {"QuantizedReshape", quantized_reshape, 4},
    {"RequantizationRange", requantization_range, 3},
    {"Requantize", requantize, 5},
};

}  // namespace

std::span<const RuleEntry> quant_rules() {
  return kRules;
}

}  // namespace tenon::tf
