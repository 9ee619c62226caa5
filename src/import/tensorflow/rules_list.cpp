// Rules of TensorList (TensorFlow 2) and TensorArray (1) ops. The core lists are values; so are
// TensorList handles. A TensorArray has a handle and a flow: here the flow is the list, the handle
// nothing.
#include "import/tensorflow/rule.h"

namespace tenon::tf {
namespace {

// The shape that an operand such as [-1, 5], or -1 for an unknown rank, tells.
Shape shape_of(const Value* operand) {
  if (operand == nullptr || !operand->shape().ranked() || operand->shape().rank() != 1)
    return Shape::unranked();
  if (const Tensor* t = operand->constant(); t != nullptr && is_int(t->dtype())) {
    Shape shape;
    for (const int64_t size : t->to_ints()) shape.dims().push_back(Dim(size));
    return shape;
  }
  if (operand->ints()) {
    Shape shape;
    for (const SymInt& element : *operand->ints()) shape.dims().push_back(element.as_dim());
    return shape;
  }
  const Dim rank = operand->shape()[0];
  return rank.known() && rank.size() < 64 ? Shape::unknown_dims(static_cast<int>(rank.size()))
                                          : Shape::unranked();
}

// What the node says of the items: their type and, in operand `i`, their shape.
Result<TensorType> element(RuleContext& c, size_t i) {
  const DType dtype = TRY(to_dtype(TRY(c.node.attrs.get_type("element_dtype"))));
  return TensorType{dtype, shape_of(i < c.inputs.size() ? c.inputs[i] : nullptr)};
}

// The same for TensorArray: attributes only.
Result<TensorType> array_element(RuleContext& c, std::string_view shape_attr = "element_shape") {
  TensorType type{TRY(to_dtype(TRY(c.node.attrs.get_type("dtype")))), Shape::unranked()};
  if (!c.node.attrs.has(shape_attr)) return type;
  const ShapeProto shape = TRY(c.node.attrs.get_shape(shape_attr));
  if (shape.unknown_rank) return type;
  type.shape = Shape();
  for (const int64_t size : shape.dims) type.shape.dims().push_back(Dim(size));
  return type;
}

bool is_constant(const Value* value, int64_t wanted) {
  const Tensor* t = value == nullptr ? nullptr : value->constant();
  return t != nullptr && is_int(t->dtype()) && t->elements() == 1 && t->int_at(0) == wanted;
}

// Whether the value is 0, 1, 2, … as far as it goes.
const Node* counting_from_zero(const Value* value) {
  const Node* range = value->producer();
  return range != nullptr && range->is("range") && is_constant(range->input(0), 0) &&
                 is_constant(range->input(2), 1)
             ? range
             : nullptr;
}

bool counts_from_zero(const Value* value) {
  if (counting_from_zero(value) != nullptr) return true;
  const Tensor* t = value->constant();
  if (t == nullptr || !is_int(t->dtype())) return false;
  for (int64_t i = 0; i < t->elements(); ++i)
    if (t->int_at(i) != i) return false;
  return true;
}

bool is_new(const Value* list) {
  const Node* node = list->producer();
  return node != nullptr && (node->is("list_reserve") || node->is("list_empty"));
}

// The rows of `x` as items, row i at indices[i].
Values scatter(RuleContext& c, Value* x, Value* indices) {
  if (!counts_from_zero(indices)) {
    Value* from = TRY(c.builder.op("invert_permutation", {indices}));
    x = TRY(c.builder.op("gather", {x, from}, {{"axis", int64_t{0}}}));
  }
  return one(c.builder.op("list_unstack", {x}));
}

Values gather(RuleContext& c, Value* list, Value* indices, TensorType type) {
  Value* all = TRY(c.builder.op("list_stack", {list}, {{"element", type}}));
  if (const Node* range = counting_from_zero(indices)) {
    const Value* limit = range->input(1);
    const Node* length = limit->producer();
    if (length != nullptr && length->is("list_length") && length->input(0) == list)
      return std::vector<Value*>{all};
  }
  return one(c.builder.op("gather", {all, indices}, {{"axis", int64_t{0}}}));
}

bool holds_variants(const RuleContext& c) {
  auto type = c.node.attrs.get_type("element_dtype");
  return type.ok() && *type == DataType::variant;
}

// Variants are rows of ragged tensors; of which type, what is put in says (see plain_loop).
Values reserve(RuleContext& c) {
  if (holds_variants(c)) return one(c.builder.op("list_reserve", {c.inputs[1]}));
  return one(c.builder.op("list_reserve", {c.inputs[1]}, {{"element", TRY(element(c, 0))}}));
}
Values empty(RuleContext& c) {
  return one(c.builder.op("list_empty", {}, {{"element", TRY(element(c, 0))}}));
}
// Rows of a ragged tensor, which TensorFlow holds in a tensor of variants, are a list already.
Values from_tensor(RuleContext& c) {
  if (c.inputs[0]->type().is_list) return std::vector<Value*>{c.inputs[0]};
  return one(c.builder.op("list_unstack", {c.inputs[0]}));
}
Values stack(RuleContext& c) {
  if (holds_variants(c)) return std::vector<Value*>{c.inputs[0]};
  const int64_t n = TRY(c.node.attrs.get_int("num_elements", -1));
  return one(
      c.builder.op("list_stack", {c.inputs[0]}, {{"element", TRY(element(c, 1))}, {"num", n}}));
}
Values get_item(RuleContext& c) {
  if (holds_variants(c)) {
    const TensorType item{c.inputs[0]->dtype(), c.inputs[0]->shape()};
    return one(c.builder.op("list_get", {c.inputs[0], c.inputs[1]}, {{"element", item}}));
  }
  return one(
      c.builder.op("list_get", {c.inputs[0], c.inputs[1]}, {{"element", TRY(element(c, 2))}}));
}
// A list of items not known yet becomes one of the items that are put in.
Values set_item(RuleContext& c) {
  Value* list = c.inputs[0];
  if (list->type().is_none()) {
    TensorType item = c.inputs[2]->type();
    if (item.is_list) return unsupported("a list of ragged tensors; only rows can be items");
    for (Dim& dim : item.shape.dims())
      if (!dim.known()) dim = Dim::unknown();
    Value* none = c.builder.constant(Tensor::scalar(int64_t{0}));
    list = TRY(c.builder.op("list_reserve", {none}, {{"element", item}}));
  }
  return one(c.builder.op("list_set", {list, c.inputs[1], c.inputs[2]}));
}
Values length(RuleContext& c) {
  return one(c.builder.op("list_length", {c.inputs[0]}, {{"dtype", DType::i32}}));
}
Values push_back(RuleContext& c) {
  return one(c.builder.op("list_push", {c.inputs[0], c.inputs[1]}));
}
Values pop_back(RuleContext& c) {
  const Node* node =
      TRY(c.builder.node("list_pop", {c.inputs[0]}, {{"element", TRY(element(c, 1))}}));
  return std::vector<Value*>{node->output(0), node->output(1)};
}
Values list_gather(RuleContext& c) {
  return gather(c, c.inputs[0], c.inputs[1], TRY(element(c, 2)));
}
Values list_scatter(RuleContext& c) {
  return scatter(c, c.inputs[0], c.inputs[1]);
}
Values scatter_into(RuleContext& c) {
  if (!is_new(c.inputs[0]))
    return unsupported("scattering into a list that has items already; write them one by one");
  return scatter(c, c.inputs[1], c.inputs[2]);
}
// The items as one tensor, and how long each is.
Values joined(RuleContext& c, Value* list, const TensorType& type) {
  Value* all = TRY(c.builder.op("list_concat", {list}, {{"element", type}}));
  return std::vector<Value*>{all, TRY(c.builder.op("list_lengths", {list}))};
}
Values concat(RuleContext& c) {
  return joined(c, c.inputs[0],
                TRY(element(c, c.node.op == "TensorListConcat" ? c.inputs.size() : 1)));
}
Values split(RuleContext& c) {
  return one(c.builder.op("list_split", {c.inputs[0], c.inputs[2]}));
}
Values resize(RuleContext& c) {
  if (!is_new(c.inputs[0])) return unsupported("a list with items cannot be resized");
  const TensorType type{c.inputs[0]->dtype(), c.inputs[0]->shape()};
  return one(c.builder.op("list_reserve", {c.inputs[1]}, {{"element", type}}));
}
Values element_shape(RuleContext& c) {
  if (!c.inputs[0]->shape().is_static())
    return unsupported("the shape of a list's items must be known when the model is compiled");
  const DType type = TRY(to_dtype(TRY(c.node.attrs.get_type("shape_type", DataType::i32))));
  return one(c.builder.op("cast", {c.builder.ints(c.inputs[0]->shape().sizes())}, {{"to", type}}));
}

// TensorArray: operand 0 is the handle.
Values array(RuleContext& c) {
  Value* list =
      TRY(c.builder.op("list_reserve", {c.inputs[0]}, {{"element", TRY(array_element(c))}}));
  return std::vector<Value*>{nullptr, list};
}
Values array_read(RuleContext& c) {
  return one(
      c.builder.op("list_get", {c.inputs[2], c.inputs[1]}, {{"element", TRY(array_element(c))}}));
}
Values array_write(RuleContext& c) {
  return one(c.builder.op("list_set", {c.inputs[3], c.inputs[1], c.inputs[2]}));
}
Values array_gather(RuleContext& c) {
  return gather(c, c.inputs[2], c.inputs[1], TRY(array_element(c)));
}
Values array_scatter(RuleContext& c) {
  if (!is_new(c.inputs[3]))
    return unsupported("scattering into a TensorArray that has items already");
  return scatter(c, c.inputs[2], c.inputs[1]);
}
Values array_size(RuleContext& c) {
  return one(c.builder.op("list_length", {c.inputs[1]}, {{"dtype", DType::i32}}));
}
Values array_concat(RuleContext& c) {
  TensorType type = TRY(array_element(c, "element_shape_except0"));
  if (type.shape.ranked()) type.shape.dims().insert(type.shape.dims().begin(), Dim::unknown());
  return joined(c, c.inputs[1], type);
}
Values array_split(RuleContext& c) {
  return one(c.builder.op("list_split", {c.inputs[1], c.inputs[2]}));
}

// An optional value is there where a graph makes it: it is the value itself.
Values optional_value(RuleContext& c) {
  if (c.inputs.size() != 1) return unsupported("an optional value of several tensors");
  return std::vector<Value*>{c.inputs[0]};
}

Values optional_has_value(RuleContext& c) {
  return std::vector<Value*>{c.builder.constant(Tensor::scalar(true))};
}

constexpr RuleEntry kRules[] = {
    {"OptionalFromValue", optional_value},
    {"OptionalGetValue", optional_value},
    {"OptionalHasValue", optional_has_value},
    {"EmptyTensorList", empty, 2},
    {"TensorArrayConcatV3", array_concat, 2, true},
    {"TensorArrayGatherV3", array_gather, 3, true},
    {"TensorArrayReadV3", array_read, 3, true},
    {"TensorArrayScatterV3", array_scatter, 4, true},
    {"TensorArraySizeV3", array_size, 2, true},
    {"TensorArraySplitV3", array_split, 4, true},
    {"TensorArrayV3", array},
    {"TensorArrayWriteV3", array_write, 4, true},
    {"TensorListConcat", concat},
    {"TensorListConcatV2", concat, 3},
    {"TensorListElementShape", element_shape},
    {"TensorListFromTensor", from_tensor, 2},
    {"TensorListGather", list_gather, 3},
    {"TensorListGetItem", get_item, 3},
    {"TensorListLength", length},
    {"TensorListPopBack", pop_back, 2},
    {"TensorListPushBack", push_back, 2},
    {"TensorListReserve", reserve, 2},
    {"TensorListResize", resize, 2},
    {"TensorListScatter", list_scatter, 3},
    {"TensorListScatterIntoExistingList", scatter_into, 3},
    {"TensorListScatterV2", list_scatter, 4},
    {"TensorListSetItem", set_item, 3},
    {"TensorListSplit", split, 3},
    {"TensorListStack", stack, 2},
};

}  // namespace

std::span<const RuleEntry> list_rules() {
  return kRules;
}

}  // namespace tenon::tf
