// Rules of layers beyond plain convolution and pooling: transposed convolution, windows with
// positions, block rearrangement, recurrent cells, losses.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

// The spatial part of per-dimension attributes; 1 for each where the attribute is absent.
Result<std::vector<int64_t>> spatial_attr(const RuleContext& c, std::string_view name,
                                          size_t spatial, bool first) {
  if (!c.node.attrs.has(name)) return std::vector<int64_t>(spatial, 1);
  const auto all = TRY(c.node.attrs.get_ints(name));
  if (all.empty()) return std::vector<int64_t>(spatial, 1);
  if (all.size() != spatial + 2)
    return invalid_model("strides, dilations or ksize do not have one element per dimension");
  const auto begin = all.begin() + (first ? 2 : 1);
  std::vector<int64_t> values(begin, begin + static_cast<std::ptrdiff_t>(spatial));
  for (const int64_t v : values)
    if (v < 1 || v > 1 << 24) return invalid_model("strides, dilations or ksize are out of range");
  return values;
}

// The part of `y`, a transposed convolution without padding whose ends `extra` pixels were added
// to, that is left of it where the wanted sizes are known only at run time. It starts at `begins`,
// or for padding SAME at half of what the convolution itself has too much.
Result<Value*> cut_to_sizes(RuleContext& c, Value* y, Value* sizes,
                            const std::vector<int64_t>& axes, const std::vector<int64_t>& extra,
                            const std::vector<int64_t>& begins, bool same) {
  Builder& b = c.builder;
  Value* want = TRY(b.op("gather", {TRY(cast_to(c, sizes, DType::i64)), b.ints(axes)}));
  Value* start = b.ints(begins);
  const auto spatial = static_cast<int64_t>(axes.size());
  if (same) {
    Value* have = TRY(b.op("sub", {TRY(shape_of(c, y, 1, spatial + 1)), b.ints(extra)}));
    Value* spare = TRY(b.op("max", {TRY(b.op("sub", {have, want})), b.ints({0})}));
    start = TRY(b.op("floor_div", {spare, b.ints({2})}));
  }
  std::vector<int64_t> places;
  for (int64_t i = 1; i <= spatial; ++i) places.push_back(i);
  return b.op("slice", {y, start, TRY(b.op("add", {start, want}))}, {{"axes", places}});
}

