// Rules of constants and of ops that make, shape, join and cut tensors.
#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

Values constant(RuleContext& c) {
  const TensorProto proto = TRY(c.node.attrs.get_tensor("value"));
  auto value = TRY(tensor_value(proto, c.model.owner));
  const std::string name(c.node.name);
  // One value for all elements takes a few bytes in the file, and should not take more here.
  constexpr int64_t kMaxRepeated = 1 << 18;
  if (!value.splat || TRY(element_count(value.dims, value.dtype)) <= kMaxRepeated)
    return std::vector<Value*>{c.builder.constant(TRY(to_tensor(std::move(value), name)))};
  Value* dims = c.builder.ints(std::exchange(value.dims, {}));
  Value* element = c.builder.constant(TRY(to_tensor(std::move(value), name)));
  return one(c.builder.op("expand", {element, dims}));
}

Values reshape(RuleContext& c) {
  return one(c.builder.op("reshape", c.inputs, {{"allow_zero", true}}));
}

Values transpose(RuleContext& c) {
  return one(add_with_attr(c.builder, "transpose", {c.inputs[0]}, "perm", c.inputs[1], {}, "rank"));
}

Values strided_slice(RuleContext& c) {
  for (size_t i = 1; i < c.inputs.size(); ++i) c.inputs[i] = TRY(indices(c, c.inputs[i]));
  const auto mask = [&](const char* name) { return c.node.attrs.get_int(name, 0); };
  return one(c.builder.op("strided_slice", c.inputs,
                          {{"begin_mask", TRY(mask("begin_mask"))},
                           {"end_mask", TRY(mask("end_mask"))},
                           {"ellipsis_mask", TRY(mask("ellipsis_mask"))},
                           {"new_axis_mask", TRY(mask("new_axis_mask"))},
                           {"shrink_axis_mask", TRY(mask("shrink_axis_mask"))}}));
}

// x with a strided slice of it replaced: the slice of the elements' numbers says where to write.
Values update_strided_slice(RuleContext& c) {
  Builder& b = c.builder;
  if (c.inputs.size() < 5) return invalid_model("it needs a tensor, a slice and a value");
  Value *x = c.inputs[0], *value = c.inputs[4];
  Value* sizes = TRY(shape_of(c, x));
  Value* flat = TRY(flatten(c, x));
  Value* count = TRY(b.op("squeeze", {TRY(shape_of(c, flat))}));
  Value* numbers =
      TRY(b.op("range", {TRY(number(c, 0, DType::i64)), count, TRY(number(c, 1, DType::i64))}));
  numbers = TRY(b.op("reshape", {numbers, sizes}, {{"allow_zero", true}}));
  RuleContext inner{c.model, b, c.node, {numbers, c.inputs[1], c.inputs[2], c.inputs[3]}};
  Value* chosen = TRY(strided_slice(inner))[0];
  value = TRY(b.op("expand", {value, TRY(shape_of(c, chosen))}));
  chosen = TRY(b.op("reshape", {chosen, b.ints({-1, 1})}));
  flat = TRY(b.op("scatter_nd", {flat, chosen, TRY(flatten(c, value))}));
  return one(b.op("reshape", {flat, sizes}, {{"allow_zero", true}}));
}

Values shape(RuleContext& c) {
  const DType out = TRY(to_dtype(TRY(c.node.attrs.get_type("out_type", DataType::i32))));
  if (c.inputs[0]->type().is_list) {  // a vector of variants
    Value* length = TRY(c.builder.op("list_length", {c.inputs[0]}, {{"dtype", out}}));
    return one(c.builder.op("reshape", {length, c.builder.ints({1})}));
  }
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
  if (c.inputs.back()->shape().elements() != 1) return invalid_model("the axis must be a scalar");
  return one(add_with_attr(c.builder, "concat", {c.inputs.begin(), c.inputs.end() - 1}, "axis",
                           c.inputs.back(), {}, "rank"));
}

Values expand_dims(RuleContext& c) {
  return one(
      add_with_attr(c.builder, "expand_dims", {c.inputs[0]}, "axes", c.inputs[1], {}, "none"));
}

Values squeeze(RuleContext& c) {
  std::vector<int64_t> axes;
  if (c.node.attrs.has("squeeze_dims")) axes = TRY(c.node.attrs.get_ints("squeeze_dims"));
  return one(c.builder.op("squeeze", c.inputs, {{"axes", axes}}));
}

Values gather(RuleContext& c) {
  const int64_t batch = TRY(c.node.attrs.get_int("batch_dims", 0));
  Value* axis = c.inputs.size() > 2 ? c.inputs[2] : c.builder.ints({0});
  return one(add_with_attr(c.builder, "gather", {c.inputs[0], TRY(indices(c, c.inputs[1]))}, "axis",
                           axis, {{"batch_dims", batch}}, "rank"));
}

// [rank, 2] paddings become begins, then ends.
Values pad(RuleContext& c) {
  Value* pads = TRY(pads_from_pairs(c, c.inputs[1]));
  std::vector<Value*> operands{c.inputs[0], pads};
  if (c.inputs.size() > 2) operands.push_back(c.inputs[2]);
  return one(c.builder.op("pad", operands));
}

Values fill(RuleContext& c) {
  return one(c.builder.op("expand", {c.inputs[1], c.inputs[0]}));
}

constexpr RuleEntry kRules[] = {
    {"BroadcastTo", same<"expand">},
    {"ConcatV2", concat, 2},
    {"Const", constant, 0},
    {"ExpandDims", expand_dims, 2},
    {"Fill", fill, 2},
    {"Gather", gather, 2},
    {"GatherV2", gather, 2},
    {"Pack", pack},
    {"Pad", pad, 2},
    {"PadV2", pad, 3},
    {"Reshape", reshape, 2},
    {"ResourceGather", gather, 2},
    {"Shape", shape},
    {"Squeeze", squeeze},
    {"StridedSlice", strided_slice},
    {"TensorStridedSliceUpdate", update_strided_slice, 5},
    {"Tile", same<"tile">},
    {"Transpose", transpose, 2},
};

}  // namespace

std::span<const RuleEntry> shape_rules() {
  return kRules;
}

}  // namespace tenon::tf
