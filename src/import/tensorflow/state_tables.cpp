// Hash tables that a model fills or empties while it runs: their keys and values are two variables
// of its state that grow and shrink.
#include <fmt/format.h>

#include "import/tensorflow/tables.h"

namespace tenon::tf {
namespace {

// The elements of `vectors` at the places where the mask is set.
Status keep(Builder& b, Value* mask, std::vector<Value*> vectors, std::vector<Value*>& kept) {
  Value* places = TRY(b.op("reshape", {TRY(b.op("non_zero", {mask})), b.ints({-1})}));
  for (Value* v : vectors) kept.push_back(TRY(b.op("gather", {v, places})));
  return {};
}

}  // namespace

bool is_table_change(std::string_view op) {
  return op == "LookupTableInsert" || op == "LookupTableInsertV2" || op == "LookupTableRemoveV2";
}

Result<const TableContents*> GraphImporter::table_contents(const Resource& table) {
  if (!tables_) tables_ = load_tables(model_, main_, library_, variable_sources_);
  auto& known = tables_->contents;
  if (const auto found = known.find(table.name); found != known.end()) return &found->second;
  if (const auto error = tables_->errors.find(table.name); error != tables_->errors.end())
    return Error(error->second).note(fmt::format("while filling table '{}'", table.name));
  if (!table.node->op.starts_with("Mutable"))
    return unsupported(fmt::format(
        "nothing in the model fills table '{}' ({}) with values known when it is compiled; export "
        "the model with the table initialised",
        table.name, table.node->op));
  // One that is filled only while the model runs.
  const DType key = TRY(to_dtype(TRY(table.node->attrs.get_type("key_dtype"))));
  const DType value = TRY(to_dtype(TRY(table.node->attrs.get_type("value_dtype"))));
  const int64_t none = 0;
  std::vector<int64_t> dims = TRY(value_dims(*table.node));
  dims.insert(dims.begin(), 0);
  TableContents empty{TRY(Tensor::zeros(key, std::span(&none, 1))),
                      TRY(Tensor::zeros(value, dims))};
  return &known.emplace(table.name, std::move(empty)).first->second;
}

Result<GraphImporter::TableState> GraphImporter::table_state(const Resource& table) {
  const auto part = [&](const char* name, const Tensor& initial) {
    const std::string full = table.name + name;
    variable_values_.try_emplace(full, initial);
    return &resources_.try_emplace(full, Resource{full, table.node}).first->second;
  };
  const TableContents* contents = TRY(table_contents(table));
  return TableState{part("/keys", contents->keys), part("/values", contents->values)};
}

Result<Operands> GraphImporter::import_table_change(Frame& frame, const NodeDef& node,
                                                    const Operands& inputs) {
  note(frame, node, Fate::mapped);
  const bool is_insert = node.op.starts_with("LookupTableInsert");
  if (inputs[0].kind != Operand::Kind::resource || is_variable_op(inputs[0].resource->node->op))
    return unsupported("what it changes is no table that is known");
  const Resource& table = *inputs[0].resource;
  written_.insert(table.name);
  if (!is_state(table)) return Operands{};
  if (inputs.size() < (is_insert ? 3u : 2u) || inputs[1].value == nullptr ||
      (is_insert && inputs[2].value == nullptr))
    return invalid_model("it needs a table, keys and values");
  const TableState state = TRY(table_state(table));
  Value* old_keys = TRY(state_value(frame.region, *state.keys));
  Value* old_values = TRY(state_value(frame.region, *state.values));
  Builder b(frame.region.graph);
  b.set_origins({frame.prefix + std::string(node.name)});
  Value* keys = TRY(b.op("reshape", {inputs[1].value, b.ints({-1})}));
  // Which of the old keys are not among the new ones.
  Value* zero = b.constant(Tensor::scalar(int64_t{0}));
  Value* ones =
      TRY(b.op("expand", {b.constant(Tensor::scalar(int64_t{1})), TRY(b.op("shape", {keys}))}));
  Value* stays = TRY(b.op("equal", {TRY(b.op("table_find", {old_keys, keys, ones, zero})), zero}));
  std::vector<Value*> kept;
  TRY(keep(b, stays, {old_keys, old_values}, kept));
  if (is_insert) {
    // Of a key that is given twice the last value counts.
    const auto reversed = [&](Value* v) {
      return b.op("reverse", {v}, {{"axes", std::vector<int64_t>{0}}});
    };
    std::vector<int64_t> dims = TRY(value_dims(*table.node));
    dims.insert(dims.begin(), -1);
    Value* values = TRY(b.op("reshape", {inputs[2].value, b.ints(dims)}));
    const Node* distinct = TRY(b.node("unique", {TRY(reversed(keys))}, {{"sorted", false}}));
    values = TRY(b.op("gather", {TRY(reversed(values)), distinct->output(1)}));
    kept[0] = TRY(b.op("concat", {kept[0], distinct->output(0)}, {{"axis", int64_t{0}}}));
    kept[1] = TRY(b.op("concat", {kept[1], values}, {{"axis", int64_t{0}}}));
  }
  if (kept[0]->dtype() != old_keys->dtype() || kept[1]->dtype() != old_values->dtype())
    return invalid_model(fmt::format("table '{}' holds other types", table.name));
  frame.region.state[state.keys] = kept[0];
  frame.region.state[state.values] = kept[1];
  return Operands{};
}

}  // namespace tenon::tf