// Conv2DBackpropInput and Conv3DBackpropInputV2: (sizes of the result, filter, x).
Values conv_transpose(RuleContext& c) {
  Builder& b = c.builder;
  const bool first = TRY(channels_first(c));
  Value* x = TRY(channels_to_last(c, c.inputs[2], first));
  Value* w = c.inputs[1];
  const DType t = x->dtype();
  if (is_int(t)) {  // exact in f64, and wraps around like a sum of integers
    x = TRY(cast_to(c, x, DType::f64));
    w = TRY(cast_to(c, w, DType::f64));
  }
  if (!w->shape().is_static() || w->shape().rank() < 4)
    return unsupported("the filter's shape must be known");
  const auto filter = w->shape().sizes();
  const size_t n = filter.size() - 2;
  if (TRY(rank_of(x)) != static_cast<int>(n) + 2) return invalid_model("the input's rank is wrong");
  const auto strides = TRY(spatial_attr(c, "strides", n, first));
  const auto dilations = TRY(spatial_attr(c, "dilations", n, first));
  const std::string_view padding = TRY(c.node.attrs.get_string("padding"));
  std::vector<int64_t> explicit_pads(2 * (n + 2), 0);
  if (padding == "EXPLICIT") explicit_pads = TRY(c.node.attrs.get_ints("explicit_paddings"));
  if (explicit_pads.size() != 2 * (n + 2)) return invalid_model("explicit_paddings is too short");
  const std::optional<SymInts>& sizes = c.inputs[0]->ints();
  const size_t at = first ? 2 : 1;
  const auto wanted = [&](size_t i) -> std::optional<int64_t> {
    if (!sizes || sizes->size() != n + 2) return std::nullopt;
    return (*sizes)[i].value;
  };
  std::vector<int64_t> pads(2 * n), output_padding(n), begins(n), places;
  bool cut = false;
  for (size_t i = 0; i < n; ++i) {
    const Dim in = x->shape()[static_cast<int>(i) + 1];
    const int64_t span = (filter[i] - 1) * dilations[i] + 1;
    places.push_back(static_cast<int64_t>(i + at));
    const auto out = wanted(i + at);
    cut = cut || !in.known() || !out;
    if (cut) continue;
    pads[i] = explicit_pads[2 * (i + at)];
    pads[i + n] = explicit_pads[2 * (i + at) + 1];
    const int64_t full = (in.size() - 1) * strides[i] + span;
    if (padding == "SAME") {
      const int64_t total = std::max<int64_t>(full - *out, 0);
      pads[i] = total / 2;
      pads[i + n] = total - total / 2;
    }
    output_padding[i] = *out - (full - pads[i] - pads[i + n]);
    if (output_padding[i] < 0 || output_padding[i] >= std::max(strides[i], dilations[i]))
      return invalid_model("the sizes asked for do not fit the input, the filter and the strides");
  }
  if (cut) {
    pads.assign(2 * n, 0);
    for (size_t i = 0; i < n; ++i) {
      output_padding[i] = strides[i] - 1;
      begins[i] = explicit_pads[2 * (i + at)];
    }
  }
  // The filter's channels of the result, over all groups.
  int64_t groups = 1;
  if (const auto channels = wanted(first ? 1 : n + 1); channels && filter[n] > 0)
    groups = std::max<int64_t>(*channels / filter[n], 1);
  Value* y = TRY(b.op("conv_transpose", {x, w},
                      {{"strides", strides},
                       {"pads", pads},
                       {"dilations", dilations},
                       {"groups", groups},
                       {"output_padding", output_padding}}));
  if (cut)
    y = TRY(cut_to_sizes(c, y, c.inputs[0], places, output_padding, begins, padding == "SAME"));
  if (is_int(t)) y = TRY(cast_to(c, TRY(cast_to(c, y, DType::i64)), t));
  return one(channels_to_first(c, y, first));
}

// (tensor of the result's sizes, filter, x)
Values conv_transpose_like(RuleContext& c) {
  RuleContext sized{
      c.model, c.builder, c.node, {TRY(shape_of(c, c.inputs[0])), c.inputs[1], c.inputs[2]}};
  return conv_transpose(sized);
}

// DepthwiseConv2dNativeBackpropInput: (sizes, filter [h, w, C, m], x), a group for each of C.
Values depthwise_transpose(RuleContext& c) {
  Value* w = c.inputs[1];
  if (!w->shape().is_static() || w->shape().rank() != 4)
    return unsupported("the filter's shape must be known");
  const auto sizes = w->shape().sizes();
  const std::optional<SymInts>& wanted = c.inputs[0]->ints();
  const size_t channel = TRY(channels_first(c)) ? 1 : 3;
  if (!wanted || wanted->size() != 4 || (*wanted)[channel].value != sizes[2])
    return unsupported("the channels of the result must be known, and those of the filter");
  w = TRY(
      c.builder.op("reshape", {w, c.builder.ints({sizes[0], sizes[1], 1, sizes[2] * sizes[3]})}));
  RuleContext grouped{c.model, c.builder, c.node, {c.inputs[0], w, c.inputs[2]}};
  return conv_transpose(grouped);
}

constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();

// The windows of an image or a volume as one slice of x per window position, channels last.
struct Windows {
  std::vector<int64_t> kernel, strides, dilations;
  Value* pads = nullptr;  // null where there are none
};

