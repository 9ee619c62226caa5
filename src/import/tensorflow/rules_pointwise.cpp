// Rules of ops that work element by element.
#include "import/tensorflow/rule.h"

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

constexpr RuleEntry kRules[] = {
    {"Abs", same<"abs">},
    {"Add", same<"add">},
    {"AddV2", same<"add">},
    {"Cast", cast},
    {"Ceil", same<"ceil">},
    {"Cos", same<"cos">},
    {"DivNoNan", same<"div_no_nan">},
    {"Elu", elu},
    {"Equal", same<"equal">},
    {"Erf", same<"erf">},
    {"Erfc", same<"erfc">},
    {"Exp", same<"exp">},
    {"Floor", same<"floor">},
    {"FloorDiv", same<"floor_div">},
    {"FloorMod", same<"floor_mod">},
    {"Greater", same<"greater">},
    {"GreaterEqual", same<"greater_equal">},
    {"LeakyRelu", leaky_relu},
    {"Less", same<"less">},
    {"LessEqual", same<"less_equal">},
    {"Log", same<"log">},
    {"Log1p", same<"log1p">},
    {"LogicalAnd", same<"logical_and">},
    {"LogicalNot", same<"logical_not">},
    {"LogicalOr", same<"logical_or">},
    {"Maximum", same<"max">},
    {"Minimum", same<"min">},
    {"Mul", same<"mul">},
    {"Neg", same<"neg">},
    {"NotEqual", same<"not_equal">},
    {"Pow", same<"pow">},
    {"RealDiv", same<"div">},
    {"Reciprocal", same<"reciprocal">},
    {"Relu", same<"relu">},
    {"Relu6", clip6},
    {"Round", same<"round">},
    {"Rsqrt", same<"rsqrt">},
    {"SelectV2", same<"select">},
    {"Sigmoid", same<"sigmoid">},
    {"Sign", same<"sign">},
    {"Sin", same<"sin">},
    {"Softplus", same<"softplus">},
    {"Softsign", same<"softsign">},
    {"Sqrt", same<"sqrt">},
    {"Square", same<"square">},
    {"SquaredDifference", same<"squared_difference">},
    {"Sub", same<"sub">},
    {"Tanh", same<"tanh">},
};

}  // namespace

std::span<const RuleEntry> pointwise_rules() {
  return kRules;
}

}  // namespace tenon::tf
