// Rules of quantisation. TensorFlow's quantised tensors are integers with the real numbers that
// their lowest and highest values stand for as further tensors.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>

#include "import/tensorflow/quant.h"
#include "ops/quantize.h"

namespace tenon::tf {
Result<IntegerRange> range_of(DType dtype) {
  if (!is_int(dtype) || dtype_size(dtype) > 4)
    return unsupported("quantised numbers of 8, 16 or 32 bits are expected");
  const int bits = 8 * static_cast<int>(dtype_size(dtype));
  if (is_unsigned_int(dtype)) return IntegerRange{0, std::ldexp(1, bits) - 1};
  return IntegerRange{-std::ldexp(1, bits - 1), std::ldexp(1, bits - 1) - 1};
}

namespace {

// What the ranges [min, max] of `bits` bits become when shifted so that 0 is a level.
Values fake_quant_args(RuleContext& c) {
  return one(c.builder.op("fake_quant", {c.inputs[0]},
                          {{"min", static_cast<double>(TRY(c.node.attrs.get_float("min", -6)))},
                           {"max", static_cast<double>(TRY(c.node.attrs.get_float("max", 6)))},
                           {"bits", TRY(c.node.attrs.get_int("num_bits", 8))},
                           {"narrow", TRY(c.node.attrs.get_bool("narrow_range", false))}}));
}

// Constant weights, whose ranges are one per channel, as integers of their own scales.
Values fake_quant_weights(RuleContext& c, const Tensor& w, const std::vector<double>& min,
                          const std::vector<double>& max, int64_t bits, bool narrow) {
  Tensor integers = TRY(Tensor::allocate(DType::u8, w.dims()));
  std::vector<float> scales, lowest, highest;
  std::vector<uint8_t> zeros;
  const float bottom = narrow ? 1 : 0;
  for (size_t i = 0; i < min.size(); ++i) {
    const auto [from, to, step] = FakeQuant{min[i], max[i], bits, narrow}.levels();
    scales.push_back(step);
    lowest.push_back(from);
    highest.push_back(to);
    zeros.push_back(static_cast<uint8_t>(std::nearbyint(bottom - from / step)));
  }
  for (int64_t i = 0; i < w.elements(); ++i) {
    const auto k = static_cast<size_t>(i) % min.size();
    const float x = std::clamp(w.data<float>()[i], lowest[k], highest[k]);
    integers.mutable_data<uint8_t>()[i] =
        static_cast<uint8_t>(std::floor((x - lowest[k]) * (1 / scales[k]) + 0.5f) + bottom);
  }
  return one(c.builder.op("dequantize_linear",
                          {c.builder.constant(integers), c.builder.constant(Tensor::vector(scales)),
                           c.builder.constant(Tensor::vector(zeros))},
                          {{"axis", int64_t{w.rank() - 1}}}));
}

// What is computed of constants alone, such as the largest of weights.
std::optional<Tensor> computed(const Value* v, int depth = 12) {
  if (v == nullptr || v->constant() != nullptr)
    return v == nullptr ? std::nullopt : std::optional(*v->constant());
  const Node* node = v->producer();
  if (depth == 0 || node == nullptr || node->input_count() == 0 || node->output_count() != 1 ||
      !node->regions().empty() || !node->def().has_eval || node->def().has(kRandom))
    return std::nullopt;
  std::vector<Tensor> operands;
  for (const Value* x : node->inputs()) {
    auto operand = x == nullptr ? std::optional(Tensor()) : computed(x, depth - 1);
    if (!operand) return std::nullopt;
    operands.push_back(*std::move(operand));
  }
  const auto results = evaluate(node->op(), operands);
  return results.ok() && (*results)[0].defined() ? std::optional((*results)[0]) : std::nullopt;
}

std::vector<double> computed_reals(const Value* v) {
  const auto t = computed(v);
  std::vector<double> values;
  for (int64_t i = 0; t && !t->is_list() && is_float(t->dtype()) && i < t->elements(); ++i)
    values.push_back(t->real_at(i));
  return values;
}

// FakeQuantWithMinMaxVars and its form per channel: min and max are operands.
Values fake_quant_vars(RuleContext& c) {
  const Maths m{c};
  Value *x = c.inputs[0], *min = c.inputs[1], *max = c.inputs[2];
  const int64_t bits = TRY(c.node.attrs.get_int("num_bits", 8));
  const bool narrow = TRY(c.node.attrs.get_bool("narrow_range", false));
  if (bits < 2 || bits > 16) return invalid_model("num_bits is out of range");
  const auto low = computed_reals(min), high = computed_reals(max);
  if (low.size() == 1 && high.size() == 1)
    return one(
        c.builder.op("fake_quant", {x},
                     {{"min", low[0]}, {"max", high[0]}, {"bits", bits}, {"narrow", narrow}}));
  const Tensor* w = x->constant();
  constexpr int64_t kByte = 8;
  if (w != nullptr && w->dtype() == DType::f32 && w->rank() > 0 && bits <= kByte &&
      std::ssize(low) == w->dim(w->rank() - 1) && low.size() == high.size() &&
      std::ranges::equal(low, high, std::less<>()))
    return fake_quant_weights(c, *w, low, high, bits, narrow);
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

}  // namespace

namespace {

// Steps per real number, or the other way around; 32 bits have more of them than f32 can count.
Result<Value*> steps_per_real(RuleContext& c, Value* width, double steps, bool inverse) {
  const Maths m{c, steps > (1 << 24) ? DType::f64 : DType::f32};
  width = TRY(cast_to(c, width, m.t));
  Value* ratio =
      inverse ? TRY(m.op("div", width, steps)) : TRY(m.op("div_no_nan", TRY(m.num(steps)), width));
  return cast_to(c, ratio, DType::f32);
}

}  // namespace

Result<Value*> quantize_first(RuleContext& c, Value* x, Value* min, Value* max, DType dtype) {
  const Maths m{c};
  const IntegerRange range = TRY(range_of(dtype));
  Value* scale = TRY(steps_per_real(c, TRY(m.op("sub", max, min)), range.steps() - 1, false));
  Value* first = TRY(m.op("sub", TRY(m.round_away(TRY(m.op("mul", min, scale)))), range.low));
  Value* y = TRY(m.op("sub", TRY(m.round_away(TRY(m.op("mul", x, scale)))), first));
  // The highest of 32 bits that is a number of f32.
  constexpr double kMost = 2147483520;
  y = TRY(c.builder.op("clip", {y}, {{"min", range.low}, {"max", std::min(range.high, kMost)}}));
  return cast_to(c, y, dtype);
}

Result<Value*> dequantize_first(RuleContext& c, Value* x, Value* min, Value* max) {
  const Maths m{c};
  const IntegerRange range = TRY(range_of(x->dtype()));
  Value* scale = TRY(steps_per_real(c, TRY(m.op("sub", max, min)), range.steps() - 1, true));
  Value* first = TRY(m.op("mul", TRY(m.round_away(TRY(m.op("div", min, scale)))), scale));
  if (range.low != 0) first = TRY(m.op("sub", first, TRY(m.op("mul", scale, range.low))));
  return m.op("add", TRY(m.op("mul", TRY(cast_to(c, x, DType::f32)), scale)), first);
}

Result<Value*> quantize_number(RuleContext& c, Value* x, Value* min, Value* max, DType dtype) {
  const Maths m{c}, wide{c, DType::f64};
  const IntegerRange range = TRY(range_of(dtype));
  const double adjust = range.steps() / (range.steps() - 1);
  Value* width = TRY(cast_to(c, TRY(m.op("sub", max, min)), DType::f64));
  Value* scale =
      TRY(wide.op("div", TRY(wide.num(range.steps())), TRY(wide.op("mul", width, adjust))));
  const auto scaled = [&](Value* v) -> Result<Value*> {
    return wide.round_away(TRY(wide.op("mul", TRY(cast_to(c, v, DType::f64)), scale)));
  };
  Value* y = TRY(wide.op("sub", TRY(scaled(x)), TRY(scaled(min))));
  y = TRY(wide.op("add", y, range.low));
  y = TRY(c.builder.op("clip", {y}, {{"min", range.low}, {"max", range.high}}));
  return cast_to(c, y, dtype);
}

Result<Value*> dequantize_number(RuleContext& c, Value* x, Value* min, Value* max) {
  const Maths m{c}, wide{c, DType::f64};
  const IntegerRange range = TRY(range_of(x->dtype()));
  const double adjust = range.steps() / (range.steps() - 1);
  Value* width = TRY(cast_to(c, TRY(m.op("sub", max, min)), DType::f64));
  Value* scale = TRY(wide.op("div", TRY(wide.op("mul", width, adjust)), range.steps()));
  Value* narrow = TRY(cast_to(c, scale, DType::f32));
  Value* first = TRY(m.op("mul", TRY(m.round_away(TRY(m.op("div", min, narrow)))), narrow));
  Value* y = TRY(wide.op("sub", TRY(cast_to(c, x, DType::f64)), range.low));
  y = TRY(wide.op("add", TRY(wide.op("mul", y, scale)), TRY(cast_to(c, first, DType::f64))));
  return cast_to(c, y, DType::f32);
}

namespace {

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

constexpr RuleEntry kRules[] = {
    {"Dequantize", dequantize, 3},
    {"FakeQuantWithMinMaxArgs", fake_quant_args},
    {"FakeQuantWithMinMaxVars", fake_quant_vars, 3},
    {"FakeQuantWithMinMaxVarsPerChannel", fake_quant_vars, 3},
    {"QuantizeAndDequantize", quantize_and_dequantize},
    {"QuantizeAndDequantizeV2", quantize_and_dequantize, 3},
    {"QuantizeAndDequantizeV3", quantize_and_dequantize, 4},
    {"QuantizeAndDequantizeV4", quantize_and_dequantize, 3},
    {"QuantizeV2", quantize_v2, 3},
};

}  // namespace

std::span<const RuleEntry> quant_rules() {
  return kRules;
}

}  // namespace tenon::tf