Result<Windows> windows_of(RuleContext& c, Value* x, std::vector<int64_t> kernel,
                           std::string_view dilations) {
  const int n = static_cast<int>(kernel.size());
  Windows w{std::move(kernel), TRY(spatial_attr(c, "strides", n, false)),
            TRY(spatial_attr(c, dilations, n, false))};
  int64_t pixels = 1;
  for (const int64_t size : w.kernel) {
    if (size < 1 || size > 1 << 12 || pixels * size > 1 << 12)
      return unsupported("windows of so many pixels");
    pixels *= size;
  }
  if (TRY(rank_of(x)) != n + 2)
    return invalid_model(fmt::format("{} dimensions are needed", n + 2));
  if (TRY(c.node.attrs.get_string("padding")) != "SAME") return w;
  // As much as (outputs - 1) * stride + span exceeds the size.
  Builder& b = c.builder;
  std::vector<int64_t> spans, before;
  for (size_t i = 0; i < w.kernel.size(); ++i) {
    spans.push_back((w.kernel[i] - 1) * w.dilations[i] + 1);
    before.push_back(w.strides[i] - 1);
  }
  Value* size = TRY(shape_of(c, x, 1, n + 1));
  Value* strides = b.ints(w.strides);
  Value* outputs = TRY(b.op("floor_div", {TRY(b.op("add", {size, b.ints(before)})), strides}));
  Value* last = TRY(b.op("mul", {TRY(b.op("sub", {outputs, b.ints({1})})), strides}));
  Value* total = TRY(b.op("sub", {TRY(b.op("add", {last, b.ints(spans)})), size}));
  total = TRY(b.op("max", {total, b.ints({0})}));
  Value* begins = TRY(b.op("floor_div", {total, b.ints({2})}));
  w.pads = TRY(join(c, {begins, TRY(b.op("sub", {total, begins}))}));
  return w;
}

// Row by row; `fill` stands outside the image.
Result<std::vector<Value*>> slide(RuleContext& c, Value* x, const Windows& w, Value* fill) {
  Builder& b = c.builder;
  const size_t n = w.kernel.size();
  std::vector<int64_t> axes;
  for (size_t i = 0; i < n; ++i) axes.push_back(static_cast<int64_t>(i) + 1);
  if (w.pads != nullptr) x = TRY(b.op("pad", {x, w.pads, fill}, {{"axes", axes}}));
  std::vector<Value*> windows;
  std::vector<int64_t> at(n, 0);
  for (bool more = true; more;) {
    std::vector<int64_t> begins, ends;
    for (size_t i = 0; i < n; ++i) {
      begins.push_back(at[i] * w.dilations[i]);
      const int64_t behind = (w.kernel[i] - 1 - at[i]) * w.dilations[i];
      ends.push_back(behind == 0 ? kEnd : -behind);
    }
    windows.push_back(
        TRY(b.op("slice", {x, b.ints(begins), b.ints(ends), b.ints(w.strides)}, {{"axes", axes}})));
    more = false;
    for (size_t i = n; i-- > 0 && !more;) {
      more = ++at[i] < w.kernel[i];
      if (!more) at[i] = 0;
    }
  }
  return windows;
}

// Windows of an image or a volume side by side in the channels.
Values extract_patches(RuleContext& c) {
  Value* x = c.inputs[0];
  const int n = c.node.op == "ExtractVolumePatches" ? 3 : 2;
  const auto kernel = TRY(spatial_attr(c, "ksizes", n, false));
  const Windows w = TRY(windows_of(c, x, kernel, "rates"));
  return one(join(c, TRY(slide(c, x, w, TRY(number(c, 0, x->dtype())))), n + 1));
}

