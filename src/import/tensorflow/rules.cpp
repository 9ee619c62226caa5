// One rule per TensorFlow op.
#include <fmt/format.h>

#include <algorithm>

#include "import/tensorflow/graph_importer.h"

namespace tenon::tf {
namespace {

using Values = Result<std::vector<Value*>>;

Values one(Result<Value*> value) {
  if (!value.ok()) return std::move(value).error();
  return std::vector<Value*>{*value};
}

// Ops that are a core op of the same operands.
template <const char* kName>
Values same(RuleContext& c) {
  return one(c.builder.op(kName, c.inputs));
}
#define TENON_SAME(tf_name, core)     \
  constexpr char k##tf_name[] = core; \
  constexpr Rule r##tf_name = same<k##tf_name>;
TENON_SAME(Relu, "relu")
TENON_SAME(Sigmoid, "sigmoid")
TENON_SAME(Tanh, "tanh") TENON_SAME(Exp, "exp") TENON_SAME(Log, "log") TENON_SAME(Log1p, "log1p")
    TENON_SAME(Sqrt, "sqrt") TENON_SAME(Rsqrt, "rsqrt") TENON_SAME(Square, "square") TENON_SAME(
        Neg, "neg") TENON_SAME(Abs, "abs") TENON_SAME(Erf, "erf") TENON_SAME(Erfc, "erfc")
        TENON_SAME(Floor, "floor") TENON_SAME(Ceil, "ceil") TENON_SAME(Round, "round")
            TENON_SAME(Sign, "sign") TENON_SAME(Softplus, "softplus") TENON_SAME(Softsign,
                                                                                 "softsign")
                TENON_SAME(Sin, "sin") TENON_SAME(Cos, "cos") TENON_SAME(Reciprocal, "reciprocal")
                    TENON_SAME(LogicalNot, "logical_not") TENON_SAME(Add, "add")
                        TENON_SAME(Sub, "sub") TENON_SAME(Mul, "mul") TENON_SAME(RealDiv, "div")
                            TENON_SAME(FloorDiv, "floor_div") TENON_SAME(FloorMod, "floor_mod")
                                TENON_SAME(Pow, "pow") TENON_SAME(Minimum, "min")
                                    TENON_SAME(Maximum, "max") TENON_SAME(DivNoNan, "div_no_nan")
                                        TENON_SAME(SquaredDifference, "squared_difference")
                                            TENON_SAME(LogicalAnd, "logical_and")
                                                TENON_SAME(LogicalOr,
                                                           "logical_or") TENON_SAME(Equal, "equal")
                                                    TENON_SAME(NotEqual,
                                                               "not_equal") TENON_SAME(Less, "less")
                                                        TENON_SAME(LessEqual, "less_equal")
                                                            TENON_SAME(Greater, "greater")
                                                                TENON_SAME(GreaterEqual,
                                                                           "greater_equal")
                                                                    TENON_SAME(SelectV2, "select")
                                                                        TENON_SAME(Expand, "expand")
                                                                            TENON_SAME(Tile, "tile")
#undef TENON_SAME

