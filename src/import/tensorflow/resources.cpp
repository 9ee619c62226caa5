// Variables and tables: handles are followed to the node that makes them, reads become constants,
// or the value of the moment where the model also assigns the variable (state.cpp).
#include <fmt/format.h>

#include <algorithm>

#include "import/tensorflow/tables.h"

namespace tenon::tf {
namespace {

bool contains(std::span<const std::string_view> ops, std::string_view op) {
  return std::ranges::find(ops, op) != ops.end();
}

constexpr std::string_view kVariables[] = {"VarHandleOp", "VariableV2", "Variable"};
constexpr std::string_view kTables[] = {"HashTable",
                                        "HashTableV2",
                                        "MutableHashTable",
                                        "MutableHashTableV2",
                                        "MutableHashTableOfTensors",
                                        "MutableHashTableOfTensorsV2",
                                        "MutableDenseHashTable",
                                        "MutableDenseHashTableV2"};
constexpr std::string_view kReads[] = {"ReadVariableOp", "VarIsInitializedOp",
                                       "IsVariableInitialized", "VariableShape", "RestoreV2"};
constexpr std::string_view kLookups[] = {"LookupTableFind",   "LookupTableFindV2",
                                         "LookupTableSize",   "LookupTableSizeV2",
                                         "LookupTableExport", "LookupTableExportV2"};

}  // namespace

bool is_resource_op(std::string_view op) {
  return contains(kVariables, op) || contains(kTables, op) || contains(kReads, op) ||
         contains(kLookups, op) || is_assignment(op) || is_generator_step(op) ||
         is_table_change(op);
}

bool is_variable_op(std::string_view op) {
  return contains(kVariables, op);
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

// The main graph assigns the path of an asset to a variable that no checkpoint holds; what the
// others have at first is in the checkpoint.
Result<Tensor> GraphImporter::initial_value(const Resource& variable) {
  if (const auto known = variable_values_.find(variable.name); known != variable_values_.end())
    return known->second;
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
  const auto source = variable_sources_.find(variable.name);
  Tensor value = TRY(read_checkpoint(
      model_,
      source == variable_sources_.end() ? VariableSource{variable.name, {}} : source->second,
      variable.name));
  return variable_values_.emplace(variable.name, std::move(value)).first->second;
}

Result<Value*> GraphImporter::variable_value(Region& region, const Resource& variable) {
  if (!contains(kVariables, variable.node->op))
    return unsupported(fmt::format("'{}' ({}) is a table and cannot be read as a tensor",
                                   variable.name, variable.node->op));
  read_.insert(variable.name);
  if (is_state(variable)) return state_value(region, variable);
  if (const auto it = region.constants.find(&variable); it != region.constants.end())
    return it->second;
  const Tensor value = TRY(initial_value(variable));
  Builder builder(region.graph);
  builder.set_origins({variable.name});
  return region.constants[&variable] = builder.constant(value);
}

Result<Operands> GraphImporter::import_resource_node(Frame& frame, const Item& item,
                                                     const Operands& inputs) {
  const NodeDef& node = *item.node;
  if (node.op == "VariableV2" || node.op == "Variable") {
    note(frame, node, Fate::folded);
    return Operands{Operand::of(resource(frame, node))};
  }
  if (node.op == "VarHandleOp" || contains(kTables, node.op)) {
    note(frame, node, Fate::folded);
    return Operands{Operand::of(resource(frame, node))};
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
  if (is_assignment(node.op)) return import_assignment(frame, node, inputs);
  if (is_generator_step(node.op)) return import_generator_step(frame, node, inputs);
  if (is_table_change(node.op)) return import_table_change(frame, node, inputs);
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
  const TableContents& contents = *TRY(table_contents(table));
  read_.insert(table.name);
  Builder builder(frame.region.graph);
  builder.set_origins({frame.prefix + std::string(node.name)});
  note(frame, node, Fate::mapped);
  const auto constant = [&](const Tensor& tensor) -> Value* {
    Value*& value = frame.region.constants[&tensor];
    if (value == nullptr) value = builder.constant(tensor);
    return value;
  };
  Value *keys = nullptr, *values = nullptr;
  if (is_state(table)) {
    const TableState state = TRY(table_state(table));
    keys = TRY(state_value(frame.region, *state.keys));
    values = TRY(state_value(frame.region, *state.values));
  } else {
    keys = constant(contents.keys);
    values = constant(contents.values);
  }
  if (node.op.starts_with("LookupTableSize")) {
    if (!is_state(table))
      return Operands{Operand::of(builder.constant(Tensor::scalar(contents.keys.elements())))};
    return Operands{Operand::of(TRY(builder.op("squeeze", {TRY(builder.op("shape", {keys}))})))};
  }
  if (node.op.starts_with("LookupTableExport"))
    return Operands{Operand::of(keys), Operand::of(values)};
  if (inputs.size() < 3 || inputs[1].value == nullptr || inputs[2].value == nullptr)
    return invalid_model("it needs a table, keys and a default value");
  if (contents.values.rank() == 1)
    return Operands{Operand::of(
        TRY(builder.op("table_find", {inputs[1].value, keys, values, inputs[2].value})))};
  // Values of several elements are found by their places; the default stands behind them.
  Value* count = TRY(builder.op("squeeze", {TRY(builder.op("shape", {keys}))}));
  const auto number = [&](int64_t v) { return builder.constant(Tensor::scalar(v)); };
  Value* places = TRY(builder.op("range", {number(0), count, number(1)}));
  Value* at = TRY(builder.op("table_find", {inputs[1].value, keys, places, count}));
  Value* fallback =
      TRY(builder.op("expand_dims", {inputs[2].value}, {{"axes", std::vector<int64_t>{0}}}));
  Value* all = TRY(builder.op("concat", {values, fallback}, {{"axis", int64_t{0}}}));
  return Operands{Operand::of(TRY(builder.op("gather", {all, at}, {{"axis", int64_t{0}}})))};
}

}  // namespace tenon::tf