// The largest of image + filter over windows.
Values dilation(RuleContext& c) {
  Builder& b = c.builder;
  Value *x = c.inputs[0], *f = c.inputs[1];
  const DType t = x->dtype();
  if (is_int(t)) {  // what lies outside must stay below all sums
    x = TRY(cast_to(c, x, DType::f64));
    f = TRY(cast_to(c, f, DType::f64));
  }
  if (!f->shape().is_static() || f->shape().rank() != 3)
    return unsupported("the filter's shape must be known");
  const auto sizes = f->shape().sizes();
  const Windows w = TRY(windows_of(c, x, {sizes[0], sizes[1]}, "rates"));
  Value* lowest = TRY(number(c, -std::numeric_limits<double>::infinity(), x->dtype()));
  const auto windows = TRY(slide(c, x, w, lowest));
  Value* y = nullptr;
  for (size_t i = 0; i < windows.size(); ++i) {
    const auto k = static_cast<int64_t>(i);
    Value* weight = TRY(b.op("slice", {f, b.ints({k / sizes[1], k % sizes[1]}),
                                       b.ints({k / sizes[1] + 1, k % sizes[1] + 1})}));
    Value* term = TRY(b.op("add", {windows[i], TRY(b.op("reshape", {weight, b.ints({-1})}))}));
    y = y == nullptr ? term : TRY(b.op("max", {y, term}));
  }
  if (y == nullptr) return invalid_model("the filter is empty");
  return one(cast_to(c, y, t));
}

// The largest of each window and where it is in the flattened image (or batch).
Values max_pool_with_argmax(RuleContext& c) {
  Builder& b = c.builder;
  Value* x = c.inputs[0];
  const Windows w = TRY(windows_of(c, x, TRY(spatial_attr(c, "ksize", 2, false)), "dilations"));
  Value* zero = TRY(number(c, 0, DType::i64));
  Value* one_i = TRY(number(c, 1, DType::i64));
  const auto dim = [&](int64_t i) -> Result<Value*> {
    return b.op("squeeze", {TRY(shape_of(c, x, i, i + 1))});
  };
  Value *height = TRY(dim(1)), *width = TRY(dim(2)), *channels = TRY(dim(3));
  Value* area = TRY(b.op("mul", {height, width}));
  Value* places = TRY(b.op("range", {zero, area, one_i}));
  Value* image = TRY(join(c, {b.ints({1}), TRY(shape_of(c, x, 1, 3)), b.ints({1})}));
  places = TRY(b.op("reshape", {places, image}));
  Value* lowest = TRY(number(c, -std::numeric_limits<double>::infinity(), x->dtype()));
  const auto values = TRY(slide(c, x, w, lowest));
  const auto indices = TRY(slide(c, places, w, zero));
  Value *best = values[0], *at = indices[0];
  for (size_t i = 1; i < values.size(); ++i) {
    Value* better = TRY(b.op("greater", {values[i], best}));
    best = TRY(b.op("select", {better, values[i], best}));
    at = TRY(b.op("select", {better, indices[i], at}));
  }
  Value* channel = TRY(b.op("range", {zero, channels, one_i}));
  at = TRY(b.op("add", {TRY(b.op("mul", {at, channels})), channel}));
  if (TRY(c.node.attrs.get_bool("include_batch_in_index", false))) {
    Value* image_of = TRY(b.op("range", {zero, TRY(dim(0)), one_i}));
    image_of = TRY(b.op("reshape", {image_of, b.ints({-1, 1, 1, 1})}));
    Value* size = TRY(b.op("mul", {area, channels}));
    at = TRY(b.op("add", {at, TRY(b.op("mul", {image_of, size}))}));
  }
  // Where the window is larger than its best value's row, every image has the same places.
  at = TRY(b.op("expand", {at, TRY(shape_of(c, best))}));
  return std::vector<Value*>{best,
                             TRY(cast_to(c, at, TRY(dtype_attr(c, "Targmax", DataType::i64))))};
}

// Kernel and strides come as operands.
Values max_pool_v2(RuleContext& c) {
  const bool first = TRY(channels_first(c));
  const auto kernel = TRY(c.ints(1)), strides = TRY(c.ints(2));
  if (first || kernel.size() != 4 || strides.size() != 4)
    return unsupported("only over four dimensions, channels last");
  const bool same = TRY(c.node.attrs.get_string("padding")) == "SAME";
  return one(c.builder.op("max_pool", {c.inputs[0]},
                          {{"kernel", std::vector<int64_t>{kernel[1], kernel[2]}},
                           {"strides", std::vector<int64_t>{strides[1], strides[2]}},
                           {"auto_pad", std::string(same ? "same_upper" : "none")}}));
}

