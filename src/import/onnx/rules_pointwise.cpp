// Rules of the elementwise ops: arithmetic, comparison, logic, activations.
#include <fmt/format.h>

#include <cmath>

#include "import/onnx/rule_support.h"
#include "tensor/narrow.h"

namespace tenon::onnx {
namespace {

// Max, Min and Sum of any number of operands.
template <Text kCore>
Result<Values> variadic(RuleContext& c) {
  Value* y = c.in(0);
  for (int i = 1; i < c.input_count(); ++i) {
    if (!c.has(i)) return invalid_model(fmt::format("operand {} is missing", i));
    y = TRY(c.op(kCore.view(), {y, c.in(i)}));
  }
  return Values{y};
}

Result<Values> mean(RuleContext& c) {
  Value* sum = TRY(variadic<"add">(c))[0];
  return one(c.op("div", {sum, TRY(c.scalar_like(sum, c.input_count()))}));
}

Result<Values> leaky_relu(RuleContext& c) {
  return parametric(c, "leaky_relu", {{"alpha", 0.01}});
}
Result<Values> elu(RuleContext& c) {
  return parametric(c, "elu", {{"alpha", 1}});
}
Result<Values> celu(RuleContext& c) {
  return parametric(c, "celu", {{"alpha", 1}});
}
Result<Values> selu(RuleContext& c) {
  return parametric(c, "selu",
                    {{"alpha", 1.67326319217681884765625}, {"gamma", 1.05070102214813232421875}});
}
Result<Values> hard_sigmoid(RuleContext& c) {
  return parametric(c, "hard_sigmoid", {{"alpha", 0.2}, {"beta", 0.5}});
}
Result<Values> thresholded_relu(RuleContext& c) {
  return parametric(c, "thresholded_relu", {{"alpha", 1}});
}

// Integers are shrunk as floats, which the values of sensible parameters survive.
Result<Values> shrink(RuleContext& c) {
  const DType dtype = c.in(0)->dtype();
  if (is_int(dtype)) c.inputs[0] = TRY(c.cast(c.in(0), DType::f64));
  Value* y = TRY(parametric(c, "shrink", {{"lambd", 0.5}, {"bias", 0}}))[0];
  return one(c.cast(y, dtype));
}

Result<Values> gelu(RuleContext& c) {
  return one(c.op("gelu", {c.in(0)}, {{"approximate", TRY(c.get_string("approximate", "none"))}}));
}

Result<Values> swish(RuleContext& c) {
  const double alpha = TRY(c.get_float("alpha", 1));
  if (alpha == 1) return one(c.op("silu", {c.in(0)}));
  Value* scaled = TRY(c.op("mul", {c.in(0), TRY(c.scalar_like(c.in(0), alpha))}));
  return one(c.op("mul", {c.in(0), TRY(c.op("sigmoid", {scaled}))}));
}

// The one number a constant slope consists of.
std::optional<float> only_slope(const Value& v) {
  const Tensor* t = v.constant();
  if (t == nullptr || t->dtype() != DType::f32 || t->elements() == 0) return std::nullopt;
  const auto values = t->span<float>();
  const bool same = std::ranges::all_of(values, [&](float s) { return s == values[0]; });
  return same ? std::optional(values[0]) : std::nullopt;
}

// Before opset 7 slopes are one or one per channel. One slope is an activation, which kernels fuse.
Result<Values> prelu(RuleContext& c) {
  Value* x = c.in(0);
  Value* slope = c.in(1);
  if (const auto alpha = only_slope(*slope); alpha && x->dtype() == DType::f32)
    return one(c.op("leaky_relu", {x}, {{"alpha", static_cast<double>(*alpha)}}));
  if (c.opset < 7 && TRY(c.rank(0)) > 2 && TRY(c.rank(1)) == 1) {
    std::vector<int64_t> shape(static_cast<size_t>(x->shape().rank() - 1), 1);
    shape[0] = -1;
    slope = TRY(c.reshape(slope, shape));
  }
  Value* below = TRY(c.op("less", {x, TRY(c.scalar_like(x, 0))}));
  return one(c.op("select", {below, TRY(c.op("mul", {x, slope})), x}));
}

// Bounds were attributes before opset 11. Constant ones of floats become the core op's attributes,
// which kernels fuse.
Result<Values> clip(RuleContext& c) {
  Value* x = c.in(0);
  Value* bounds[] = {c.in(1), c.in(2)};
  const bool is_min[] = {true, false};
  if (c.opset < 11) {
    const std::string_view names[] = {"min", "max"};
    for (int i = 0; i < 2; ++i)
      if (c.has_attr(names[i])) bounds[i] = TRY(c.scalar_like(x, TRY(c.get_float(names[i]))));
  }
  std::vector<Builder::Attr> attrs;
  bool constant = is_float(x->dtype());
  for (int i = 0; i < 2; ++i) {
    if (bounds[i] == nullptr) continue;
    const Tensor* t = bounds[i]->constant();
    if (t == nullptr || t->elements() != 1 || !is_float(t->dtype()) || std::isnan(t->real_at(0)))
      constant = false;
    else
      attrs.push_back({is_min[i] ? "min" : "max", t->real_at(0)});
  }
  if (constant && attrs.empty()) return Values{x};
  if (constant) return one(c.op("clip", {x}, std::move(attrs)));
  for (int i = 0; i < 2; ++i)
    if (bounds[i] != nullptr) x = TRY(c.op(is_min[i] ? "max" : "min", {x, bounds[i]}));
  return Values{x};
}

Result<Values> mod(RuleContext& c) {
  const bool truncating = TRY(c.get_bool("fmod", false));
  return one(c.op(truncating ? "trunc_mod" : "floor_mod", c.inputs));
}

// The result has the base's type; an exponent of another type is raised in the wider one.
Result<Values> pow(RuleContext& c) {
  Value* x = c.in(0);
  Value* y = c.in(1);
  const DType dtype = x->dtype();
  if (y->dtype() == dtype) return one(c.op("pow", {x, y}));
  DType work = dtype;
  if (is_float(y->dtype()) && (!is_float(dtype) || dtype_size(y->dtype()) > dtype_size(dtype)))
    work = is_float(dtype) ? y->dtype() : DType::f64;
  Value* power = TRY(c.op("pow", {TRY(c.cast(x, work)), TRY(c.cast(y, work))}));
  return one(c.cast(power, dtype));
}

// Shifts by a negative number or by all bits leave nothing but the sign of a right shift.
Result<Values> bit_shift(RuleContext& c) {
  const std::string direction = TRY(c.get_string("direction"));
  const bool left = direction == "LEFT";
  if (!left && direction != "RIGHT")
    return invalid_model(
        fmt::format("direction is '{}', but LEFT or RIGHT is expected", direction));
  const std::string_view core = left ? "shift_left" : "shift_right";
  Value* x = c.in(0);
  Value* y = c.in(1);
  const auto width = static_cast<int64_t>(8 * dtype_size(x->dtype()));
  Value* shifted = TRY(c.op(core, {x, y}));
  if (const auto known = known_ints(y);
      known && std::ranges::all_of(*known, [&](int64_t v) { return v >= 0 && v < width; }))
    return Values{shifted};
  Value* all_bits = TRY(c.scalar_like(y, static_cast<double>(width)));
  Value* outside = TRY(c.op("greater_equal", {y, all_bits}));
  if (is_signed_int(y->dtype())) {
    Value* negative = TRY(c.op("less", {y, TRY(c.scalar_like(y, 0))}));
    outside = TRY(c.op("logical_or", {outside, negative}));
  }
  Value* rest = TRY(c.scalar_like(x, 0));
  if (!left && is_signed_int(x->dtype()))
    rest = TRY(c.op(core, {x, TRY(c.scalar_like(x, static_cast<double>(width - 1)))}));
  return one(c.op("select", {outside, rest, shifted}));
}

Result<Values> is_inf(RuleContext& c) {
  Value* x = c.in(0);
  const bool negative = TRY(c.get_bool("detect_negative", true));
  const bool positive = TRY(c.get_bool("detect_positive", true));
  Value* infinite = TRY(c.op("is_inf", {x}));
  if (negative && positive) return Values{infinite};
  Value* zero = TRY(c.scalar_like(x, 0));
  // Of no sign: nothing is both above and below zero.
  Value* sign = TRY(c.op(positive ? "greater" : "less", {x, zero}));
  Value* found = TRY(c.op("logical_and", {infinite, sign}));
  if (negative || positive) return Values{found};
  return one(c.op("logical_and", {found, TRY(c.op("greater", {x, zero}))}));
}

// To narrow floats: what is too large, and the rounding to powers of two.
Result<Value*> cast_narrow(RuleContext& c, Value* x, DType to) {
  const bool saturate = TRY(c.get_bool("saturate", true));
  std::string rounding = "nearest";
  if (to == narrow::f8e8m0) rounding = TRY(c.get_string("round_mode", "up"));
  return c.op("cast", {x}, {{"to", to}, {"saturate", saturate}, {"rounding", rounding}});
}

// Strings are spelt and read as decimal numbers.
Result<Values> cast_to(RuleContext& c, DType to) {
  Value* x = c.in(0);
  const DType from = x->dtype();
  if (from == to) return Values{x};
  if (is_narrow_float(to) && from != DType::string) return one(cast_narrow(c, x, to));
  if (to == DType::string) {
    if (from == DType::f16 || from == DType::bf16 || is_narrow(from))
      x = TRY(c.cast(x, DType::f32));
    return one(c.op("text_from_number", {x}, {{"style", std::string("shortest")}}));
  }
  if (from == DType::string) {
    const bool direct =
        to == DType::f32 || to == DType::f64 || to == DType::i32 || to == DType::i64;
    const DType read = direct ? to : is_int(to) ? DType::i64 : DType::f32;
    return one(c.cast(TRY(c.op("number_from_text", {x}, {{"dtype", read}})), to));
  }
  return one(c.cast(x, to));
}

Result<Values> cast(RuleContext& c) {
  return cast_to(c, TRY(c.get_dtype("to")));
}

Result<Values> cast_like(RuleContext& c) {
  return cast_to(c, c.in(1)->dtype());
}

Result<Values> bit_cast(RuleContext& c) {
  const DType to = TRY(c.get_dtype("to"));
  const auto bits = [](DType t) {
    return is_narrow(t) ? narrow_bits(t) : static_cast<int>(dtype_size(t)) * 8;
  };
  if (bits(to) != bits(c.in(0)->dtype()))
    return invalid_model(
        fmt::format("{} and {} differ in size", dtype_name(c.in(0)->dtype()), dtype_name(to)));
  return one(c.op("bitcast", {c.in(0)}, {{"to", to}}));
}

constexpr Rule kRules[] = {
    {"Abs", 1, direct<"abs">},
    {"Acos", 1, direct<"acos">},
    {"Acosh", 1, direct<"acosh">},
    {"Add", 2, direct<"add">},
    {"And", 2, direct<"logical_and">},
    {"Asin", 1, direct<"asin">},
    {"Asinh", 1, direct<"asinh">},
    {"Atan", 1, direct<"atan">},
    {"Atanh", 1, direct<"atanh">},
    {"BitCast", 1, bit_cast},
    {"BitShift", 2, bit_shift},
    {"BitwiseAnd", 2, direct<"bitwise_and">},
    {"BitwiseNot", 1, direct<"bitwise_not">},
    {"BitwiseOr", 2, direct<"bitwise_or">},
    {"BitwiseXor", 2, direct<"bitwise_xor">},
    {"Cast", 1, cast},
    {"CastLike", 2, cast_like},
    {"Ceil", 1, direct<"ceil">},
    {"Celu", 1, celu},
    {"Clip", {1, 3}, clip},
    {"Cos", 1, direct<"cos">},
    {"Cosh", 1, direct<"cosh">},
    {"Div", 2, direct<"div">},
    {"Elu", 1, elu},
    {"Equal", 2, direct<"equal">},
    {"Erf", 1, direct<"erf">},
    {"Exp", 1, direct<"exp">},
    {"Floor", 1, direct<"floor">},
    {"Gelu", 1, gelu},
    {"Greater", 2, direct<"greater">},
    {"GreaterOrEqual", 2, direct<"greater_equal">},
    {"HardSigmoid", 1, hard_sigmoid},
    {"HardSwish", 1, direct<"hard_swish">},
    {"IsInf", 1, is_inf},
    {"IsNaN", 1, direct<"is_nan">},
    {"LeakyRelu", 1, leaky_relu},
    {"Less", 2, direct<"less">},
    {"LessOrEqual", 2, direct<"less_equal">},
    {"Log", 1, direct<"log">},
    {"Max", {1, kVariadic}, variadic<"max">},
    {"Mean", {1, kVariadic}, mean},
    {"Min", {1, kVariadic}, variadic<"min">},
    {"Mish", 1, direct<"mish">},
    {"Mod", 2, mod},
    {"Mul", 2, direct<"mul">},
    {"Neg", 1, direct<"neg">},
    {"Not", 1, direct<"logical_not">},
    {"Or", 2, direct<"logical_or">},
    {"PRelu", 2, prelu},
    {"Pow", 2, pow},
    {"Reciprocal", 1, direct<"reciprocal">},
    {"Relu", 1, direct<"relu">},
    {"Round", 1, direct<"round">},
    {"Selu", 1, selu},
    {"Shrink", 1, shrink},
    {"Sigmoid", 1, direct<"sigmoid">},
    {"Sign", 1, direct<"sign">},
    {"Sin", 1, direct<"sin">},
    {"Sinh", 1, direct<"sinh">},
    {"Softplus", 1, direct<"softplus">},
    {"Softsign", 1, direct<"softsign">},
    {"Sqrt", 1, direct<"sqrt">},
    {"Sub", 2, direct<"sub">},
    {"Sum", {1, kVariadic}, variadic<"add">},
    {"Swish", 1, swish},
    {"Tan", 1, direct<"tan">},
    {"Tanh", 1, direct<"tanh">},
    {"ThresholdedRelu", 1, thresholded_relu},
    {"Where", 3, direct<"select">},
    {"Xor", 2, direct<"logical_xor">},
};

}  // namespace

std::span<const Rule> pointwise_rules() {
  return kRules;
}

}  // namespace tenon::onnx
