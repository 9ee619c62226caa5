// Rules of the ops that look at shapes or give the same elements another one.
#include <fmt/format.h>

#include "import/onnx/rule_support.h"

namespace tenon::onnx {
namespace {

Result<Values> shape(RuleContext& c) {
  constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
  return one(shape_of(c, c.in(0), TRY(c.get_int("start", 0)), TRY(c.get_int("end", kEnd))));
}

Result<Values> reshape(RuleContext& c) {
  Value* shape = c.in(1);
  if (c.opset < 5) shape = c.builder.ints(TRY(c.get_ints("shape")));
  if (shape == nullptr) return invalid_model("operand 1, the shape, is missing");
  return one(
      c.op("reshape", {c.in(0), shape}, {{"allow_zero", TRY(c.get_bool("allowzero", false))}}));
}

Result<Values> flatten(RuleContext& c) {
  const int64_t axis = TRY(c.get_int("axis", 1));
  const Shape& x = c.in(0)->shape();
  if (x.ranked() && (axis < -x.rank() || axis > x.rank()))
    return invalid_model(fmt::format("axis {} of {} dimensions", axis, x.rank()));
  return one(as_matrix(c, c.in(0), axis));
}

// Squeeze and Unsqueeze: axes were an attribute before opset 13.
Result<Values> change_rank(RuleContext& c) {
  const std::string_view core = c.node.op == "Squeeze" ? "squeeze" : "expand_dims";
  if (!c.has(1)) return one(c.op(core, {c.in(0)}, {{"axes", TRY(c.get_ints("axes"))}}));
  // No axes: nothing to change, whereas the core op would remove all of size 1.
  const auto axes = known_ints(c.in(1));
  if (axes && axes->empty()) return Values{c.in(0)};
  return one(with_attr(c, core, {c.in(0)}, "axes", c.in(1), {}, "none"));
}

Result<Values> concat(RuleContext& c) {
  return one(c.op("concat", c.inputs, {{"axis", TRY(c.get_int("axis", 1))}}));
}

// Parts of sizes that are computed: slices between running sums.
Result<Values> split_by_value(RuleContext& c, int64_t axis, int64_t count) {
  Value* sizes = c.in(1);
  Value* ends = TRY(c.op("cumsum", {sizes}, {{"axis", int64_t{0}}}));
  Value* starts = TRY(c.op("sub", {ends, sizes}));
  Values parts;
  for (int64_t i = 0; i < count; ++i) {
    Value* index = c.builder.ints({i});
    Value* start = TRY(c.op("gather", {starts, index}));
    Value* end = TRY(c.op("gather", {ends, index}));
    parts.push_back(
        TRY(c.op("slice", {c.in(0), start, end}, {{"axes", std::vector<int64_t>{axis}}})));
  }
  return parts;
}

Result<Values> split(RuleContext& c) {
  const int64_t axis = TRY(c.get_int("axis", 0));
  const auto count = static_cast<int64_t>(c.node.outputs.size());
  std::vector<int64_t> sizes = TRY(c.get_ints("split"));
  if (c.has(1)) {
    const auto known = known_ints(c.in(1));
    if (!known) return split_by_value(c, axis, count);
    sizes = *known;
  }
  if (!sizes.empty() && static_cast<int64_t>(sizes.size()) != count)
    return invalid_model(fmt::format("{} sizes for {} outputs", sizes.size(), count));
  const int64_t num = TRY(c.get_int("num_outputs", count));
  if (num != count)
    return invalid_model(fmt::format("num_outputs is {}, but there are {} outputs", num, count));
  if (!sizes.empty())
    return all(c.builder.node("split", {c.in(0)}, {{"axis", axis}, {"sizes", sizes}}));
  return all(c.builder.node("split", {c.in(0)}, {{"axis", axis}, {"num", num}}));
}

Result<Values> transpose(RuleContext& c) {
  return one(c.op("transpose", {c.in(0)}, {{"perm", TRY(c.get_ints("perm"))}}));
}

// [N, C * block², H, W] to [N, C, H * block, W * block] and back.
Result<Values> depth_to_space(RuleContext& c) {
  const std::string mode = TRY(c.get_string("mode", "DCR"));
  if (mode != "DCR" && mode != "CRD")
    return invalid_model(fmt::format("mode is '{}', but DCR or CRD is expected", mode));
  Value* y = TRY(c.op("depth_to_space", {TRY(channels_last(c, c.in(0)))},
                      {{"block", TRY(c.get_int("blocksize"))},
                       {"mode", std::string(mode == "DCR" ? "dcr" : "crd")}}));
  return one(channels_first(c, y));
}

// The core op has the offsets within a block outermost; CRD has them innermost.
Result<Values> space_to_depth(RuleContext& c) {
  const int64_t block = TRY(c.get_int("blocksize"));
  Value* x = TRY(channels_last(c, c.in(0)));
  Value* y = TRY(c.op("space_to_depth", {x}, {{"block", block}}));
  const std::string mode = TRY(c.get_string("mode", "DCR"));
  if (mode == "DCR") return one(channels_first(c, y));
  const Dim channels = x->shape()[x->shape().rank() - 1];
  constexpr int64_t kMostBlock = 1 << 10, kMost = 1 << 24;
  if (mode != "CRD" || !channels.known() || block > kMostBlock ||
      channels.size() > kMost / (block * block))
    return unsupported(fmt::format("mode '{}' of {}", mode, x->type().to_string()));
  std::vector<int64_t> order;
  for (int64_t channel = 0; channel < channels.size(); ++channel)
    for (int64_t offset = 0; offset < block * block; ++offset)
      order.push_back(offset * channels.size() + channel);
  y = TRY(c.op("gather", {y, c.builder.ints(order)}, {{"axis", int64_t{-1}}}));
  return one(channels_first(c, y));
}

Result<Values> constant_of_shape(RuleContext& c) {
  Value* value = c.builder.constant(Tensor::scalar(0.0f));
  if (c.has_attr("value")) {
    const Tensor t = TRY(c.get_tensor("value"));
    if (t.elements() != 1)
      return invalid_model(fmt::format("'value' has {} elements, not one", t.elements()));
    value = c.builder.constant(t.reshaped({}));
  }
  return one(c.op("expand", {value, c.in(0)}));
}

Result<Values> eye_like(RuleContext& c) {
  return one(c.op(
      "eye_like", {c.in(0)},
      {{"k", TRY(c.get_int("k", 0))}, {"dtype", TRY(c.get_dtype("dtype", c.in(0)->dtype()))}}));
}

Result<Values> trilu(RuleContext& c) {
  return one(c.op("trilu", c.inputs, {{"upper", TRY(c.get_bool("upper", true))}}));
}

// Cropping and padding are one pad, of negative and positive amounts: half of the difference
// (toward zero) before, the rest behind.
Result<Values> center_crop_pad(RuleContext& c) {
  Value* x = c.in(0);
  std::vector<int64_t> axes = TRY(c.get_ints("axes"));
  Value* now = TRY(shape_of(c, x));
  if (!axes.empty()) {
    if (x->shape().ranked())
      for (int64_t& a : axes)
        if (a < 0) a += x->shape().rank();
    now = TRY(c.op("gather", {now, c.builder.ints(axes)}));
  }
  Value* target = TRY(c.cast(c.in(1), DType::i64));
  Value* difference = TRY(c.op("sub", {target, now}));
  Value* before = TRY(c.op("div", {difference, c.builder.constant(Tensor::scalar<int64_t>(2))}));
  Value* behind = TRY(c.op("sub", {difference, before}));
  return one(c.op("pad", {x, TRY(join(c, {before, behind}))}, {{"axes", axes}}));
}

constexpr Rule kRules[] = {
    {"CenterCropPad", 2, center_crop_pad},
    {"Concat", {1, kVariadic}, concat},
    {"ConstantOfShape", 1, constant_of_shape},
    {"DepthToSpace", 1, depth_to_space},
    {"Expand", 2, direct<"expand">},
    {"EyeLike", 1, eye_like},
    {"Flatten", 1, flatten},
    {"Range", 3, direct<"range">},
    {"Reshape", {1, 2}, reshape},
    {"Shape", 1, shape},
    {"Size", 1, direct<"size">},
    {"SpaceToDepth", 1, space_to_depth},
    {"Split", {1, 2}, split},
    {"Squeeze", {1, 2}, change_rank},
    {"Tile", 2, direct<"tile">},
    {"Transpose", 1, transpose},
    {"Trilu", {1, 2}, trilu},
    {"Unsqueeze", {1, 2}, change_rank},
};

}  // namespace

std::span<const Rule> shape_rules() {
  return kRules;
}

}  // namespace tenon::onnx
