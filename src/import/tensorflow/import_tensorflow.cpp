// The TensorFlow importer's door: signatures of a SavedModel, inputs and outputs of a GraphDef.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "import/tensorflow/graph_importer.h"

namespace tenon::tf {
namespace {

std::string_view node_of(std::string_view tensor) {
  return tensor.substr(0, tensor.find(':'));
}

// A signature as names: (key, tensor, type).
struct Port {
  std::string key;
  std::string tensor;
  DataType dtype = DataType::invalid;
  ShapeProto shape;
};
struct Entry {
  std::string key;
  std::vector<Port> inputs, outputs;
};

Result<ImportedFunction> import_entry(LoadedModel& model, const Entry& entry,
                                      const ImportOptions& options,
                                      const std::map<std::string, std::string>& variable_keys,
                                      ImportReport& report) {
  ImportedFunction function;
  function.key = entry.key;
  function.graph = std::make_unique<Graph>(entry.key);
  GraphImporter importer(model, *function.graph, report, variable_keys);
  Frame frame = GraphImporter::make_frame(model.meta.graph.nodes);
  for (const Port& port : entry.inputs) {
    const Shape shape = TRY(
        apply_input_shape(options, port.key, to_shape(port.shape, port.key), entry.inputs.size()));
    Value* value = function.graph->add_input({TRY(to_dtype(port.dtype)), shape}, port.key);
    importer.bind(frame, node_of(port.tensor), value);
    function.input_names.push_back(port.key);
  }
  std::vector<Value*> outputs;
  for (const Port& port : entry.outputs) {
    outputs.push_back(TRY(importer.tensor(frame, port.tensor)));
    function.output_names.push_back(port.key);
  }
  function.graph->set_outputs(std::move(outputs));
  return function;
}

std::vector<Entry> signature_entries(const LoadedModel& model, const std::string& wanted) {
  std::vector<Entry> entries;
  for (const auto& [key, signature] : model.meta.signatures) {
    if (wanted.empty() ? key.starts_with("__saved_model") : key != wanted) continue;
    Entry entry{std::string(key), {}, {}};
    for (const auto& [name, info] : signature.inputs)
      entry.inputs.push_back({std::string(name), std::string(info.name), info.dtype, info.shape});
    for (const auto& [name, info] : signature.outputs)
      entry.outputs.push_back({std::string(name), std::string(info.name), info.dtype, info.shape});
    if (!entry.outputs.empty()) entries.push_back(std::move(entry));
  }
  return entries;
}

// Placeholders in, nodes nobody reads out, unless the caller names them.
Result<Entry> graph_entry(const LoadedModel& model, const ImportOptions& options) {
  Entry entry{"serving_default", {}, {}};
  std::set<std::string_view> read;
  std::map<std::string_view, const NodeDef*> by_name;
  for (const NodeDef& node : model.meta.graph.nodes) {
    by_name.emplace(node.name, &node);
    for (const std::string_view input : node.inputs)
      read.insert(node_of(input.starts_with("^") ? input.substr(1) : input));
  }
  const auto add_input = [&](const std::string& name) -> Status {
    const auto it = by_name.find(node_of(name));
    if (it == by_name.end())
      return not_found(fmt::format("the graph has no node '{}' to use as input", name));
    Port port{std::string(node_of(name)), name, DataType::f32, {}};
    const Attrs& attrs = it->second->attrs;
    port.dtype = TRY(attrs.get_type("dtype", TRY(attrs.get_type("T", DataType::f32))));
    port.shape.unknown_rank = true;
    if (attrs.has("shape")) port.shape = TRY(attrs.get_shape("shape"));
    entry.inputs.push_back(std::move(port));
    return {};
  };
  for (const std::string& name : options.inputs) TRY(add_input(name));
  if (options.inputs.empty())
    for (const NodeDef& node : model.meta.graph.nodes)
      if (node.op == "Placeholder") TRY(add_input(std::string(node.name)));
  for (const std::string& name : options.outputs) {
    if (!by_name.contains(node_of(name)))
      return not_found(fmt::format("the graph has no node '{}' to use as output", name));
    entry.outputs.push_back({name, name, DataType::invalid, {}});
  }
  if (options.outputs.empty())
    for (const NodeDef& node : model.meta.graph.nodes)
      if (!read.contains(node.name) && node.op != "NoOp" && node.op != "Const" &&
          node.op != "Placeholder")
        entry.outputs.push_back(
            {std::string(node.name), std::string(node.name), DataType::invalid, {}});
  if (entry.outputs.empty()) return invalid_model("the graph computes nothing; name its --outputs");
  return entry;
}

Result<ImportedModel> import_loaded(LoadedModel model, const ImportOptions& options) {
  ImportedModel imported;
  imported.report.format = model.saved_model ? "TensorFlow SavedModel" : "TensorFlow GraphDef";
  std::vector<Entry> entries;
  if (model.saved_model && options.outputs.empty()) {
    entries = signature_entries(model, options.signature);
    if (entries.empty()) {
      std::string keys;
      for (const auto& [key, s] : model.meta.signatures)
        keys += "\n  " + describe_signature(key, s);
      return not_found(
          fmt::format("the model has no signature '{}'; it has:{}", options.signature, keys));
    }
  } else {
    entries.push_back(TRY(graph_entry(model, options)));
  }
  const auto variable_keys = find_variable_keys(model);
  std::optional<Error> first;
  for (const Entry& entry : entries) {
    auto function = import_entry(model, entry, options, variable_keys, imported.report);
    if (function.ok()) {
      imported.functions.push_back(std::move(*function));
      continue;
    }
    const Error& error = function.error();
    imported.warnings.push_back(fmt::format("signature '{}' is left out: {}{}{}", entry.key,
                                            error.message, error.where.empty() ? "" : " at ",
                                            error.where));
    if (!first) first = std::move(function).error();
  }
  if (imported.functions.empty() && imported.report.count(Fate::unsupported) == 0)
    return *std::move(first);
  return imported;
}

}  // namespace

Result<ImportedModel> import_tensorflow(const std::string& path, const ImportOptions& options) {
  return import_loaded(TRY(load_model(path)), options);
}

Result<ImportedModel> import_graph_def(Blob blob, const ImportOptions& options) {
  return import_loaded(TRY(load_graph(std::move(blob), "GraphDef in memory")), options);
}

}  // namespace tenon::tf
