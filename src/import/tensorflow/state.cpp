// Variables that a model assigns while it runs: its state. An assignment gives the variable's name
// another value in the region it stands in; branches and loops take the values in and hand them out
// (control_flow.cpp), and the function ends with an input and an output for each variable. What
// runs beside what the outputs need, and in which order, is as TensorFlow has it: in a function
// every node that changes state, in a graph what the outputs wait for.
#include <fmt/format.h>

#include <algorithm>

#include "import/tensorflow/graph_importer.h"

namespace tenon::tf {
namespace {

enum class Change : uint8_t {
  set,         // the value
  combine,     // the old value and the operand, by a core op
  scatter,     // slices by index, combined so
  scatter_nd,  // slices by coordinates, combined so
  slice        // a strided slice
};

struct Assignment {
  std::string_view op;
  Change change;
  std::string_view how = {};  // the core op, or the reduction of scatter_nd
};

constexpr Assignment kAssignments[] = {
    {"Assign", Change::set},
    {"AssignAdd", Change::combine, "add"},
    {"AssignAddVariableOp", Change::combine, "add"},
    {"AssignSub", Change::combine, "sub"},
    {"AssignSubVariableOp", Change::combine, "sub"},
    {"AssignVariableOp", Change::set},
    {"ResourceScatterAdd", Change::scatter, "add"},
    {"ResourceScatterDiv", Change::scatter, "div"},
    {"ResourceScatterMax", Change::scatter, "max"},
    {"ResourceScatterMin", Change::scatter, "min"},
    {"ResourceScatterMul", Change::scatter, "mul"},
    {"ResourceScatterNdAdd", Change::scatter_nd, "add"},
    {"ResourceScatterNdMax", Change::scatter_nd, "max"},
    {"ResourceScatterNdMin", Change::scatter_nd, "min"},
    {"ResourceScatterNdSub", Change::scatter_nd, "sub"},
    {"ResourceScatterNdUpdate", Change::scatter_nd, "none"},
    {"ResourceScatterSub", Change::scatter, "sub"},
    {"ResourceScatterUpdate", Change::scatter, "none"},
    {"ResourceStridedSliceAssign", Change::slice},
    {"ScatterAdd", Change::scatter, "add"},
    {"ScatterDiv", Change::scatter, "div"},
    {"ScatterMax", Change::scatter, "max"},
    {"ScatterMin", Change::scatter, "min"},
    {"ScatterMul", Change::scatter, "mul"},
    {"ScatterNdAdd", Change::scatter_nd, "add"},
    {"ScatterNdMax", Change::scatter_nd, "max"},
    {"ScatterNdMin", Change::scatter_nd, "min"},
    {"ScatterNdSub", Change::scatter_nd, "sub"},
    {"ScatterNdUpdate", Change::scatter_nd, "none"},
    {"ScatterSub", Change::scatter, "sub"},
    {"ScatterUpdate", Change::scatter, "none"},
    {"StridedSliceAssign", Change::slice},
};

const Assignment* find_assignment(std::string_view op) {
  const auto* const it = std::ranges::find(kAssignments, op, &Assignment::op);
  return it == std::end(kAssignments) ? nullptr : it;
}

// The kind of numbers that an op draws from a generator's state; empty for another op.
std::string_view drawn_kind(std::string_view op) {
  constexpr std::pair<std::string_view, std::string_view> kKinds[] = {
      {"StatefulStandardNormal", "normal"},
      {"StatefulStandardNormalV2", "normal"},
      {"StatefulTruncatedNormal", "truncated_normal"},
      {"StatefulUniform", "uniform"},
      {"StatefulUniformFullInt", "bits"},
      {"StatefulUniformInt", "integers"}};
  for (const auto& [name, kind] : kKinds)
    if (name == op) return kind;
  return {};
}

// (generator, algorithm, shape [, limits]): numbers from the state of three i64.
Result<Value*> drawn(Builder& b, const NodeDef& node, Value* state, const Operands& inputs) {
  const auto part = [&](int64_t begin, int64_t end) -> Result<Value*> {
    Value* words = TRY(b.op("slice", {state, b.ints({begin}), b.ints({end})}));
    return b.op("bitcast", {words}, {{"to", DType::u64}});
  };
  std::vector<Value*> in{inputs[2].value, TRY(part(2, 3)), TRY(part(0, 2))};
  for (size_t i = 3; i < inputs.size(); ++i) {
    if (inputs[i].value == nullptr) return unsupported("its limits are no tensors");
    in.push_back(inputs[i].value);
  }
  const DataType usual = node.op == "StatefulUniformInt"       ? DataType::i64
                         : node.op == "StatefulUniformFullInt" ? DataType::u64
                                                               : DataType::f32;
  const DType dtype = TRY(to_dtype(TRY(node.attrs.get_type("dtype", usual))));
  return b.op("stateless_random", in,
              {{"kind", std::string(drawn_kind(node.op))}, {"dtype", dtype}});
}

Result<Value*> scattered(Builder& b, const Assignment& change, Value* old, Value* indices,
                         Value* updates) {
  if (change.change == Change::scatter) {
    if (!indices->shape().ranked()) return unsupported("the rank of its indices is not known");
    const int rank = indices->shape().rank();
    // One value for all slices.
    if (updates->shape().ranked() && updates->shape().rank() == 0 &&
        !(old->shape().ranked() && old->shape().rank() == 1 && rank == 0)) {
      Value* rows = TRY(b.op("shape", {indices}));
      Value* sizes = TRY(b.op("shape", {old}));
      const Value* known = sizes;
      if (!known->shape().is_static()) return unsupported("the rank of its variable is not known");
      Value* inner = TRY(b.op("slice", {sizes, b.ints({1}), b.ints({known->shape()[0].size()})}));
      Value* shape = TRY(b.op("concat", {rows, inner}, {{"axis", int64_t{0}}}));
      updates = TRY(b.op("expand", {updates, shape}));
    }
    indices = TRY(b.op("expand_dims", {indices}, {{"axes", std::vector<int64_t>{rank}}}));
  }
  std::string reduction(change.how);
  if (reduction == "sub") {
    updates = TRY(b.op("neg", {updates}));
    reduction = "add";
  }
  return b.op("scatter_nd", {old, indices, updates}, {{"reduction", std::move(reduction)}});
}

// The type of a variable for its whole life: sizes that it leaves open may change.
Result<TensorType> declared_type(const NodeDef& node, const Tensor& initial) {
  TensorType type = initial.type();
  if (!is_variable_op(node.op)) type.shape = Shape::unknown_dims(type.shape.rank());  // a table
  if (!node.attrs.has("shape")) return type;
  const ShapeProto declared = TRY(node.attrs.get_shape("shape"));
  if (declared.unknown_rank) {
    // Graphs of TensorFlow 1 leave the shape out where they could know it.
    if (node.op == "VarHandleOp") type.shape = Shape::unranked();
    return type;
  }
  if (declared.dims.size() != static_cast<size_t>(type.shape.rank())) return type;
  for (size_t i = 0; i < declared.dims.size(); ++i)
    if (declared.dims[i] < 0) type.shape.dims()[i] = Dim::unknown();
  return type;
}

}  // namespace

bool is_assignment(std::string_view op) {
  return find_assignment(op) != nullptr;
}

bool is_generator_step(std::string_view op) {
  return op == "RngReadAndSkip" || op == "RngSkip" || !drawn_kind(op).empty();
}

Result<Value*> GraphImporter::state_value(Region& region, const Resource& variable) {
  if (const auto it = region.state.find(&variable); it != region.state.end()) return it->second;
  if (!region.is_function)
    return unsupported(
        fmt::format("variable '{}', which the model assigns, is made inside of a branch or loop",
                    variable.name));
  Tensor initial = TRY(initial_value(variable));
  const TensorType type = TRY(declared_type(*variable.node, initial));
  Value* input = region.graph.add_input(type, variable.name);
  state_uses_.push_back({&variable, std::move(initial), input});
  return region.state[&variable] = input;
}

Result<std::vector<const Resource*>> GraphImporter::state_among(const Operands& operands) {
  std::vector<const Resource*> found;
  const auto add = [&](const Resource* variable) {
    if (std::ranges::find(found, variable) == found.end()) found.push_back(variable);
  };
  for (const Operand& operand : operands) {
    if (operand.kind != Operand::Kind::resource || !is_state(*operand.resource)) continue;
    if (is_variable_op(operand.resource->node->op)) {
      add(operand.resource);
      continue;
    }
    const TableState table = TRY(table_state(*operand.resource));
    add(table.keys);
    add(table.values);
  }
  return found;
}

Result<Operands> GraphImporter::import_assignment(Frame& frame, const NodeDef& node,
                                                  const Operands& inputs) {
  const Assignment& change = *find_assignment(node.op);
  note(frame, node, Fate::mapped);
  if (inputs[0].kind != Operand::Kind::resource || !is_variable_op(inputs[0].resource->node->op))
    return unsupported("what it assigns to is no variable");
  const Resource& variable = *inputs[0].resource;
  written_.insert(variable.name);
  const Operands results{inputs[0]};
  if (!is_state(variable)) return results;
  std::vector<Value*> operands;
  for (size_t i = 1; i < inputs.size(); ++i) {
    Value* value = inputs[i].value;
    if (inputs[i].kind == Operand::Kind::resource)
      value = TRY(variable_value(frame.region, *inputs[i].resource));
    if (value == nullptr) return unsupported(fmt::format("its operand {} is no tensor", i));
    operands.push_back(value);
  }
  const size_t needed = change.change == Change::slice                                     ? 4
                        : change.change == Change::set || change.change == Change::combine ? 1
                                                                                           : 2;
  if (operands.size() < needed) return invalid_model("it lacks operands");
  Value* old = TRY(state_value(frame.region, variable));
  Builder builder(frame.region.graph);
  builder.set_origins({frame.prefix + std::string(node.name)});
  Value* value = operands[0];
  switch (change.change) {
    case Change::set:
      break;
    case Change::combine:
      value = TRY(builder.op(change.how, {old, operands[0]}));
      break;
    case Change::scatter:
    case Change::scatter_nd:
      value = TRY(scattered(builder, change, old, operands[0], operands[1]));
      break;
    case Change::slice: {
      RuleContext context{model_, builder, node, {old}};
      context.inputs.insert(context.inputs.end(), operands.begin(), operands.end());
      const auto values = TRY(find_rule("TensorStridedSliceUpdate")->rule(context));
      value = values[0];
      break;
    }
  }
  if (value->dtype() != old->dtype() || value->type().is_list)
    return invalid_model(fmt::format("variable '{}' is {} and is assigned {}", variable.name,
                                     old->type().to_string(), value->type().to_string()));
  frame.region.state[&variable] = value;
  return results;
}

// A generator's state is a 128-bit counter and a key. The values drawn are computed from the state
// before; then the counter moves on by 256 for each of them.
Result<Operands> GraphImporter::import_generator_step(Frame& frame, const NodeDef& node,
                                                      const Operands& inputs) {
  constexpr int64_t kPhilox = 1, kStride = 256;
  note(frame, node, Fate::mapped);
  if (inputs.size() < 3 || inputs[0].kind != Operand::Kind::resource ||
      !is_variable_op(inputs[0].resource->node->op) || inputs[1].value == nullptr ||
      inputs[2].value == nullptr)
    return invalid_model("it needs a variable, an algorithm and a number");
  const Resource& variable = *inputs[0].resource;
  written_.insert(variable.name);
  Value* old = TRY(variable_value(frame.region, variable));
  if (old->dtype() != DType::i64 || old->shape().elements() != 3)
    return unsupported("the state of a generator must be three i64");
  const Tensor* algorithm = inputs[1].value->constant();
  if (algorithm == nullptr || algorithm->elements() != 1 || algorithm->int_at(0) != kPhilox)
    return unsupported("only the Philox generator is there");
  Builder b(frame.region.graph);
  b.set_origins({frame.prefix + std::string(node.name)});
  const bool draws = !drawn_kind(node.op).empty();
  Value* result = draws ? TRY(drawn(b, node, old, inputs)) : old;
  if (is_state(variable)) {
    const auto part = [&](int64_t begin, int64_t end) {
      return b.op("slice", {old, b.ints({begin}), b.ints({end})});
    };
    Value* count = TRY(b.op("cast", {inputs[2].value}, {{"to", DType::i64}}));
    if (draws) count = TRY(b.op("prod", {count}));
    Value* low = TRY(part(0, 1));
    Value* next = TRY(b.op("add", {low, TRY(b.op("mul", {count, b.ints({kStride})}))}));
    next = TRY(b.op("reshape", {next, b.ints({1})}));
    // Smaller as numbers without sign: a carry.
    Value* sign = b.ints({INT64_MIN});
    Value* carry = TRY(b.op("less", {TRY(b.op("bitwise_xor", {next, sign})),  //
                                     TRY(b.op("bitwise_xor", {low, sign}))}));
    carry = TRY(b.op("cast", {carry}, {{"to", DType::i64}}));
    Value* high = TRY(b.op("add", {TRY(part(1, 2)), carry}));
    frame.region.state[&variable] =
        TRY(b.op("concat", {next, high, TRY(part(2, 3))}, {{"axis", int64_t{0}}}));
  }
  return node.op == "RngSkip" ? Operands{} : Operands{Operand::of(result)};
}

bool GraphImporter::has_effect(const FunctionDef& function) {
  const auto [place, is_new] = effects_of_.emplace(&function, false);
  if (!is_new) return place->second;  // also of a function that calls itself
  bool found = false;
  for (const Item& item : library_.body(function).items()) found = found || has_effect(item);
  return effects_of_[&function] = found;
}

bool GraphImporter::has_effect(const Item& item) {
  if (item.node == nullptr) return false;
  if (is_assignment(item.op()) || is_generator_step(item.op()) || is_table_change(item.op()))
    return true;
  if (const FunctionDef* called = library_.find(item.op())) return has_effect(*called);
  if (!is_structured_op(item.op())) return false;
  const auto in = [&](std::string_view name) {
    const FunctionDef* function = library_.find(name);
    return function != nullptr && has_effect(*function);
  };
  for (const std::string_view attr : {"f", "then_branch", "else_branch", "cond", "body"})
    if (const auto value = item.node->attrs.get(attr); value.ok() && in(value->function.name))
      return true;
  const auto branches = item.node->attrs.get("branches");
  return branches.ok() &&
         std::ranges::any_of(branches->functions, [&](const FunctionRef& f) { return in(f.name); });
}

std::vector<int> GraphImporter::find_effects(const Frame& frame, std::span<const Ref> outputs) {
  const std::vector<Item>& items = frame.nodes.items();
  std::vector<int> effects;
  if (frame.nodes.function() != nullptr) {
    for (size_t i = 0; i < items.size(); ++i)
      if (has_effect(items[i])) effects.push_back(static_cast<int>(i));
    return effects;
  }
  std::unordered_set<int> seen;
  std::vector<int> stack;
  const auto visit = [&](int item) {
    if (item >= 0 && seen.insert(item).second) stack.push_back(item);
  };
  for (const Ref ref : outputs)
    if (!frame.bound.contains(ref)) visit(ref.item);
  while (!stack.empty()) {
    const int item = stack.back();
    stack.pop_back();
    if (has_effect(frame.nodes.item(item))) effects.push_back(item);
    for (const Ref ref : frame.nodes.item(item).inputs)
      if (!frame.bound.contains(ref)) visit(ref.item);
    for (const int control : frame.nodes.item(item).controls) visit(control);
  }
  std::ranges::sort(effects);
  return effects;
}

}  // namespace tenon::tf
