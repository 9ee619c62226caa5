// Rules of matrix products and reductions.
#include "import/tensorflow/rule.h"

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
  const bool keep = TRY(c.node.attrs.get_bool("keep_dims", false));
  const auto axes = TRY(c.ints(1));
  if (axes.empty()) return std::vector<Value*>{c.inputs[0]};
  for (const Row& row : kRows)
    if (row.tf == c.node.op)
      return one(c.builder.op(row.core, {c.inputs[0]}, {{"axes", axes}, {"keep_dims", keep}}));
  return internal_error("no such reduction");
}

// The square root of the sum of squares.
Values euclidean_norm(RuleContext& c) {
  Value* sum = TRY(c.builder.op(
      "sum_square", {c.inputs[0]},
      {{"axes", TRY(c.ints(1))}, {"keep_dims", TRY(c.node.attrs.get_bool("keep_dims", false))}}));
  return one(c.builder.op("sqrt", {sum}));
}

// The logarithm of running sums of exponentials, shifted by the largest so that none overflows.
Values cumulative_log_sum_exp(RuleContext& c) {
  Builder& b = c.builder;
  Value* x = c.inputs[0];
  const int64_t axis = TRY(c.int_scalar(1));
  Value* top =
      TRY(b.op("reduce_max", {x}, {{"axes", std::vector<int64_t>{axis}}, {"keep_dims", true}}));
  Value* sums = TRY(b.op("cumsum", {TRY(b.op("exp", {TRY(b.op("sub", {x, top}))}))},
                         {{"axis", axis},
                          {"exclusive", TRY(c.node.attrs.get_bool("exclusive", false))},
                          {"reverse", TRY(c.node.attrs.get_bool("reverse", false))}}));
  return one(b.op("add", {TRY(b.op("log", {sums})), top}));
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
