// Rules of the ops that pick, place and pad elements by position.
#include <fmt/format.h>

#include "import/onnx/rule_support.h"

namespace tenon::onnx {
namespace {

// Starts, ends and axes were attributes before opset 10.
Result<Values> slice(RuleContext& c) {
  Values operands{c.in(0), c.in(1), c.in(2)};
  if (c.opset < 10) {
    operands[1] = c.builder.ints(TRY(c.get_ints("starts")));
    operands[2] = c.builder.ints(TRY(c.get_ints("ends")));
    return one(c.op("slice", operands, {{"axes", TRY(c.get_ints("axes"))}}));
  }
  if (!c.has(1) || !c.has(2)) return invalid_model("the starts or ends are missing");
  // Exporters write scalars for vectors of one.
  const auto vector = [&](int i) -> Result<Value*> {
    const Shape& shape = c.in(i)->shape();
    return shape.ranked() && shape.rank() == 0 ? c.reshape(c.in(i), {1}) : c.in(i);
  };
  operands[1] = TRY(vector(1));
  operands[2] = TRY(vector(2));
  if (c.has(4)) operands.push_back(TRY(vector(4)));
  if (!c.has(3)) return one(c.op("slice", operands));
  Value* along = TRY(vector(3));
  const auto axes = known_ints(along);
  if (axes && axes->empty()) return Values{c.in(0)};
  return one(with_attr(c, "slice", operands, "axes", along, {}, "rank"));
}

// Pads and the value were attributes before opset 11.
Result<Values> pad(RuleContext& c) {
  Value* x = c.in(0);
  const std::string mode = TRY(c.get_string("mode", "constant"));
  constexpr std::string_view kModes[] = {"constant", "reflect", "edge", "wrap"};
  if (std::ranges::find(kModes, mode) == std::end(kModes))
    return invalid_model(fmt::format("mode '{}' is not one of: {}", mode, fmt::join(kModes, ", ")));
  Values operands{x, c.in(1)};
  if (c.opset < 11) {
    operands[1] = c.builder.ints(TRY(c.get_ints("pads")));
    operands.push_back(TRY(c.scalar_like(x, TRY(c.get_float("value", 0)))));
  } else if (c.has(2)) {
    operands.push_back(c.in(2));
  }
  if (operands[1] == nullptr) return invalid_model("operand 1, the pads, is missing");
  if (!c.has(3)) return one(c.op("pad", operands, {{"mode", mode}}));
  const auto axes = known_ints(c.in(3));
  if (axes && axes->empty()) return Values{x};
  return one(with_attr(c, "pad", operands, "axes", c.in(3), {{"mode", mode}}, "rank"));
}

Result<Values> gather(RuleContext& c) {
  return one(c.op("gather", c.inputs, {{"axis", TRY(c.get_int("axis", 0))}}));
}

Result<Values> gather_elements(RuleContext& c) {
  return one(c.op("gather_elements", c.inputs, {{"axis", TRY(c.get_int("axis", 0))}}));
}

Result<Values> gather_nd(RuleContext& c) {
  return one(c.op("gather_nd", c.inputs, {{"batch_dims", TRY(c.get_int("batch_dims", 0))}}));
}

Result<Values> scatter_elements(RuleContext& c) {
  return one(c.op("scatter_elements", c.inputs,
                  {{"axis", TRY(c.get_int("axis", 0))},
                   {"reduction", TRY(c.get_string("reduction", "none"))}}));
}

Result<Values> scatter_nd(RuleContext& c) {
  return one(c.op("scatter_nd", c.inputs, {{"reduction", TRY(c.get_string("reduction", "none"))}}));
}

// Writes the update into the cache from a position per sample on.
Result<Values> tensor_scatter(RuleContext& c) {
  Value* update = c.in(1);
  const int rank = TRY(c.rank(1));
  int64_t axis = TRY(c.get_int("axis", -2));
  if (axis < 0) axis += rank;
  if (axis < 1 || axis >= rank)
    return invalid_model(fmt::format("axis {} of a tensor of {} dimensions", axis, rank));
  std::vector<int64_t> along(static_cast<size_t>(rank), 1), across = along;
  along[static_cast<size_t>(axis)] = -1;
  across[0] = -1;
  Value* position = TRY(c.reshape(TRY(count_up(c, TRY(size_of(c, update, axis)))), along));
  if (c.has(2)) {
    Value* first = TRY(c.reshape(TRY(c.cast(c.in(2), DType::i64)), across));
    position = TRY(c.op("add", {position, first}));
  }
  const std::string mode = TRY(c.get_string("mode", "linear"));
  if (mode == "circular")
    position = TRY(c.op("floor_mod", {position, TRY(size_of(c, c.in(0), axis))}));
  else if (mode != "linear")
    return invalid_model(fmt::format("mode is '{}', but linear or circular is expected", mode));
  position = TRY(c.op("expand", {position, TRY(shape_of(c, update))}));
  return one(c.op("scatter_elements", {c.in(0), position, update}, {{"axis", axis}}));
}

// Indices and depth may be of any number type; values holds off and on.
Result<Values> one_hot(RuleContext& c) {
  Value* off = TRY(c.op("gather", {c.in(2), c.builder.constant(Tensor::scalar<int64_t>(0))}));
  Value* on = TRY(c.op("gather", {c.in(2), c.builder.constant(Tensor::scalar<int64_t>(1))}));
  return one(c.op("one_hot",
                  {TRY(c.cast(c.in(0), DType::i64)), TRY(c.cast(c.in(1), DType::i64)), on, off},
                  {{"axis", TRY(c.get_int("axis", -1))}, {"wrap_negative", true}}));
}

Result<Values> reverse_sequence(RuleContext& c) {
  return one(c.op("reverse_sequence", c.inputs,
                  {{"batch_axis", TRY(c.get_int("batch_axis", 1))},
                   {"time_axis", TRY(c.get_int("time_axis", 0))}}));
}

// The slices where the condition holds: a gather at its non-zero positions.
Result<Values> compress(RuleContext& c) {
  Value* x = c.in(0);
  Value* places = TRY(c.reshape(TRY(c.op("non_zero", {c.in(1)})), {-1}));
  if (!c.has_attr("axis")) x = TRY(c.reshape(x, {-1}));
  return one(c.op("gather", {x, places}, {{"axis", TRY(c.get_int("axis", 0))}}));
}

Result<Values> unique(RuleContext& c) {
  std::vector<int64_t> axis;
  if (c.has_attr("axis")) axis.push_back(TRY(c.get_int("axis")));
  return all(c.builder.node("unique", {c.in(0)},
                            {{"axis", axis}, {"sorted", TRY(c.get_bool("sorted", true))}}));
}

Result<Values> non_max_suppression(RuleContext& c) {
  return one(c.op("non_max_suppression", c.inputs,
                  {{"center_point_box", TRY(c.get_bool("center_point_box", false))}}));
}

constexpr Rule kRules[] = {
    {"Compress", 2, compress},
    {"Gather", 2, gather},
    {"GatherElements", 2, gather_elements},
    {"GatherND", 2, gather_nd},
    {"NonMaxSuppression", {2, 5}, non_max_suppression},
    {"NonZero", 1, direct<"non_zero">},
    {"OneHot", 3, one_hot},
    {"Pad", {1, 4}, pad},
    {"ReverseSequence", 2, reverse_sequence},
    {"Scatter", 3, scatter_elements},
    {"ScatterElements", 3, scatter_elements},
    {"ScatterND", 3, scatter_nd},
    {"Slice", {1, 5}, slice},
    {"TensorScatter", {2, 3}, tensor_scatter},
    {"Unique", 1, unique},
};

}  // namespace

std::span<const Rule> index_rules() {
  return kRules;
}

}  // namespace tenon::onnx
