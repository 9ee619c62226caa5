// Rules of the reductions and the ops that work along an axis: sums, extremes, running sums, the
// largest k.
#include <fmt/format.h>

#include "import/onnx/rule_support.h"

namespace tenon::onnx {
namespace {

// ReduceLogSum is log(sum(x)): what happens to the elements before and after the core reduction.
struct Reduction {
  std::string_view op;
  std::string_view core;
  std::string_view before;
  std::string_view after;
};
constexpr Reduction kReductions[] = {
    {"ReduceL1", "sum", "abs", ""},      {"ReduceL2", "sum_square", "", "sqrt"},
    {"ReduceLogSum", "sum", "", "log"},  {"ReduceLogSumExp", "log_sum_exp", "", ""},
    {"ReduceMax", "reduce_max", "", ""}, {"ReduceMean", "mean", "", ""},
    {"ReduceMin", "reduce_min", "", ""}, {"ReduceProd", "prod", "", ""},
    {"ReduceSum", "sum", "", ""},        {"ReduceSumSquare", "sum_square", "", ""},
};

Result<Value*> apply(RuleContext& c, std::string_view core, Value* x) {
  if (core.empty()) return x;
  return c.op(core, {x});
}

// The core reduction over the node's axes, an attribute or (later opsets) an operand.
Result<Value*> over_axes(RuleContext& c, std::string_view core, Value* x) {
  const bool keep = TRY(c.get_bool("keepdims", true));
  auto axes = known_ints(c.in(1));
  if (!c.has(1)) axes = TRY(c.get_ints("axes"));
  const bool none_if_empty = TRY(c.get_bool("noop_with_empty_axes", false));
  if (axes && axes->empty() && none_if_empty) {
    // A reduction of single elements.
    if (core == "sum_square") return c.op("square", {x});
    return x;
  }
  if (axes) return c.op(core, {x}, {{"axes", *axes}, {"keep_dims", keep}});
  const auto count = c.in(1)->shape().elements();
  if (none_if_empty && !count)
    return unsupported("whether there are axes to reduce must be known when the model is compiled");
  return with_attr(c, core, {x}, "axes", c.in(1), {{"keep_dims", keep}}, keep ? "rank" : "none");
}

Result<Values> reduce(RuleContext& c) {
  const Reduction* found = std::ranges::find(kReductions, c.node.op, &Reduction::op);
  Value* x = c.in(0);
  const DType dtype = x->dtype();
  if (dtype == DType::boolean && (c.node.op == "ReduceMax" || c.node.op == "ReduceMin"))
    return one(over_axes(c, c.node.op == "ReduceMax" ? "any" : "all", x));
  // Roots and logarithms of integers are computed as floats.
  if (is_int(dtype) && (!found->after.empty() || found->core == "log_sum_exp"))
    x = TRY(c.cast(x, DType::f64));
  Value* y = TRY(over_axes(c, found->core, TRY(apply(c, found->before, x))));
  return one(c.cast(TRY(apply(c, found->after, y)), dtype));
}

Result<Values> arg_extreme(RuleContext& c) {
  return one(c.op(c.node.op == "ArgMax" ? "arg_max" : "arg_min", {c.in(0)},
                  {{"axis", TRY(c.get_int("axis", 0))},
                   {"keep_dims", TRY(c.get_bool("keepdims", true))},
                   {"select_last_index", TRY(c.get_bool("select_last_index", false))},
                   {"dtype", DType::i64}}));
}

Result<Values> cumulative(RuleContext& c) {
  const std::string_view core = c.node.op == "CumSum" ? "cumsum" : "cumprod";
  const bool exclusive = TRY(c.get_bool("exclusive", false));
  const bool reverse = TRY(c.get_bool("reverse", false));
  return one(with_attr(c, core, {c.in(0)}, "axis", c.in(1),
                       {{"exclusive", exclusive}, {"reverse", reverse}}, "same"));
}

Result<Values> top_k(RuleContext& c) {
  Value* k = c.in(1);
  if (c.opset < 10) k = c.builder.constant(Tensor::scalar(TRY(c.get_int("k"))));
  if (k == nullptr) return invalid_model("operand 1, k, is missing");
  return all(c.builder.node("top_k", {c.in(0), k},
                            {{"axis", TRY(c.get_int("axis", -1))},
                             {"largest", TRY(c.get_bool("largest", true))},
                             {"sorted", TRY(c.get_bool("sorted", true))},
                             {"index_dtype", DType::i64}}));
}

// One where the first largest is, along the last dimension of x.
Result<Value*> hardmax_along(RuleContext& c, Value* x, int64_t axis) {
  Value* index = TRY(c.op("arg_max", {x}, {{"axis", axis}, {"dtype", DType::i64}}));
  Value* depth = TRY(size_of(c, x, axis));
  return c.op("one_hot", {index, depth, TRY(c.scalar_like(x, 1)), TRY(c.scalar_like(x, 0))},
              {{"axis", axis}});
}

// Before opset 13 over all dimensions from the axis on, as one.
Result<Values> hardmax(RuleContext& c) {
  Value* x = c.in(0);
  const int64_t axis = TRY(c.get_int("axis", c.opset < 13 ? 1 : -1));
  if (c.opset >= 13) return one(hardmax_along(c, x, axis));
  Value* matrix = TRY(hardmax_along(c, TRY(as_matrix(c, x, axis)), -1));
  return one(c.op("reshape", {matrix, TRY(shape_of(c, x))}, {{"allow_zero", true}}));
}

// (x - mean) / (standard deviation + epsilon) over axes.
Result<Values> mean_variance_normalization(RuleContext& c) {
  Value* x = c.in(0);
  std::vector<int64_t> axes{0, 2, 3};
  if (c.has_attr("axes")) axes = TRY(c.get_ints("axes"));
  const auto mean = [&](Value* v) {
    return c.op("mean", {v}, {{"axes", axes}, {"keep_dims", true}});
  };
  Value* centred = TRY(c.op("sub", {x, TRY(mean(x))}));
  Value* variance = TRY(mean(TRY(c.op("square", {centred}))));
  Value* deviation = TRY(c.op("sqrt", {variance}));
  return one(c.op("div", {centred, TRY(c.op("add", {deviation, TRY(c.scalar_like(x, 1e-9))}))}));
}

constexpr Rule kRules[] = {
    {"ArgMax", 1, arg_extreme},       {"ArgMin", 1, arg_extreme},
    {"CumProd", 2, cumulative},       {"CumSum", 2, cumulative},
    {"Hardmax", 1, hardmax},          {"MeanVarianceNormalization", 1, mean_variance_normalization},
    {"ReduceL1", {1, 2}, reduce},     {"ReduceL2", {1, 2}, reduce},
    {"ReduceLogSum", {1, 2}, reduce}, {"ReduceLogSumExp", {1, 2}, reduce},
    {"ReduceMax", {1, 2}, reduce},    {"ReduceMean", {1, 2}, reduce},
    {"ReduceMin", {1, 2}, reduce},    {"ReduceProd", {1, 2}, reduce},
    {"ReduceSum", {1, 2}, reduce},    {"ReduceSumSquare", {1, 2}, reduce},
    {"TopK", {1, 2}, top_k},
};

}  // namespace

std::span<const Rule> reduce_rules() {
  return kRules;
}

}  // namespace tenon::onnx
