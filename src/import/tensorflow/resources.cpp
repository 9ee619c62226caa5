// Variables and tables: handles are followed to the node that makes them, reads become constants.
// A model that changes a variable it reads is refused: what is compiled keeps no state.
#include <fmt/format.h>

#include <algorithm>

#include "import/tensorflow/tables.h"

namespace tenon::tf {
namespace {

bool contains(std::span<const std::string_view> ops, std::string_view op) {
  return std::ranges::find(ops, op) != ops.end();
}

constexpr std::string_view kVariables[] = {"VarHandleOp", "VariableV2", "Variable"};
constexpr std::string_view kTables[] = {
    "HashTable",          "HashTableV2",           "MutableHashTable",
    "MutableHashTableV2", "MutableDenseHashTable", "MutableDenseHashTableV2"};
constexpr std::string_view kReads[] = {"ReadVariableOp", "VarIsInitializedOp",
                                       "IsVariableInitialized", "VariableShape", "RestoreV2"};
constexpr std::string_view kLookups[] = {"LookupTableFind",   "LookupTableFindV2",
                                         "LookupTableSize",   "LookupTableSizeV2",
                                         "LookupTableExport", "LookupTableExportV2"};
constexpr std::string_view kAssignments[] = {"AssignVariableOp",
                                             "AssignAddVariableOp",
                                             "AssignSubVariableOp",
                                             "ResourceScatterUpdate",
                                             "ResourceScatterAdd",
                                             "ResourceScatterSub",
                                             "ResourceScatterNdUpdate",
                                             "ResourceStridedSliceAssign",
                                             "Assign",
                                             "AssignAdd",
                                             "AssignSub",
                                             "ScatterUpdate",
                                             "ScatterAdd",
                                             "ScatterSub"};

Error changes_variable(std::string_view variable) {
  return unsupported(fmt::format(
      "it changes variable '{}' while the model runs, and a compiled model keeps no state; export "
      "the model for inference, or make the variable an input and an output of the signature",
      variable));
}

}  // namespace

bool is_resource_op(std::string_view op) {
  return contains(kVariables, op) || contains(kTables, op) || contains(kReads, op) ||
         contains(kLookups, op) || contains(kAssignments, op);
}

const Resource* GraphImporter::resource(const Frame& frame, const NodeDef& node) {
  std::string name = frame.prefix + std::string(node.name);
  // Tables are shared by a name of their own: initialisers may make the handle again.
  if (contains(kTables, node.op))
    if (const auto shared = node.attrs.get_string("shared_name", "");
        shared.ok() && !shared->empty())
      name = *shared;
  return &resources_.try_emplace(name, Resource{name, &node}).first->second;
}

void GraphImporter::bind_assets(Frame& frame) const {
  if (&frame.nodes != &main_) return;
  for (const AssetFileDef& asset : model_.meta.assets) {
    const auto ref = main_.resolve(asset.tensor_name);
    if (!ref.ok()) continue;
    Builder builder(frame.region.graph);
    frame.bound[*ref] = Operand::of(builder.constant(Tensor::scalar(std::string(asset.filename))));
  }
}

// What the main graph assigns to a variable that no checkpoint holds: the path of an asset.
Result<Tensor> GraphImporter::initial_value(const Resource& variable) {
  for (const Item& item : main_.items()) {
    if ((item.op() != "AssignVariableOp" && item.op() != "Assign") || item.inputs.size() < 2)
      continue;
    const Ref target = main_.through_identities(item.inputs[0]);
    if (!target.defined() || main_.item(target.item).name != variable.name) continue;
    for (const AssetFileDef& asset : model_.meta.assets) {
      const auto ref = main_.resolve(asset.tensor_name);
      if (ref.ok() && *ref == main_.through_identities(item.inputs[1]))
        return Tensor::scalar(std::string(asset.filename));
    }
  }
  return not_found("no initial value");
}

Result<Value*> GraphImporter::variable_value(Region& region, const Resource& variable) {
  if (!contains(kVariables, variable.node->op))
    return unsupported(fmt::format("'{}' ({}) is a table and cannot be read as a tensor",
                                   variable.name, variable.node->op));
  read_.insert(&variable);
  if (const auto it = region.constants.find(&variable); it != region.constants.end())
    return it->second;
  auto known = variable_values_.find(variable.name);
  if (known == variable_values_.end()) {
    const auto source = variable_sources_.find(variable.name);
    auto value = initial_value(variable);
    if (!value.ok())
      value = read_checkpoint(
          model_,
          source == variable_sources_.end() ? VariableSource{variable.name, {}} : source->second,
          variable.name);
    known = variable_values_.emplace(variable.name, TRY(std::move(value))).first;
  }
  Builder builder(region.graph);
  builder.set_origins({variable.name});
  return region.constants[&variable] = builder.constant(known->second);
}

Result<Operands> GraphImporter::import_resource_node(Frame& frame, const Item& item,
                                                     const Operands& inputs) {
  const NodeDef& node = *item.node;
  if (node.op == "VariableV2" || node.op == "Variable") {
    note(frame, node, Fate::folded);
    return Operands{Operand::of(TRY(variable_value(frame.region, *resource(frame, node))))};
  }
  if (node.op == "VarHandleOp" || contains(kTables, node.op)) {
    note(frame, node, Fate::folded);
    return Operands{Operand::of(resource(frame, node))};
  }
  if (contains(kAssignments, node.op)) {
    const Resource* variable = assigned_variable(frame, item);
    return changes_variable(variable == nullptr ? "?" : variable->name);
  }
  Builder builder(frame.region.graph);
  builder.set_origins({frame.prefix + std::string(node.name)});
  if (node.op == "RestoreV2") {  // whose file name nobody needs: it is the model's checkpoint
    if (inputs.size() < 3 || inputs[1].value == nullptr || inputs[1].value->constant() == nullptr ||
        inputs[1].value->dtype() != DType::string)
      return unsupported("the names of what it restores must be constants");
    Operands results;
    for (const std::string& key : inputs[1].value->constant()->span<std::string>()) {
      auto value = read_checkpoint(model_, {key, {}}, key);
      results.push_back(value.ok() ? Operand::of(builder.constant(*value)) : Operand());
    }
    return results;
  }
  for (const Operand& input : inputs)
    if (input.failed()) {
      note(frame, node, Fate::mapped, "not checked: an operand of it is not supported");
      return Operands{Operand::failure()};
    }
  if (inputs.empty()) return invalid_model("it has no inputs");
  if (contains(kLookups, node.op)) return import_table_node(frame, node, inputs);
  note(frame, node, Fate::folded);
  if (node.op == "VarIsInitializedOp" || node.op == "IsVariableInitialized")
    return Operands{Operand::of(builder.constant(Tensor::scalar(true)))};
  Value* value = inputs[0].value;
  if (inputs[0].kind == Operand::Kind::resource)
    value = TRY(variable_value(frame.region, *inputs[0].resource));
  if (value == nullptr) return unsupported("what it reads is no variable");
  if (node.op == "ReadVariableOp") return Operands{Operand::of(value)};
  const DType type = TRY(to_dtype(TRY(node.attrs.get_type("out_type", DataType::i32))));
  return Operands{Operand::of(TRY(builder.op("shape", {value}, {{"dtype", type}})))};
}

Result<Operands> GraphImporter::import_table_node(Frame& frame, const NodeDef& node,
                                                  const Operands& inputs) {
  if (inputs[0].kind != Operand::Kind::resource) return invalid_model("input 0 must be a table");
  const Resource& table = *inputs[0].resource;
  if (!tables_) tables_ = load_tables(model_, main_, library_, variable_sources_);
  const auto found = tables_->find(table.name);
  if (found == tables_->end())
    return unsupported(fmt::format(
        "nothing in the model fills table '{}' ({}) with values known when it is compiled; export "
        "the model with the table initialised",
        table.name, table.node->op));
  const TableContents& contents = found->second;
  Builder builder(frame.region.graph);
  builder.set_origins({frame.prefix + std::string(node.name)});
  note(frame, node, Fate::mapped);
  if (node.op.starts_with("LookupTableSize"))
    return Operands{Operand::of(builder.constant(Tensor::scalar(contents.keys.elements())))};
  const auto constant = [&](const Tensor& tensor) -> Value* {
    Value*& value = frame.region.constants[&tensor];
    if (value == nullptr) value = builder.constant(tensor);
    return value;
  };
  Value* keys = constant(contents.keys);
  Value* values = constant(contents.values);
  if (node.op.starts_with("LookupTableExport"))
    return Operands{Operand::of(keys), Operand::of(values)};
  if (inputs.size() < 3 || inputs[1].value == nullptr || inputs[2].value == nullptr)
    return invalid_model("it needs a table, keys and a default value");
  return Operands{
      Operand::of(TRY(builder.op("table_find", {inputs[1].value, keys, values, inputs[2].value})))};
}

const Resource* GraphImporter::assigned_variable(const Frame& frame, const Item& item) {
  if (item.inputs.empty()) return nullptr;
  const Ref ref = frame.nodes.through_identities(item.inputs[0]);
  if (!ref.defined()) return nullptr;
  if (const auto it = frame.bound.find(ref); it != frame.bound.end()) return it->second.resource;
  if (const auto it = frame.results.find(ref.item);
      it != frame.results.end() && !it->second.empty())
    return it->second[0].resource;
  const NodeDef* node = frame.nodes.item(ref.item).node;
  return node != nullptr && contains(kVariables, node->op) ? resource(frame, *node) : nullptr;
}

// In a function everything runs that changes state; in a graph what the outputs need, also by
// control inputs.
void GraphImporter::collect_assignments(const Frame& frame, std::span<const Ref> outputs) {
  const auto look_at = [&](const Item& item) {
    if (!contains(kAssignments, item.op())) return;
    if (const Resource* variable = assigned_variable(frame, item))
      assigned_.try_emplace(
          variable, NodeReport{frame.prefix + std::string(item.name), std::string(item.op()),
                               Fate::unsupported, changes_variable(variable->name).message});
  };
  if (frame.nodes.function() != nullptr) {
    for (const Item& item : frame.nodes.items()) look_at(item);
    return;
  }
  std::unordered_set<int> seen;
  std::vector<int> stack;
  const auto visit = [&](int item) {
    if (item >= 0 && seen.insert(item).second) stack.push_back(item);
  };
  for (const Ref ref : outputs)
    if (!frame.bound.contains(ref)) visit(ref.item);
  while (!stack.empty()) {
    const Item& item = frame.nodes.item(stack.back());
    stack.pop_back();
    look_at(item);
    for (const Ref ref : item.inputs)
      if (!frame.bound.contains(ref)) visit(ref.item);
    for (const int control : item.controls) visit(control);
  }
}

void GraphImporter::check_assignments() {
  for (const auto& [variable, node] : assigned_) {
    if (!read_.contains(variable)) continue;
    failed_ = true;
    report_.nodes.push_back(node);
  }
}

}  // namespace tenon::tf
