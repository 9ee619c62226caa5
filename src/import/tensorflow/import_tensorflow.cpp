// The TensorFlow importer's door: signatures of a SavedModel, inputs and outputs of a GraphDef.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "base/nearest.h"
#include "import/tensorflow/graph_importer.h"

namespace tenon::tf {
namespace {

std::string_view node_of(std::string_view tensor) {
  return tensor.substr(0, tensor.find(':'));
}

// The version of GraphDef since when shape [] of a Placeholder means a scalar.
constexpr int64_t kScalarShapes = 24;
// Characters of names an error lists.
constexpr size_t kMaxListed = 400;

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

// What the entries of one model share.
struct Context {
  LoadedModel& model;
  const FunctionLibrary& library;
  const NodeGraph& main;
  const VariableSources& variables;
  const ImportOptions& options;
  VariableSet state;  // variables that keep their values between runs
};

// What importing an entry showed.
struct Usage {
  VariableSet read, written;
};

// Errors: unsupported when a node is (the report says which), or what is malformed.
Result<ImportedFunction> import_entry(const Context& context, const Entry& entry,
                                      ImportReport& report, Usage& usage) {
  ImportedFunction function;
  function.key = entry.key;
  function.graph = std::make_unique<Graph>(entry.key);
  Region region(*function.graph);
  region.is_function = true;
  GraphImporter importer(context.model, context.main, context.library, report, context.variables,
                         context.state);
  importer.set_custom_ops(context.options.custom_ops.get());
  Frame frame(context.main, region, "");
  importer.bind_assets(frame);
  for (const Port& port : entry.inputs) {
    const Shape shape = TRY(apply_input_shape(
        context.options, port.key, to_shape(port.shape, port.key, entry.inputs.size() == 1),
        entry.inputs.size()));
    auto dtype = to_dtype(port.dtype);
    if (!dtype.ok()) return std::move(dtype).error().at(fmt::format("input '{}'", port.key));
    Value* value = function.graph->add_input({*dtype, shape}, port.key);
    auto ref = context.main.resolve(port.tensor);
    if (!ref.ok()) return std::move(ref).error().at(fmt::format("input '{}'", port.key));
    frame.bound[*ref] = Operand::of(value);
    function.input_names.push_back(port.key);
  }
  std::vector<Ref> outputs;
  for (const Port& port : entry.outputs) {
    auto ref = context.main.resolve(port.tensor);
    if (!ref.ok()) return std::move(ref).error().at(fmt::format("output '{}'", port.key));
    outputs.push_back(*ref);
    function.output_names.push_back(port.key);
  }
  Operands operands = TRY(importer.evaluate(frame, outputs));
  if (importer.first_error()) return *importer.first_error();
  if (importer.failed()) return unsupported("not all of its nodes are supported");
  std::vector<Value*> values;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (operands[i].kind == Operand::Kind::resource)
      operands[i] = Operand::of(TRY(importer.variable_value(region, *operands[i].resource)));
    if (operands[i].kind != Operand::Kind::value || operands[i].value->type().is_list)
      return unsupported(fmt::format("output '{}' is no tensor; leave it out with --outputs",
                                     entry.outputs[i].key));
    values.push_back(operands[i].value);
  }
  for (const GraphImporter::StateUse& use : importer.state_uses()) {
    Value* now = region.state.at(use.variable);
    function.state.push_back({use.variable->name, use.initial, now != use.input});
    if (now != use.input) values.push_back(now);
  }
  usage = {importer.read(), importer.written()};
  function.graph->set_outputs(std::move(values));
  return function;
}

// A sparse or composite tensor is a port for each of its tensors, named "KEY/indices" or "KEY/0".
void add_ports(std::vector<Port>& ports, const std::string& key, const TensorInfo& info) {
  if (info.components.empty()) {
    ports.push_back({key, std::string(info.name), info.dtype, info.shape});
    return;
  }
  for (size_t i = 0; i < info.components.size(); ++i) {
    const auto& [name, part] = info.components[i];
    add_ports(ports, key + "/" + (name.empty() ? std::to_string(i) : std::string(name)), part);
  }
}

// Those that initialise the model are no functions of the user's.
bool is_internal(std::string_view key) {
  return key.starts_with("__saved_model");
}

std::vector<Entry> signature_entries(const LoadedModel& model, const std::string& wanted) {
  std::vector<Entry> entries;
  for (const auto& [key, signature] : model.meta.signatures) {
    if (wanted.empty() ? is_internal(key) : key != wanted) continue;
    Entry entry{std::string(key), {}, {}};
    for (const auto& [name, info] : signature.inputs)
      add_ports(entry.inputs, std::string(name), info);
    for (const auto& [name, info] : signature.outputs)
      add_ports(entry.outputs, std::string(name), info);
    if (!entry.outputs.empty()) entries.push_back(std::move(entry));
  }
  return entries;
}

// What the node says of the shape of its result.
Result<ShapeProto> declared_shape(const LoadedModel& model, const Attrs& attrs) {
  ShapeProto shape;
  shape.unknown_rank = true;
  if (attrs.has("shape")) shape = TRY(attrs.get_shape("shape"));
  // Graphs older than version 24 wrote [] for an unknown shape.
  if (!shape.unknown_rank && shape.dims.empty() && model.meta.graph.producer < kScalarShapes)
    shape.unknown_rank = true;
  if (shape.unknown_rank && attrs.has("_output_shapes")) {
    const AttrValue known = TRY(attrs.get("_output_shapes"));
    if (!known.shapes.empty()) shape = known.shapes[0];
  }
  return shape;
}

// The nodes that are computed from inputs.
std::set<std::string_view> nodes_behind(const LoadedModel& model, const std::vector<Port>& inputs) {
  std::unordered_map<std::string_view, std::vector<std::string_view>> readers;
  for (const NodeDef& node : model.meta.graph.nodes)
    for (const std::string_view input : node.inputs)
      if (!input.starts_with("^")) readers[node_of(input)].push_back(node.name);
  std::set<std::string_view> behind;
  std::vector<std::string_view> open;
  for (const Port& port : inputs) open.push_back(node_of(port.tensor));
  while (!open.empty()) {
    const std::string_view name = open.back();
    open.pop_back();
    if (behind.insert(name).second)
      open.insert(open.end(), readers[name].begin(), readers[name].end());
  }
  return behind;
}

// Placeholders in, nodes nobody reads out, unless the caller names them. Freezing a function whose
// loops and branches it lowers leaves placeholders of a name of its own that nothing reads.
Result<Entry> graph_entry(const LoadedModel& model, const ImportOptions& options) {
  Entry entry{"serving_default", {}, {}};
  std::set<std::string_view> read;
  std::map<std::string_view, const NodeDef*> by_name;
  for (const NodeDef& node : model.meta.graph.nodes) {
    by_name.emplace(node.name, &node);
    for (const std::string_view input : node.inputs)
      read.insert(node_of(input.starts_with("^") ? input.substr(1) : input));
  }
  const auto no_node = [&](const std::string& name, std::string_view role) {
    std::vector<std::string> names;
    names.reserve(by_name.size());
    for (const auto& [known, node] : by_name) names.emplace_back(known);
    return not_found(fmt::format("the graph has no node '{}' to use as {}{}", name, role,
                                 did_you_mean(node_of(name), names)));
  };
  const auto add_input = [&](const std::string& name) -> Status {
    const auto it = by_name.find(node_of(name));
    if (it == by_name.end()) return no_node(name, "input");
    Port port{std::string(node_of(name)), name, DataType::f32, {}};
    const Attrs& attrs = it->second->attrs;
    port.dtype = TRY(attrs.get_type("dtype", TRY(attrs.get_type("T", DataType::f32))));
    port.shape = TRY(declared_shape(model, attrs));
    entry.inputs.push_back(std::move(port));
    return {};
  };
  for (const std::string& name : options.inputs) TRY(add_input(name));
  if (options.inputs.empty())
    for (const NodeDef& node : model.meta.graph.nodes)
      if (node.op == "Placeholder" &&
          (read.contains(node.name) || !node.name.starts_with("unused_control_flow_input")))
        TRY(add_input(std::string(node.name)));
  for (const std::string& name : options.outputs) {
    if (!by_name.contains(node_of(name))) return no_node(name, "output");
    entry.outputs.push_back({name, name, DataType::invalid, {}});
  }
  if (options.outputs.empty())
    for (const NodeDef& node : model.meta.graph.nodes)
      if (!read.contains(node.name) && node.op != "NoOp" && node.op != "Const" &&
          node.op != "Placeholder")
        entry.outputs.push_back(
            {std::string(node.name), std::string(node.name), DataType::invalid, {}});
  // Beside the model, the graph of a checkpoint saves, restores and initialises its variables.
  if (options.outputs.empty() && model.meta_graph) {
    const auto computed = nodes_behind(model, entry.inputs);
    std::erase_if(entry.outputs,
                  [&](const Port& p) { return !computed.contains(node_of(p.tensor)); });
  }
  if (entry.outputs.empty()) return invalid_model("the graph computes nothing; name its --outputs");
  return entry;
}

// What there is to name instead of a signature.
Error no_signatures(const LoadedModel& model) {
  std::string names;
  for (const NodeDef& node : model.meta.graph.nodes)
    if (node.op == "Placeholder" && names.size() < kMaxListed)
      names += (names.empty() ? "" : ", ") + std::string(node.name);
  return not_found(fmt::format("the SavedModel has no signatures; save it with signatures=…, as "
                               "tf.saved_model.save(module, path, "
                               "signatures=module.f.get_concrete_function(…)), or name "
                               "--inputs and --outputs of its graph, whose placeholders are: {}",
                               names.empty() ? "none" : names))
      .at(model.path);
}

// A node that was met several times (in both regions of a loop, in several signatures) is one
// entry: the one of worst fate.
void merge_repeated(ImportReport& report) {
  std::unordered_map<std::string, size_t> places;
  std::vector<NodeReport> nodes;
  for (NodeReport& node : report.nodes) {
    const auto [place, is_new] = places.emplace(node.name, nodes.size());
    if (is_new)
      nodes.push_back(std::move(node));
    else if (nodes[place->second].fate != Fate::unsupported && node.fate == Fate::unsupported)
      nodes[place->second] = std::move(node);
  }
  report.nodes = std::move(nodes);
}

Result<ImportedModel> import_loaded(LoadedModel model, const ImportOptions& options) {
  ImportedModel imported;
  imported.report.format = model.saved_model  ? "TensorFlow SavedModel"
                           : model.meta_graph ? "TensorFlow MetaGraphDef"
                                              : "TensorFlow GraphDef";
  std::vector<Entry> entries;
  if (model.saved_model && options.outputs.empty()) {
    entries = signature_entries(model, options.signature);
    const bool named = std::ranges::any_of(model.meta.signatures,
                                           [](const auto& s) { return !is_internal(s.first); });
    if (entries.empty() && !named) return no_signatures(model);
    if (entries.empty()) {
      std::string keys;
      for (const auto& [key, s] : model.meta.signatures)
        if (!is_internal(key)) keys += "\n  " + describe_signature(key, s);
      return not_found(
          fmt::format("the model has no signature '{}'; it has:{}", options.signature, keys));
    }
  } else {
    entries.push_back(TRY(graph_entry(model, options)));
  }
  const FunctionLibrary library(model.meta.graph.functions, model.meta.ops);
  const NodeGraph main(model.meta.graph.nodes, nullptr, library);
  const VariableSources variables = find_variable_sources(model, main, library);
  Context context{model, library, main, variables, options, {}};
  std::vector<std::optional<Error>> errors;
  // A variable that one entry assigns and one reads is state: what read it as a constant is
  // imported again.
  for (bool again = true; again;) {
    imported.functions.clear();
    imported.report.nodes.clear();
    errors.assign(entries.size(), std::nullopt);
    VariableSet read, written;
    for (size_t i = 0; i < entries.size(); ++i) {
      Usage usage;
      auto function = import_entry(context, entries[i], imported.report, usage);
      if (!function.ok()) {
        errors[i] = std::move(function).error();
        continue;
      }
      read.merge(usage.read);
      written.merge(usage.written);
      imported.functions.push_back(std::move(*function));
    }
    again = false;
    for (const std::string& name : written)
      again |= read.contains(name) && context.state.insert(name).second;
  }
  std::optional<Error> first;
  bool default_failed = false;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!errors[i]) continue;
    const Error& error = *errors[i];
    imported.warnings.push_back(fmt::format("signature '{}' is left out: {}{}{}", entries[i].key,
                                            error.message, error.where.empty() ? "" : " at ",
                                            error.where));
    default_failed |= entries[i].key == "serving_default";
    if (!first || first->code == Code::unsupported) first = std::move(*errors[i]);
  }
  merge_repeated(imported.report);
  // Others may be left out, with a warning; the one everybody asks for may not.
  if (default_failed) imported.functions.clear();
  // Unsupported nodes are listed by the report; what is malformed is an error.
  if (imported.functions.empty() &&
      (first->code != Code::unsupported || imported.report.count(Fate::unsupported) == 0))
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