                                                                                Values
    constant(RuleContext& c) {
  const TensorProto proto = TRY(c.node.attrs.get_tensor("value"));
  const auto value = TRY(tensor_value(proto, c.importer.model().owner));
  return std::vector<Value*>{c.builder.constant(TRY(to_tensor(value, std::string(c.node.name))))};
}

Values cast(RuleContext& c) {
  const DType to = TRY(to_dtype(TRY(c.node.attrs.get_type("DstT"))));
  return one(c.builder.op("cast", c.inputs, {{"to", to}}));
}

Values reshape(RuleContext& c) {
  return one(c.builder.op("reshape", c.inputs, {{"allow_zero", true}}));
}

Values transpose(RuleContext& c) {
  return one(c.builder.op("transpose", {c.inputs[0]}, {{"perm", TRY(c.ints(1))}}));
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

Values softmax(RuleContext& c) {
  return one(c.builder.op(c.node.op == "Softmax" ? "softmax" : "log_softmax", c.inputs,
                          {{"axis", int64_t{-1}}}));
}

Values matmul(RuleContext& c) {
  const bool batch = c.node.op != "MatMul";
  const bool a = TRY(c.node.attrs.get_bool(batch ? "adj_x" : "transpose_a", false));
  const bool b = TRY(c.node.attrs.get_bool(batch ? "adj_y" : "transpose_b", false));
  return one(c.builder.op("matmul", c.inputs, {{"transpose_a", a}, {"transpose_b", b}}));
}

// Values given per dimension of an NHWC or NCHW tensor, reduced to the spatial ones.
std::vector<int64_t> spatial(const std::vector<int64_t>& all, bool channels_first) {
  if (all.size() < 3) return {};
  return channels_first ? std::vector<int64_t>(all.begin() + 2, all.end())
                        : std::vector<int64_t>(all.begin() + 1, all.end() - 1);
}

// Pads for padding SAME, VALID or EXPLICIT. SAME needs known sizes unless the stride is 1.
Result<std::vector<int64_t>> pads_of(RuleContext& c, const Value* x,
                                     const std::vector<int64_t>& kernel,
                                     const std::vector<int64_t>& strides,
                                     const std::vector<int64_t>& dilations, bool channels_first) {
  const std::string_view padding = TRY(c.node.attrs.get_string("padding"));
  const size_t n = kernel.size();
  std::vector<int64_t> pads(2 * n, 0);
  if (padding == "VALID") return pads;
  if (padding == "EXPLICIT") {
    const auto all = TRY(c.node.attrs.get_ints("explicit_paddings"));
    const size_t first = channels_first ? 2 : 1;
    if (all.size() < 2 * (n + first)) return invalid_model("explicit_paddings is too short");
    for (size_t i = 0; i < n; ++i) {
      pads[i] = all[2 * (i + first)];
      pads[i + n] = all[2 * (i + first) + 1];
    }
    return pads;
  }
  for (size_t i = 0; i < n; ++i) {
    const int64_t span = (kernel[i] - 1) * (i < dilations.size() ? dilations[i] : 1) + 1;
    int64_t total = span - 1;
    if (strides[i] != 1) {
      const Dim d = x->shape().ranked() ? x->shape()[static_cast<int>(i) + 1] : Dim::unknown();
      if (!d.known())
        return unsupported(
            "padding SAME with a stride needs the size of the input; give it with --input-shape");
      const int64_t out = (d.size() + strides[i] - 1) / strides[i];
      total = std::max<int64_t>((out - 1) * strides[i] + span - d.size(), 0);
    }
    pads[i] = total / 2;
    pads[i + n] = total - total / 2;
  }
  return pads;
}

Result<Value*> move_channels(RuleContext& c, Value* x, bool to_last) {
  const int rank = x->shape().rank();
  std::vector<int64_t> perm{0};
  if (!to_last) perm.push_back(rank - 1);
  for (int i = to_last ? 2 : 1; i < (to_last ? rank : rank - 1); ++i) perm.push_back(i);
  if (to_last) perm.push_back(1);
  return c.builder.op("transpose", {x}, {{"perm", perm}});
}

Values convolution(RuleContext& c) {
  const bool nchw = TRY(c.node.attrs.get_string("data_format", "NHWC")).starts_with("NC");
  Value* x = nchw ? TRY(move_channels(c, c.inputs[0], true)) : c.inputs[0];
  Value* w = c.inputs[1];
  if (!w->shape().is_static() || w->shape().rank() < 4)
    return unsupported("the filter's shape must be known");
  const bool depthwise = c.node.op == "DepthwiseConv2dNative";
  std::vector<int64_t> sizes = w->shape().sizes();
  const std::vector<int64_t> kernel(sizes.begin(), sizes.end() - 2);
  const auto strides = spatial(TRY(c.node.attrs.get_ints("strides")), nchw);
  std::vector<int64_t> dilations;
  if (c.node.attrs.has("dilations"))
    dilations = spatial(TRY(c.node.attrs.get_ints("dilations")), nchw);
  if (strides.size() != kernel.size()) return invalid_model("strides do not match the filter");
  const auto pads = TRY(pads_of(c, x, kernel, strides, dilations, nchw));
  int64_t groups = 1;
  const int64_t in = sizes[sizes.size() - 2];
  if (depthwise) {
    // [kh, kw, C, multiplier] is the grouped filter [kh, kw, 1, C * multiplier].
    groups = in;
    std::vector<int64_t> grouped = kernel;
    grouped.push_back(1);
    grouped.push_back(in * sizes.back());
    w = TRY(c.builder.op("reshape", {w, c.builder.ints(grouped)}));
  } else if (x->shape().ranked() && x->shape()[x->shape().rank() - 1].known() && in > 0) {
    groups = x->shape()[x->shape().rank() - 1].size() / in;
  }
  Value* y = TRY(c.builder.op(
      "conv", {x, w},
      {{"strides", strides}, {"pads", pads}, {"dilations", dilations}, {"groups", groups}}));
  return one(nchw ? move_channels(c, y, false) : Result<Value*>(y));
}

Values pool(RuleContext& c) {
  const bool nchw = TRY(c.node.attrs.get_string("data_format", "NHWC")).starts_with("NC");
  Value* x = nchw ? TRY(move_channels(c, c.inputs[0], true)) : c.inputs[0];
  const auto kernel = spatial(TRY(c.node.attrs.get_ints("ksize")), nchw);
  const auto strides = spatial(TRY(c.node.attrs.get_ints("strides")), nchw);
  if (strides.size() != kernel.size()) return invalid_model("strides do not match ksize");
  const auto pads = TRY(pads_of(c, x, kernel, strides, {}, nchw));
  const char* op = c.node.op.starts_with("Max") ? "max_pool" : "avg_pool";
  Value* y = TRY(c.builder.op(op, {x}, {{"kernel", kernel}, {"strides", strides}, {"pads", pads}}));
  return one(nchw ? move_channels(c, y, false) : Result<Value*>(y));
}

Values bias_add(RuleContext& c) {
  if (!TRY(c.node.attrs.get_string("data_format", "NHWC")).starts_with("NC"))
    return one(c.builder.op("add", c.inputs));
  Value* x = TRY(move_channels(c, c.inputs[0], true));
  return one(move_channels(c, TRY(c.builder.op("add", {x, c.inputs[1]})), false));
}

Values batch_norm(RuleContext& c) {
  if (TRY(c.node.attrs.get_bool("is_training", true)))
    return unsupported("batch normalisation in training mode; export the model for inference");
  const bool nchw = TRY(c.node.attrs.get_string("data_format", "NHWC")).starts_with("NC");
  Value* x = nchw ? TRY(move_channels(c, c.inputs[0], true)) : c.inputs[0];
  const double epsilon = static_cast<double>(TRY(c.node.attrs.get_float("epsilon", 1e-4f)));
  Value* y = TRY(c.builder.op("batch_norm", {x, c.inputs[1], c.inputs[2], c.inputs[3], c.inputs[4]},
                              {{"epsilon", epsilon}}));
  return one(nchw ? move_channels(c, y, false) : Result<Value*>(y));
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

Values strided_slice(RuleContext& c) {
  std::vector<Builder::Attr> attrs;
  for (const char* name :
       {"begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"})
    attrs.push_back({name, TRY(c.node.attrs.get_int(name, 0))});
  return one(c.builder.op("strided_slice", c.inputs, std::move(attrs)));
}

Values shape(RuleContext& c) {
  const DType out = TRY(to_dtype(TRY(c.node.attrs.get_type("out_type", DataType::i32))));
  return one(c.builder.op("shape", c.inputs, {{"dtype", out}}));
}

Values pack(RuleContext& c) {
  const int64_t axis = TRY(c.node.attrs.get_int("axis", 0));
  std::vector<Value*> rows;
  for (Value* v : c.inputs)
    rows.push_back(TRY(c.builder.op("expand_dims", {v}, {{"axes", std::vector<int64_t>{axis}}})));
  return one(c.builder.op("concat", rows, {{"axis", axis}}));
}

Values concat(RuleContext& c) {
  const auto axis = TRY(c.ints(static_cast<int>(c.inputs.size()) - 1));
  if (axis.size() != 1) return invalid_model("the axis must be a scalar");
  return one(c.builder.op("concat", {c.inputs.begin(), c.inputs.end() - 1}, {{"axis", axis[0]}}));
}

Values expand_dims(RuleContext& c) {
  return one(c.builder.op("expand_dims", {c.inputs[0]}, {{"axes", TRY(c.ints(1))}}));
}

Values squeeze(RuleContext& c) {
  std::vector<int64_t> axes;
  if (c.node.attrs.has("squeeze_dims")) axes = TRY(c.node.attrs.get_ints("squeeze_dims"));
  return one(c.builder.op("squeeze", c.inputs, {{"axes", axes}}));
}

Values gather(RuleContext& c) {
  int64_t axis = 0;
  if (c.inputs.size() > 2) axis = TRY(c.ints(2)).at(0);
  const int64_t batch = TRY(c.node.attrs.get_int("batch_dims", 0));
  return one(
      c.builder.op("gather", {c.inputs[0], c.inputs[1]}, {{"axis", axis}, {"batch_dims", batch}}));
}

Values resource_gather(RuleContext& c) {
  return gather(c);
}

// [rank, 2] paddings become begins, then ends.
Values pad(RuleContext& c) {
  const auto pairs = TRY(c.ints(1));
  std::vector<int64_t> pads;
  for (size_t half = 0; half < 2; ++half)
    for (size_t i = half; i < pairs.size(); i += 2) pads.push_back(pairs[i]);
  std::vector<Value*> operands{c.inputs[0], c.builder.ints(pads)};
  if (c.inputs.size() > 2) operands.push_back(c.inputs[2]);
  return one(c.builder.op("pad", operands));
}

Values fill(RuleContext& c) {
  return one(c.builder.op("expand", {c.inputs[1], c.inputs[0]}));
}

struct Entry {
  std::string_view op;
  Rule rule;
};
constexpr Entry kRules[] = {
    {"Abs", rAbs},
    {"Add", rAdd},
    {"AddV2", rAdd},
    {"All", reduce},
    {"Any", reduce},
    {"AvgPool", pool},
    {"AvgPool3D", pool},
    {"BatchMatMul", matmul},
    {"BatchMatMulV2", matmul},
    {"BatchMatMulV3", matmul},
    {"BiasAdd", bias_add},
    {"BroadcastTo", rExpand},
    {"Cast", cast},
    {"Ceil", rCeil},
    {"ConcatV2", concat},
    {"Const", constant},
    {"Conv2D", convolution},
    {"Conv3D", convolution},
    {"Cos", rCos},
    {"DepthwiseConv2dNative", convolution},
    {"DivNoNan", rDivNoNan},
    {"Elu", elu},
    {"Equal", rEqual},
    {"Erf", rErf},
    {"Erfc", rErfc},
    {"Exp", rExp},
    {"ExpandDims", expand_dims},
    {"Fill", fill},
    {"Floor", rFloor},
    {"FloorDiv", rFloorDiv},
    {"FloorMod", rFloorMod},
    {"FusedBatchNorm", batch_norm},
    {"FusedBatchNormV2", batch_norm},
    {"FusedBatchNormV3", batch_norm},
    {"Gather", gather},
    {"GatherV2", gather},
    {"Greater", rGreater},
    {"GreaterEqual", rGreaterEqual},
    {"LeakyRelu", leaky_relu},
    {"Less", rLess},
    {"LessEqual", rLessEqual},
    {"Log", rLog},
    {"Log1p", rLog1p},
    {"LogSoftmax", softmax},
    {"LogicalAnd", rLogicalAnd},
    {"LogicalNot", rLogicalNot},
    {"LogicalOr", rLogicalOr},
    {"MatMul", matmul},
    {"Max", reduce},
    {"MaxPool", pool},
    {"MaxPool3D", pool},
    {"Maximum", rMaximum},
    {"Mean", reduce},
    {"Min", reduce},
    {"Minimum", rMinimum},
    {"Mul", rMul},
    {"Neg", rNeg},
    {"NotEqual", rNotEqual},
    {"Pack", pack},
    {"Pad", pad},
    {"PadV2", pad},
    {"Pow", rPow},
    {"Prod", reduce},
    {"RealDiv", rRealDiv},
    {"Reciprocal", rReciprocal},
    {"Relu", rRelu},
    {"Relu6", clip6},
    {"Reshape", reshape},
    {"ResourceGather", resource_gather},
    {"Round", rRound},
    {"Rsqrt", rRsqrt},
    {"SelectV2", rSelectV2},
    {"Shape", shape},
    {"Sigmoid", rSigmoid},
    {"Sign", rSign},
    {"Sin", rSin},
    {"Softmax", softmax},
    {"Softplus", rSoftplus},
    {"Softsign", rSoftsign},
    {"Sqrt", rSqrt},
    {"Square", rSquare},
    {"SquaredDifference", rSquaredDifference},
    {"Squeeze", squeeze},
    {"StridedSlice", strided_slice},
    {"Sub", rSub},
    {"Sum", reduce},
    {"Tanh", rTanh},
    {"Tile", rTile},
    {"Transpose", transpose},
};

}  // namespace

Rule find_rule(std::string_view op) {
  for (const Entry& entry : kRules)
    if (entry.op == op) return entry.rule;
  return nullptr;
}

bool is_pass_through(std::string_view op) {
  constexpr std::string_view kOps[] = {"Identity", "IdentityN",   "StopGradient", "PreventGradient",
                                       "Snapshot", "EnsureShape", "CheckNumerics"};
  return std::ranges::find(kOps, op) != std::end(kOps);
}

}  // namespace tenon::tf
