// Rules of ops that work element by element.
#include "import/tensorflow/compose.h"
#include "ops/broadcast.h"

namespace tenon::tf {
namespace {

Values cast(RuleContext& c) {
  const DType to = TRY(to_dtype(TRY(c.node.attrs.get_type("DstT"))));
  return one(c.builder.op("cast", c.inputs, {{"to", to}}));
}

Values clip6(RuleContext& c) {
  return one(c.builder.op("clip", c.inputs, {{"min", 0.0}, {"max", 6.0}}));
}

Values leaky_relu(RuleContext& c) {
  const double alpha = static_cast<double>(TRY(c.node.attrs.get_float("alpha", 0.2f)));
  return one(c.builder.op("leaky_relu", c.inputs, {{"alpha", alpha}}));
}

Values elu(RuleContext& c) {
  return one(c.builder.op("elu", c.inputs, {{"alpha", 1.0}}));
}

Values add_n(RuleContext& c) {
  Value* sum = c.inputs[0];
  for (size_t i = 1; i < c.inputs.size(); ++i) sum = TRY(c.builder.op("add", {sum, c.inputs[i]}));
  return std::vector<Value*>{sum};
}

Values clip_by_value(RuleContext& c) {
  if (is_complex(c.inputs[0]->dtype())) {  // the real and the imaginary part each
    Value* parts[2];
    for (const bool imag : {false, true}) {
      std::vector<Value*> in;
      for (Value* v : c.inputs) in.push_back(TRY(c.builder.op(imag ? "imag" : "real", {v})));
      Value* low = TRY(c.builder.op("min", {in[0], in[2]}));
      parts[imag ? 1 : 0] = TRY(c.builder.op("max", {low, in[1]}));
    }
    return one(c.builder.op("complex", {parts[0], parts[1]}));
  }
  Value* low = TRY(c.builder.op("min", {c.inputs[0], c.inputs[2]}));
  return one(c.builder.op("max", {low, c.inputs[1]}));
}

// 0 where `guard` is 0, else the result of the function.
Values zero_where_zero(RuleContext& c, Value* guard, Value* y) {
  Value* zero = TRY(number(c, 0, y->dtype()));
  return one(c.builder.op("select", {TRY(c.builder.op("equal", {guard, zero})), zero, y}));
}

// Xlogy, Xlog1py and Xdivy.
Values times_where_not_zero(RuleContext& c) {
  Value *x = c.inputs[0], *y = c.inputs[1];
  if (c.node.op == "Xdivy") return zero_where_zero(c, x, TRY(c.builder.op("div", {x, y})));
  Value* log = TRY(c.builder.op(c.node.op == "Xlogy" ? "log" : "log1p", {y}));
  return zero_where_zero(c, x, TRY(c.builder.op("mul", {x, log})));
}

Values mul_no_nan(RuleContext& c) {
  return zero_where_zero(c, c.inputs[1], TRY(c.builder.op("mul", c.inputs)));
}

// Also of real numbers, which the core op only divides.
Values truncate_div(RuleContext& c) {
  Builder& b = c.builder;
  Value* q = TRY(b.op("div", c.inputs));
  if (!is_float(q->dtype())) return std::vector<Value*>{q};
  Value* below = TRY(b.op("less", {q, TRY(number(c, 0, q->dtype()))}));
  return one(b.op("select", {below, TRY(b.op("ceil", {q})), TRY(b.op("floor", {q}))}));
}

// Equal and NotEqual: where told so, shapes that do not fit together differ.
Values equality(RuleContext& c) {
  const bool equal = c.node.op == "Equal";
  if (!TRY(c.node.attrs.get_bool("incompatible_shape_error", true)) &&
      !broadcast_shapes(c.inputs[0]->shape(), c.inputs[1]->shape()).ok())
    return std::vector<Value*>{c.builder.constant(Tensor::scalar(!equal))};
  return one(c.builder.op(equal ? "equal" : "not_equal", c.inputs));
}

Values approximate_equal(RuleContext& c) {
  const double tolerance = TRY(c.node.attrs.get_float("tolerance", 1e-5f));
  Value* d = TRY(c.builder.op("abs", {TRY(c.builder.op("sub", {c.inputs[0], c.inputs[1]}))}));
  return one(c.builder.op("less", {d, TRY(number(c, tolerance, d->dtype()))}));
}

// A scalar is true where it is not 0 or empty, a tensor where it has elements.
Values to_bool(RuleContext& c) {
  Value* x = c.inputs[0];
  if (TRY(rank_of(x)) > 0) x = TRY(c.builder.op("size", {x}, {{"dtype", DType::i64}}));
  if (x->dtype() == DType::string) x = TRY(c.builder.op("text_length", {x}));
  return one(cast_to(c, x, DType::boolean));
}

constexpr RuleEntry kRules[] = {
    {"Abs", same<"abs">},
    {"AccumulateNV2", add_n},
    {"Acos", same<"acos">},
    {"Acosh", same<"acosh">},
    {"Add", same<"add">},
    {"AddN", add_n},
    {"AddV2", same<"add">},
    {"Angle", same<"angle">},
    {"ApproximateEqual", approximate_equal, 2},
    {"Asin", same<"asin">},
    {"Asinh", same<"asinh">},
    {"Atan", same<"atan">},
    {"Atan2", same<"atan2">, 2},
    {"Atanh", same<"atanh">},
    {"BitwiseAnd", same<"bitwise_and">, 2},
    {"BitwiseOr", same<"bitwise_or">, 2},
    {"BitwiseXor", same<"bitwise_xor">, 2},
    {"Cast", cast},
    {"Ceil", same<"ceil">},
    {"ClipByValue", clip_by_value, 3},
    {"Complex", same<"complex">, 2},
    {"ComplexAbs", same<"complex_abs">},
    {"Conj", same<"conj">},
    {"Cos", same<"cos">},
    {"Cosh", same<"cosh">},
    {"Digamma", same<"digamma">},
    {"Div", same<"div">, 2},
    {"DivNoNan", same<"div_no_nan">},
    {"Elu", elu},
    {"Equal", equality, 2},
    {"Erf", same<"erf">},
    {"Erfc", same<"erfc">},
    {"Erfinv", same<"erfinv">},
    {"Exp", same<"exp">},
    {"Expm1", same<"expm1">},
    {"Floor", same<"floor">},
    {"FloorDiv", same<"floor_div">},
    {"FloorMod", same<"floor_mod">},
    {"Greater", same<"greater">},
    {"GreaterEqual", same<"greater_equal">},
    {"Imag", same<"imag">},
    {"Inv", same<"reciprocal">},
    {"Invert", same<"bitwise_not">},
    {"IsFinite", same<"is_finite">},
    {"IsInf", same<"is_inf">},
    {"IsNan", same<"is_nan">},
    {"LeakyRelu", leaky_relu},
    {"LeftShift", same<"shift_left">, 2},
    {"Less", same<"less">},
    {"LessEqual", same<"less_equal">},
    {"Lgamma", same<"lgamma">},
    {"Log", same<"log">},
    {"Log1p", same<"log1p">},
    {"LogicalAnd", same<"logical_and">},
    {"LogicalNot", same<"logical_not">},
    {"LogicalOr", same<"logical_or">},
    {"Maximum", same<"max">},
    {"Minimum", same<"min">},
    {"Mod", same<"trunc_mod">, 2},
    {"Mul", same<"mul">},
    {"MulNoNan", mul_no_nan, 2},
    {"Neg", same<"neg">},
    {"NotEqual", equality, 2},
    {"Pow", same<"pow">},
    {"Real", same<"real">},
    {"RealDiv", same<"div">},
    {"Reciprocal", same<"reciprocal">},
    {"Relu", same<"relu">},
    {"Relu6", clip6},
    {"RightShift", same<"shift_right">, 2},
    {"Rint", same<"round">},
    {"Round", same<"round">},
    {"Rsqrt", same<"rsqrt">},
    {"SelectV2", same<"select">},
    {"ToBool", to_bool},
    {"Selu", same<"selu">},
    {"Sigmoid", same<"sigmoid">},
    {"Sign", same<"sign">},
    {"Sin", same<"sin">},
    {"Sinh", same<"sinh">},
    {"Softplus", same<"softplus">},
    {"Softsign", same<"softsign">},
    {"Sqrt", same<"sqrt">},
    {"Square", same<"square">},
    {"SquaredDifference", same<"squared_difference">},
    {"Sub", same<"sub">},
    {"Tan", same<"tan">},
    {"Tanh", same<"tanh">},
    {"TruncateDiv", truncate_div, 2},
    {"TruncateMod", same<"trunc_mod">, 2},
    {"Xdivy", times_where_not_zero, 2},
    {"Xlog1py", times_where_not_zero, 2},
    {"Xlogy", times_where_not_zero, 2},
};

}  // namespace

std::span<const RuleEntry> pointwise_rules() {
  return kRules;
}

}  // namespace tenon::tf
