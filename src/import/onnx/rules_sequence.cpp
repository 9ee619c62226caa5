// Rules of sequences and optionals, which are lists of the core ops: an optional has no or one
// item.
#include "import/onnx/graph_importer.h"

namespace tenon::onnx {
namespace {

Result<Values> construct(RuleContext& c) {
  return one(c.op("list_make", c.inputs));
}

Result<Values> empty(RuleContext& c) {
  const TensorType element{TRY(c.get_dtype("dtype", DType::f32)), Shape::unranked()};
  return one(c.op("list_empty", {}, {{"element", element}}));
}

Result<Values> insert(RuleContext& c) {
  return one(c.op("list_insert", c.inputs));
}

Result<Values> erase(RuleContext& c) {
  return one(c.op("list_erase", c.inputs));
}

Result<Values> at(RuleContext& c) {
  return one(c.op("list_get", c.inputs));
}

Result<Values> length(RuleContext& c) {
  return one(c.op("list_length", c.inputs, {{"dtype", DType::i64}}));
}

Result<Values> concat(RuleContext& c) {
  return one(
      c.op("list_concat", c.inputs,
           {{"axis", TRY(c.get_int("axis"))}, {"new_axis", TRY(c.get_bool("new_axis", false))}}));
}

// keepdims only matters without sizes.
Result<Values> split(RuleContext& c) {
  const bool keep = c.has(1) || TRY(c.get_bool("keepdims", true));
  return one(
      c.op("list_split", c.inputs, {{"axis", TRY(c.get_int("axis", 0))}, {"keep_dims", keep}}));
}

// A sequence that is there stays a sequence; an empty optional has the type of its attribute.
Result<Values> optional(RuleContext& c) {
  Value* made = c.in(0);
  if (made == nullptr) {
    const AttributeProto* type = c.attr("type");
    if (type == nullptr || type->types.empty())
      return invalid_model("an empty optional needs the attribute 'type'");
    TensorType element = TRY(c.importer.type_of(type->types[0], "type"));
    element.is_list = false;
    made = TRY(c.op("list_empty", {}, {{"element", element}}));
  } else if (made->type().is_list) {
    return Values{made};
  } else {
    made = TRY(c.op("list_make", {made}));
  }
  c.importer.mark_optional(made);
  return Values{made};
}

Result<Values> has_element(RuleContext& c) {
  Value* x = c.in(0);
  if (x == nullptr || !c.importer.is_optional(x))
    return Values{c.builder.constant(Tensor::scalar(x != nullptr))};
  Value* n = TRY(c.op("list_length", {x}, {{"dtype", DType::i64}}));
  return one(c.op("greater", {n, c.int_scalar(0)}));
}

Result<Values> get_element(RuleContext& c) {
  if (!c.importer.is_optional(c.in(0))) return Values{c.in(0)};
  return one(c.op("list_get", {c.in(0), c.int_scalar(0)}));
}

constexpr Rule kRules[] = {
    {"ConcatFromSequence", 1, concat},
    {"Optional", {0, 1}, optional},
    {"OptionalGetElement", 1, get_element},
    {"OptionalHasElement", {0, 1}, has_element},
    {"SequenceAt", 2, at},
    {"SequenceConstruct", {1, kVariadic}, construct},
    {"SequenceEmpty", 0, empty},
    {"SequenceErase", {1, 2}, erase},
    {"SequenceInsert", {2, 3}, insert},
    {"SequenceLength", 1, length},
    {"SplitToSequence", {1, 2}, split},
};

}  // namespace

std::span<const Rule> sequence_rules() {
  return kRules;
}

}  // namespace tenon::onnx
