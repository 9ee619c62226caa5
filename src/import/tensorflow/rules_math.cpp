// Rules of matrix products and reductions.
#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

Values matmul(RuleContext& c) {
  const bool batch = c.node.op != "MatMul";
  const bool a = TRY(c.node.attrs.get_bool(batch ? "adj_x" : "transpose_a", false));
  const bool b = TRY(c.node.attrs.get_bool(batch ? "adj_y" : "transpose_b", false));
  // The adjoint of complex numbers is also conjugated.
  for (const size_t i : {0, 1})
    if (batch && (i == 0 ? a : b) && is_complex(c.inputs[i]->dtype()))
      c.inputs[i] = TRY(c.builder.op("conj", {c.inputs[i]}));
  return one(c.builder.op("matmul", c.inputs, {{"transpose_a", a}, {"transpose_b", b}}));
}

Values reduce(RuleContext& c) {
  struct Row {
    std::string_view tf;
    const char* core;
  };
  constexpr Row kRows[] = {{"Sum", "sum"},        {"Mean", "mean"}, {"Max", "reduce_max"},
                           {"Min", "reduce_min"}, {"Prod", "prod"}, {"All", "all"},
                           {"Any", "any"}};
  for (const Row& row : kRows)
    if (row.tf == c.node.op) return one(reduced(c, row.core, c.inputs[0], c.inputs[1]));
  return internal_error("no such reduction");
}

// The square root of the sum of squares; of integers, what fits into one.
Values euclidean_norm(RuleContext& c) {
  Builder& b = c.builder;
  Value* x = c.inputs[0];
  const DType t = x->dtype();
  Value* y = TRY(b.op("mul", {x, is_complex(t) ? TRY(b.op("conj", {x})) : x}));
  y = TRY(reduced(c, "sum", y, c.inputs[1]));
  if (is_int(t)) y = TRY(cast_to(c, y, DType::f64));
  return one(cast_to(c, TRY(b.op("sqrt", {y})), t));
}

Values cumulative_log_sum_exp(RuleContext& c) {
  return one(add_with_attr(c.builder, "cumlogsumexp", {c.inputs[0]}, "axis", c.inputs[1],
                           {{"exclusive", TRY(c.node.attrs.get_bool("exclusive", false))},
                            {"reverse", TRY(c.node.attrs.get_bool("reverse", false))}},
                           "same"));
}

constexpr RuleEntry kRules[] = {
    {"CumulativeLogsumexp", cumulative_log_sum_exp, 2},
    {"EuclideanNorm", euclidean_norm, 2},
    {"All", reduce, 2},
    {"Any", reduce, 2},
    {"BatchMatMul", matmul, 2},
    {"BatchMatMulV2", matmul, 2},
    {"BatchMatMulV3", matmul, 2},
    {"MatMul", matmul, 2},
    {"Max", reduce, 2},
    {"Mean", reduce, 2},
    {"Min", reduce, 2},
    {"Prod", reduce, 2},
    {"Sum", reduce, 2},
};

}  // namespace

std::span<const RuleEntry> math_rules() {
  return kRules;
}

}  // namespace tenon::tf