// SpaceToBatch and BatchToSpace, whose block is an attribute.
Values square_blocks(RuleContext& c) {
  const int64_t block = TRY(c.node.attrs.get_int("block_size"));
  return one(c.builder.op(c.node.op == "SpaceToBatch" ? "space_to_batch" : "batch_to_space",
                          {c.inputs[0], c.builder.ints({block, block}), c.inputs[1]}));
}

Values depth_space(RuleContext& c) {
  const bool first = TRY(channels_first(c));
  if (TRY(c.node.attrs.get_string("data_format", "NHWC")) == "NCHW_VECT_C")
    return unsupported("data format NCHW_VECT_C");
  Value* x = TRY(channels_to_last(c, c.inputs[0], first));
  Value* y = TRY(c.builder.op(c.node.op == "DepthToSpace" ? "depth_to_space" : "space_to_depth",
                              {x}, {{"block", TRY(c.node.attrs.get_int("block_size"))}}));
  return one(channels_to_first(c, y, first));
}

Values l2_loss(RuleContext& c) {
  Value* sum = TRY(c.builder.op("sum_square", {c.inputs[0]}));
  return one(c.builder.op("mul", {sum, TRY(number(c, 0.5, sum->dtype()))}));
}

// The loss of each row and its gradient, softmax - labels.
Values cross_entropy(RuleContext& c) {
  Builder& b = c.builder;
  Value *logits = c.inputs[0], *labels = c.inputs[1];
  if (c.node.op.starts_with("Sparse")) {
    const DType t = logits->dtype();
    Value* depth = TRY(b.op("squeeze", {TRY(shape_of(c, logits, 1, 2))}));
    labels = TRY(b.op("one_hot", {labels, depth, TRY(number(c, 1, t)), TRY(number(c, 0, t))}));
  }
  Value* log = TRY(b.op("log_softmax", {logits}));
  Value* zero = TRY(number(c, 0, logits->dtype()));
  Value* term = TRY(
      b.op("select", {TRY(b.op("equal", {labels, zero})), zero, TRY(b.op("mul", {labels, log}))}));
  Value* sum = TRY(b.op("sum", {term}, {{"axes", std::vector<int64_t>{-1}}}));
  return std::vector<Value*>{TRY(b.op("neg", {sum})),
                             TRY(b.op("sub", {TRY(b.op("softmax", {logits})), labels}))};
}

constexpr RuleEntry kRules[] = {
    {"BatchToSpace", square_blocks, 2},
    {"BatchToSpaceND", same<"batch_to_space">, 3},
    {"BiasAddV1", same<"add">, 2},
    {"Conv2DBackpropInput", conv_transpose, 3},
    {"Conv3DBackpropInput", conv_transpose_like, 3},
    {"Conv3DBackpropInputV2", conv_transpose, 3},
    {"DepthToSpace", depth_space},
    {"DepthwiseConv2dNativeBackpropInput", depthwise_transpose, 3},
    {"Dilation2D", dilation, 2},
    {"ExtractImagePatches", extract_patches},
    {"ExtractVolumePatches", extract_patches},
    {"L2Loss", l2_loss},
    {"MaxPoolV2", max_pool_v2, 3},
    {"MaxPoolWithArgmax", max_pool_with_argmax},
    {"SoftmaxCrossEntropyWithLogits", cross_entropy, 2},
    {"SpaceToBatch", square_blocks, 2},
    {"SpaceToBatchND", same<"space_to_batch">, 3},
    {"SpaceToDepth", depth_space},
    {"SparseSoftmaxCrossEntropyWithLogits", cross_entropy, 2},
};

}  // namespace

std::span<const RuleEntry> layer_rules() {
  return kRules;
}

}  // namespace tenon::tf
