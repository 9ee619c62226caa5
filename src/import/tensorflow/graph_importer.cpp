#include "import/tensorflow/graph_importer.h"

#include <fmt/format.h>

#include <algorithm>

namespace tenon::tf {
namespace {

// Calls and control flow inside one another; deeper ones are damaged models.
constexpr int kMaxDepth = 100;
// Nodes after inlining all calls.
constexpr int64_t kMaxNodes = 500'000;

// Parts of a loop that do nothing by themselves once its structure is known.
bool is_frame_part(std::string_view op) {
  return op == "Enter" || op == "RefEnter" || op == "Exit" || op == "RefExit" || op == "LoopCond" ||
         op == "NextIteration" || op == "RefNextIteration";
}

}  // namespace

Error at_node(Error error, const Frame& frame, const NodeDef& node) {
  return std::move(error).at(fmt::format("node '{}{}' ({})", frame.prefix, node.name, node.op));
}

void GraphImporter::note(const Frame& frame, const NodeDef& node, Fate fate, std::string reason) {
  report_.nodes.push_back(
      {frame.prefix + std::string(node.name), std::string(node.op), fate, std::move(reason)});
}

Operands GraphImporter::fail(const Frame& frame, const NodeDef& node, Error error) {
  note(frame, node, Fate::unsupported, error.message);
  if (error.code != Code::unsupported && !first_error_)
    first_error_ = at_node(std::move(error), frame, node);
  failed_ = true;
  return {Operand::failure()};
}

Result<Operand> GraphImporter::get(const Frame& frame, Ref ref) const {
  if (const auto it = frame.bound.find(ref); it != frame.bound.end()) return it->second;
  if (!ref.defined()) return invalid_model("an input is not defined in the graph");
  const auto it = frame.results.find(ref.item);
  const Item& item = frame.nodes.item(ref.item);
  if (it != frame.results.end()) {
    const Operands& outputs = it->second;
    if (outputs.size() == 1 && outputs[0].failed()) return outputs[0];
    if (static_cast<size_t>(ref.output) < outputs.size())
      return outputs[static_cast<size_t>(ref.output)];
  }
  return invalid_model(
      fmt::format("'{}{}' ({}) has no output {}", frame.prefix, item.name, item.op(), ref.output));
}

Status GraphImporter::find_needed(Frame& frame, std::span<const Ref> outputs) {
  std::vector<int> stack;
  const auto visit = [&](Ref ref) {
    if (!frame.bound.contains(ref) && !frame.results.contains(ref.item) &&
        frame.needed.insert(ref.item).second)
      stack.push_back(ref.item);
  };
  for (const Ref ref : outputs) {
    if (!ref.defined()) return invalid_model("an input is not defined in the graph");
    visit(ref);
  }
  while (!stack.empty()) {
    const Item& item = frame.nodes.item(stack.back());
    stack.pop_back();
    TRY(check_frame_part(frame, item));
    for (size_t k = 0; k < item.inputs.size(); ++k) {
      if (!item.inputs[k].defined())
        return at_node(frame.nodes.undefined_input(item, k), frame, *item.node);
      visit(item.inputs[k]);
    }
  }
  return {};
}

Result<Operands> GraphImporter::evaluate(Frame& frame, std::span<const Ref> outputs) {
  if (depth_ >= kMaxDepth)
    return invalid_model(
        fmt::format("calls and control flow are nested more than {} levels deep", kMaxDepth));
  if (!frame.effects) frame.effects = find_effects(frame, outputs);
  std::vector<Ref> roots(outputs.begin(), outputs.end()), effects;
  for (const int item : *frame.effects) effects.push_back({item, 0});
  TRY(find_needed(frame, effects));
  for (size_t known = roots.size() + 1; known != roots.size();) {
    known = roots.size();
    TRY(find_needed(frame, roots));
    TRY(find_conditionals(frame, roots));
  }
  for (const Conditional& c : frame.conditionals) {
    std::vector<Ref> outside{c.predicate};
    for (const auto& side : c.captured)
      for (const auto& [inside, source] : side) outside.push_back(source);
    TRY(find_needed(frame, outside));
  }
  const std::vector<int> order = TRY(order_items(frame, roots, false));
  ++depth_;
  Status status;
  for (size_t i = 0; i < order.size() && status.ok(); ++i)
    if (frame.needed.contains(order[i])) status = import_item(frame, order[i]);
  --depth_;
  TRY(std::move(status));
  Operands operands;
  for (const Ref ref : outputs) operands.push_back(TRY(get(frame, ref)));
  return operands;
}

Status GraphImporter::import_item(Frame& frame, int item) {
  if (frame.results.contains(item)) return {};
  if (++imported_nodes_ > kMaxNodes)
    return invalid_model(
        fmt::format("with its calls followed the model has more than {} nodes", kMaxNodes));
  const NodeDef* node = frame.nodes.item(item).node;
  if (node == nullptr) return internal_error("an argument of a function has no value");
  auto results = import_node(frame, item);
  if (!results.ok()) {
    if (results.error().code != Code::unsupported)
      return at_node(std::move(results).error(), frame, *node);
    results = fail(frame, *node, std::move(results).error());
  }
  frame.results.emplace(item, std::move(*results));
  return {};
}

Result<Operands> GraphImporter::inputs_of(const Frame& frame, const Item& item) const {
  Operands inputs;
  for (const Ref ref : item.inputs) inputs.push_back(TRY(get(frame, ref)));
  return inputs;
}

Result<Operands> GraphImporter::import_node(Frame& frame, int index) {
  const Item& item = frame.nodes.item(index);
  const NodeDef& node = *item.node;
  if (const FrameLoop* loop = frame.nodes.loop_of_merge(index)) {
    TRY(import_frame_loop(frame, *loop));
    return frame.results.at(index);
  }
  if (const auto it = frame.conditional_of.find(index); it != frame.conditional_of.end()) {
    TRY(import_conditional(frame, frame.conditionals[it->second]));
    return frame.results.at(index);
  }
  if (frame.nodes.is_loop_switch(index)) {
    note(frame, node, Fate::folded);
    const Operand data = TRY(get(frame, item.inputs[0]));
    return Operands{data, data};
  }
  Operands inputs = TRY(inputs_of(frame, item));
  if (is_custom(node)) return import_custom_node(frame, node, inputs);
  if (is_pass_through(node.op) || is_frame_part(node.op) || node.op == "PlaceholderWithDefault") {
    note(frame, node, Fate::folded);
    for (Operand& input : inputs)
      if (input.kind == Operand::Kind::resource && input.resource->is_reference() &&
          !node.op.starts_with("Ref"))
        input = Operand::of(TRY(variable_value(frame.region, *input.resource)));
    return inputs;
  }
  if (node.op == "Switch" || node.op == "RefSwitch" || node.op == "_SwitchN")
    return unsupported(
        "a value of one branch of a condition is read outside of it; name the outputs that are "
        "wanted with --outputs");
  if (node.op == "Placeholder") {
    // An input that is read at another output than its only one: the reader is told so.
    if (const auto bound = frame.bound.find(Ref{index, 0}); bound != frame.bound.end())
      return Operands{bound->second};
    return unsupported(
        "the result depends on this placeholder, which is no input of the signature; name it with "
        "--inputs, or cut the model after it with --outputs");
  }
  if (is_structured_op(node.op) || library_.find(node.op) != nullptr)
    return import_structured(frame, node, inputs);
  if (is_resource_op(node.op)) return import_resource_node(frame, item, inputs);
  return apply_rule(frame, item, inputs);
}

// Sizes, axes and the like that come by way of real numbers become the constants that they are;
// shape arithmetic in integers is followed without that.
static Value* known_sizes(Builder& builder, Value* value) {
  constexpr int64_t kMaxSizes = 8;
  constexpr int kMaxFolded = 32;
  if (value == nullptr || value->type().is_list || !is_int(value->dtype()) || value->ints() ||
      value->constant() != nullptr || value->shape().elements().value_or(kMaxSizes + 1) > kMaxSizes)
    return value;
  int budget = kMaxFolded;
  const auto known = computed_value(*value, budget);
  return known ? builder.constant(*known) : value;
}

Result<std::optional<std::vector<Value*>>> GraphImporter::tensors_of(Frame& frame,
                                                                     const NodeDef& node,
                                                                     const Operands& inputs,
                                                                     bool first_is_handle) {
  std::vector<Value*> tensors;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Operand& input = inputs[i];
    if (input.failed()) {
      note(frame, node, Fate::mapped, "not checked: an operand of it is not supported");
      return std::optional<std::vector<Value*>>();
    }
    const bool is_handle = i == 0 && first_is_handle;
    Value* value = input.value;
    if (input.kind == Operand::Kind::resource && !is_handle)
      value = TRY(variable_value(frame.region, *input.resource));
    if (value == nullptr && !is_handle)
      return unsupported(fmt::format("its operand {} cannot be had as a tensor", i));
    tensors.push_back(value);
  }
  return std::optional(std::move(tensors));
}

Result<Operands> GraphImporter::apply_rule(Frame& frame, const Item& item, const Operands& inputs) {
  const NodeDef& node = *item.node;
  const RuleEntry* entry = find_rule(node.op);
  if (entry == nullptr) return unsupported(unmapped_reason(node.op));
  auto tensors = TRY(tensors_of(frame, node, inputs, entry->first_is_handle));
  if (!tensors) return Operands{Operand::failure()};
  Builder builder(frame.region.graph);
  builder.set_origins({frame.prefix + std::string(node.name)});
  RuleContext context{model_, builder, node, std::move(*tensors)};
  if (inputs.size() < static_cast<size_t>(entry->min_inputs))
    return fail(frame, node,
                invalid_model(fmt::format("it has {} inputs and needs at least {}", inputs.size(),
                                          entry->min_inputs)));
  auto values = entry->rule(context);
  if (!values.ok()) return fail(frame, node, std::move(values).error());
  note(frame, node, node.op == "Const" ? Fate::folded : Fate::mapped);
  Operands results;
  for (Value* value : *values) results.push_back(Operand::of(known_sizes(builder, value)));
  return results;
}

}  // namespace tenon::tf
