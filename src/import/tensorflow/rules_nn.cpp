// Rules of the layers of neural networks: convolution, pooling, normalisation.
#include <fmt/format.h>

#include <algorithm>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

// Window sizes, strides and dilations; what is beyond is a damaged model.
constexpr int64_t kMaxWindow = int64_t{1} << 30;

Values softmax(RuleContext& c) {
  return one(c.builder.op(c.node.op == "Softmax" ? "softmax" : "log_softmax", c.inputs,
                          {{"axis", int64_t{-1}}}));
}

// Values given per dimension of an NHWC or NCHW tensor, reduced to the spatial ones.
std::vector<int64_t> spatial(const std::vector<int64_t>& all, bool channels_first) {
  if (all.size() < 3) return {};
  return channels_first ? std::vector<int64_t>(all.begin() + 2, all.end())
                        : std::vector<int64_t>(all.begin() + 1, all.end() - 1);
}

// Pads for padding SAME, VALID or EXPLICIT as attribute pads or, for SAME with a stride and sizes
// that are not known, auto_pad.
Result<Builder::Attr> pads_of(RuleContext& c, const Value* x, const std::vector<int64_t>& kernel,
                              const std::vector<int64_t>& strides,
                              const std::vector<int64_t>& dilations, bool channels_first) {
  for (const auto* list : {&kernel, &strides, &dilations})
    for (const int64_t v : *list)
      if (v < 1 || v > kMaxWindow)
        return invalid_model(fmt::format("a window size, stride or dilation of {}", v));
  const std::string_view padding = TRY(c.node.attrs.get_string("padding"));
  const size_t n = kernel.size();
  std::vector<int64_t> pads(2 * n, 0);
  if (padding == "VALID") return Builder::Attr{"pads", pads};
  if (padding != "SAME" && padding != "EXPLICIT")
    return invalid_model(fmt::format("attribute 'padding' is '{}'", padding));
  if (padding == "EXPLICIT") {
    const auto all = TRY(c.node.attrs.get_ints("explicit_paddings"));
    const size_t first = channels_first ? 2 : 1;
    if (all.size() < 2 * (n + first)) return invalid_model("explicit_paddings is too short");
    for (size_t i = 0; i < n; ++i) {
      pads[i] = all[2 * (i + first)];
      pads[i + n] = all[2 * (i + first) + 1];
    }
    return Builder::Attr{"pads", pads};
  }
  for (size_t i = 0; i < n; ++i) {
    const int64_t span = (kernel[i] - 1) * (i < dilations.size() ? dilations[i] : 1) + 1;
    int64_t total = span - 1;
    if (strides[i] != 1) {
      const int axis = static_cast<int>(i) + 1;
      const Dim d = axis < x->shape().rank() ? x->shape()[axis] : Dim::unknown();
      if (!d.known()) return Builder::Attr{"auto_pad", std::string("same_upper")};
      // What is left of the input for the last window; in this order no size overflows.
      const int64_t rest = d.size() - std::max<int64_t>(d.size() - 1, 0) / strides[i] * strides[i];
      total = std::max<int64_t>(span - rest, 0);
    }
    pads[i] = total / 2;
    pads[i + n] = total - total / 2;
  }
  return Builder::Attr{"pads", pads};
}

Result<Value*> move_channels(RuleContext& c, Value* x, bool to_last) {
  const int rank = x->shape().rank();
  if (rank < 2)
    return unsupported("the rank of its input must be known; give it with --input-shape");
  std::vector<int64_t> perm{0};
  if (!to_last) perm.push_back(rank - 1);
  for (int i = to_last ? 2 : 1; i < (to_last ? rank : rank - 1); ++i) perm.push_back(i);
  if (to_last) perm.push_back(1);
  return c.builder.op("transpose", {x}, {{"perm", perm}});
}

// Conv2D, Conv3D, Conv and DepthwiseConv2dNative.
Values convolution(RuleContext& c) {
  const std::string_view format = TRY(c.node.attrs.get_string("data_format", "NHWC"));
  const bool nchw = format.starts_with("NC") || format == "CHANNELS_FIRST";
  if (TRY(c.node.attrs.get_int("batch_dims", 1)) != 1)
    return unsupported("several dimensions of a batch");
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
  const DType t = x->dtype();
  if (is_int(t)) {  // exact in f64, and wraps around like a sum of integers
    x = TRY(cast_to(c, x, DType::f64));
    w = TRY(cast_to(c, w, DType::f64));
  }
  Value* y = TRY(c.builder.op(
      "conv", {x, w}, {{"strides", strides}, pads, {"dilations", dilations}, {"groups", groups}}));
  if (is_int(t)) y = TRY(cast_to(c, TRY(cast_to(c, y, DType::i64)), t));
  return one(nchw ? move_channels(c, y, false) : Result<Value*>(y));
}

Result<Value*> padded_by_mirror(RuleContext& c, Value* x, Value* pads) {
  RuleContext pad{c.model, c.builder, c.node, {x, pads}};
  const auto values = TRY(find_rule("MirrorPad")->rule(pad));
  return values[0];
}

// (x, paddings, filter)
Values pad_and_convolution(RuleContext& c) {
  Value* x = TRY(padded_by_mirror(c, c.inputs[0], c.inputs[1]));
  RuleContext conv{c.model, c.builder, c.node, {x, c.inputs[2]}};
  return convolution(conv);
}

// (x, size, paddings, filter)
Values resize_and_convolution(RuleContext& c) {
  const bool align = TRY(c.node.attrs.get_bool("resize_align_corners", false));
  Value* x =
      TRY(c.builder.op("resize", {c.inputs[0], c.inputs[1]},
                       {{"mode", std::string("linear")},
                        {"coordinate", std::string(align ? "align_corners" : "asymmetric")}}));
  x = TRY(padded_by_mirror(c, x, c.inputs[2]));
  RuleContext conv{c.model, c.builder, c.node, {x, c.inputs[3]}};
  return convolution(conv);
}

// MaxPool over groups of channels, which do not overlap.
Values pool_channels(RuleContext& c, int64_t size) {
  Builder& b = c.builder;
  Value* x = c.inputs[0];
  if (TRY(rank_of(x)) != 4) return invalid_model("an input of four dimensions is expected");
  Value* last = TRY(b.op("floor_div", {TRY(shape_of(c, x, 3, 4)), b.ints({size})}));
  Value* shape = TRY(join(c, {TRY(shape_of(c, x, 0, 3)), last, b.ints({size})}));
  Value* groups = TRY(b.op("reshape", {x, shape}, {{"allow_zero", true}}));
  return one(b.op("reduce_max", {groups}, {{"axes", std::vector<int64_t>{4}}}));
}

Values pool(RuleContext& c) {
  const bool nchw = TRY(c.node.attrs.get_string("data_format", "NHWC")).starts_with("NC");
  Value* x = nchw ? TRY(move_channels(c, c.inputs[0], true)) : c.inputs[0];
  const auto all = TRY(c.node.attrs.get_ints("ksize"));
  if (!nchw && all.size() == 4 && all[3] > 1) return pool_channels(c, all[3]);
  const auto kernel = spatial(all, nchw);
  const auto strides = spatial(TRY(c.node.attrs.get_ints("strides")), nchw);
  if (strides.size() != kernel.size()) return invalid_model("strides do not match ksize");
  const auto pads = TRY(pads_of(c, x, kernel, strides, {}, nchw));
  const char* op = c.node.op.starts_with("Max") ? "max_pool" : "avg_pool";
  Value* y = TRY(c.builder.op(op, {x}, {{"kernel", kernel}, {"strides", strides}, pads}));
  return one(nchw ? move_channels(c, y, false) : Result<Value*>(y));
}

// (x, y, dy) of y = max_pool(x): each window hands its gradient to its largest element.
Values max_pool_grad(RuleContext& c) {
  Builder& b = c.builder;
  const bool nchw = TRY(c.node.attrs.get_string("data_format", "NHWC")).starts_with("NC");
  Value *x = c.inputs[0], *dy = c.inputs[2];
  if (nchw) x = TRY(move_channels(c, x, true)), dy = TRY(move_channels(c, dy, true));
  const auto kernel = spatial(TRY(c.node.attrs.get_ints("ksize")), nchw);
  const auto strides = spatial(TRY(c.node.attrs.get_ints("strides")), nchw);
  if (strides.size() != kernel.size()) return invalid_model("strides do not match ksize");
  const auto pads = TRY(pads_of(c, x, kernel, strides, {}, nchw));
  Value* at = TRY(b.op("max_pool_index", {x}, {{"kernel", kernel}, {"strides", strides}, pads}));
  // Positions count within the spatial dimensions: those become one.
  const int rank = TRY(rank_of(x));
  const auto flat = [&](Value* v) -> Result<Value*> {
    Value* shape =
        TRY(join(c, {TRY(shape_of(c, v, 0, 1)), b.ints({-1}), TRY(shape_of(c, v, rank - 1))}));
    return b.op("reshape", {v, shape});
  };
  Value* pixels = TRY(b.op("prod", {TRY(shape_of(c, x, 1, rank - 1))}, {{"keep_dims", true}}));
  Value* shape = TRY(join(c, {TRY(shape_of(c, x, 0, 1)), pixels, TRY(shape_of(c, x, rank - 1))}));
  Value* zeros = TRY(filled(c, 0, dy->dtype(), shape));
  Value* dx = TRY(b.op("scatter_elements", {zeros, TRY(flat(at)), TRY(flat(dy))},
                       {{"axis", int64_t{1}}, {"reduction", std::string("add")}}));
  dx = TRY(b.op("reshape", {dx, TRY(shape_of(c, x))}));
  return one(nchw ? move_channels(c, dx, false) : Result<Value*>(dx));
}

Values bias_add(RuleContext& c) {
  if (!TRY(c.node.attrs.get_string("data_format", "NHWC")).starts_with("NC"))
    return one(c.builder.op("add", c.inputs));
  Value* x = TRY(move_channels(c, c.inputs[0], true));
  return one(move_channels(c, TRY(c.builder.op("add", {x, c.inputs[1]})), false));
}

constexpr RuleEntry kRules[] = {
    {"AvgPool", pool},
    {"AvgPool3D", pool},
    {"BiasAdd", bias_add, 2},
    {"Conv", convolution, 2},
    {"Conv2D", convolution, 2},
    {"FusedPadConv2D", pad_and_convolution, 3},
    {"FusedResizeAndPadConv2D", resize_and_convolution, 4},
    {"Conv3D", convolution, 2},
    {"DepthwiseConv2dNative", convolution, 2},
    {"LogSoftmax", softmax},
    {"MaxPool", pool},
    {"MaxPool3D", pool},
    {"MaxPoolGrad", max_pool_grad, 3},
    {"Softmax", softmax},
};

}  // namespace

std::span<const RuleEntry> nn_rules() {
  return kRules;
}

}  // namespace tenon::tf
