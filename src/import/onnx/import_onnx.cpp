// The ONNX importer's door: from a file or bytes to one function named "serving_default", with the
// cuts and input sizes the user asks for.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/nearest.h"
#include "import/importer.h"
#include "import/onnx/graph_importer.h"

namespace tenon::onnx {
namespace {

constexpr int64_t kNewestOpset = 28;
constexpr const char* kKey = "serving_default";

int64_t main_opset(const ModelProto& model) {
  for (const OperatorSetId& id : model.opsets)
    if (id.domain.empty() || id.domain == "ai.onnx") return id.version;
  return 1;
}

std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kShown = 20;
  std::string text;
  for (size_t i = 0; i < names.size() && i < kShown; ++i)
    text += (i == 0 ? "'" : ", '") + names[i] + "'";
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

bool is_optional_tensor(const TypeProto& type) {
  return type.kind == TypeKind::optional && type.inner.size() == 1 &&
         type.inner[0].kind == TypeKind::tensor;
}

enum class PortKind : uint8_t { plain, optional, map_keys, map_values };

// An input of the graph that is made. A map is two, first its keys.
struct Port {
  std::string name;
  TensorType type;
  PortKind kind = PortKind::plain;  // optional: of a tensor, a list of no or one
  std::string_view source = {};     // the model's name for it
};

// Everything import needs besides the model: one object, so that types before a cut can be found by
// importing up to there.
class Session {
 public:
  Session(const ModelProto& model, TensorSource& source, const ImportOptions& options)
      : model_(model), source_(source), options_(options) {}

  Result<ImportedModel> run();

 private:
  Result<std::vector<Port>> inputs(GraphImporter& importer);
  Result<std::vector<Port>> own_inputs(GraphImporter& importer);
  static Status add_ports(GraphImporter& importer, const ValueInfoProto& input,
                          std::vector<Port>& ports);
  Status cut(GraphImporter& importer, const std::string& name, std::vector<Port>& ports);
  Status apply_shapes(std::vector<Port>& ports) const;
  Status bind_inputs(GraphImporter& importer, Scope& scope, Graph& graph,
                     const std::vector<Port>& ports) const;
  Result<std::vector<std::string>> outputs(const Scope& scope) const;
  std::optional<TensorType> inferred_type(const std::string& name);
  bool is_initializer(std::string_view name) const;

  const ModelProto& model_;
  TensorSource& source_;
  const ImportOptions& options_;
  std::vector<std::string> warnings_;
};

bool Session::is_initializer(std::string_view name) const {
  const GraphProto& g = model_.graph;
  return std::ranges::any_of(g.initializers, [&](const auto& t) { return t.name == name; }) ||
         std::ranges::any_of(g.sparse_initializers,
                             [&](const auto& t) { return t.values.name == name; });
}

Status Session::add_ports(GraphImporter& importer, const ValueInfoProto& input,
                          std::vector<Port>& ports) {
  const TypeProto& type = input.type;
  const std::string name(input.name);
  if (type.kind != TypeKind::map) {
    ports.push_back({name, TRY(importer.type_of(type, name)),
                     is_optional_tensor(type) ? PortKind::optional : PortKind::plain, input.name});
    return {};
  }
  if (type.inner.size() != 1 || type.inner[0].kind != TypeKind::tensor)
    return unsupported(fmt::format("'{}' is a map of values that are no tensors", name));
  const auto vector = [&](ElementType element) {
    TypeProto as_tensor{.kind = TypeKind::tensor, .element = element, .has_shape = true};
    as_tensor.dims.push_back({.param = input.name});
    return importer.type_of(as_tensor, name);
  };
  ports.push_back({name + ".keys", TRY(vector(type.element)), PortKind::map_keys, input.name});
  ports.push_back(
      {name + ".values", TRY(vector(type.inner[0].element)), PortKind::map_values, input.name});
  return {};
}

// Inputs with a default value are constants.
Result<std::vector<Port>> Session::own_inputs(GraphImporter& importer) {
  std::vector<Port> ports;
  for (const ValueInfoProto& input : model_.graph.inputs) {
    if (is_initializer(input.name)) continue;
    if (input.name.empty()) return invalid_model("an input of the graph has no name");
    TRY(add_ports(importer, input, ports));
  }
  return ports;
}

// The type of a value inside, found by importing what computes it; nothing where that fails.
std::optional<TensorType> Session::inferred_type(const std::string& name) {
  ImportReport report;
  GraphImporter importer(model_, source_, report, options_.custom_ops.get());
  Graph graph;
  Scope scope{&graph, &importer.model_frame(), {}, {}};
  auto ports = own_inputs(importer);
  if (!ports.ok()) return std::nullopt;
  if (!importer.bind_initializers(scope, model_.graph).ok()) return std::nullopt;
  if (!bind_inputs(importer, scope, graph, *ports).ok()) return std::nullopt;
  if (!importer.import_nodes(scope, model_.graph.nodes, {name}).ok()) return std::nullopt;
  auto value = importer.value(scope, name);
  if (!value.ok() || *value == nullptr) return std::nullopt;
  return (*value)->type();
}

Error no_value(const GraphProto& graph, const std::string& name, std::string_view role) {
  std::vector<std::string> names;
  for (const NodeProto& node : graph.nodes)
    names.insert(names.end(), node.outputs.begin(), node.outputs.end());
  return not_found(fmt::format("the model has no value '{}' to use as {}{}", name, role,
                               did_you_mean(name, names)));
}

Status Session::cut(GraphImporter& importer, const std::string& name, std::vector<Port>& ports) {
  const GraphProto& g = model_.graph;
  for (const auto* infos : {&g.inputs, &g.value_infos, &g.outputs})
    for (const ValueInfoProto& info : *infos)
      if (info.name == name) return add_ports(importer, info, ports);
  const bool is_known = std::ranges::any_of(g.nodes, [&](const NodeProto& node) {
    return std::ranges::find(node.outputs, name) != node.outputs.end();
  });
  if (!is_known) return no_value(g, name, "input");
  if (const auto type = inferred_type(name)) {
    ports.push_back({name, *type, PortKind::plain, name});
    return {};
  }
  warnings_.push_back(fmt::format(
      "the model does not tell the type of '{}': float32 is assumed; give its shape with "
      "--input-shape",
      name));
  ports.push_back({name, {DType::f32, Shape::unranked()}, PortKind::plain, name});
  return {};
}

// The sizes the user gives; a named dimension that one input settles is settled for all.
Status Session::apply_shapes(std::vector<Port>& ports) const {
  for (const auto& given : options_.input_shapes) {
    const std::string& wanted = given.first;
    const bool is_known = std::ranges::any_of(ports, [&](const Port& port) {
      return wanted == port.name || wanted == port.name + ":0" || wanted + ":0" == port.name;
    });
    if (is_known || (wanted.empty() && ports.size() == 1)) continue;
    std::vector<std::string> names;
    names.reserve(ports.size());
    for (const Port& port : ports) names.push_back(port.name);
    return not_found(
        fmt::format("--input-shape names '{}'; the model's inputs are: {}", wanted, listed(names)));
  }
  std::vector<std::pair<Dim, Dim>> settled;
  for (Port& port : ports) {
    const Shape declared = port.type.shape;
    port.type.shape = TRY(apply_input_shape(options_, port.name, declared, ports.size()));
    for (int i = 0; i < declared.rank(); ++i)
      if (declared[i].is_symbol() && port.type.shape[i].known())
        settled.emplace_back(declared[i], port.type.shape[i]);
  }
  for (Port& port : ports)
    for (Dim& dim : port.type.shape.dims())
      for (const auto& [symbol, size] : settled)
        if (dim == symbol) dim = size;
  return {};
}

Result<std::vector<Port>> Session::inputs(GraphImporter& importer) {
  std::vector<Port> ports;
  if (options_.inputs.empty()) {
    ports = TRY(own_inputs(importer));
  } else {
    for (const std::string& name : options_.inputs) TRY(cut(importer, name, ports));
  }
  TRY(apply_shapes(ports));
  return ports;
}

// Inputs of the model that --inputs leaves out stay known by name, for the error.
Status Session::bind_inputs(GraphImporter& importer, Scope& scope, Graph& graph,
                            const std::vector<Port>& ports) const {
  for (const ValueInfoProto& input : model_.graph.inputs)
    scope.names.try_emplace(input.name, Binding{.is_left_out = true});
  std::set<std::string_view> seen;
  Value* keys = nullptr;  // of the map whose values come next
  for (const Port& port : ports) {
    if (!seen.insert(port.name).second)
      return invalid_model(fmt::format("the graph has two inputs '{}'", port.name));
    Value* value = graph.add_input(port.type, port.name);
    if (port.kind == PortKind::optional) importer.mark_optional(value);
    if (port.kind == PortKind::map_values) importer.set_map_keys(value, keys);
    keys = value;
    scope.names.insert_or_assign(port.source, Binding{.value = value});
  }
  return {};
}

Result<std::vector<std::string>> Session::outputs(const Scope& scope) const {
  std::vector<std::string> names = options_.outputs;
  if (names.empty())
    for (const ValueInfoProto& output : model_.graph.outputs) names.emplace_back(output.name);
  if (names.empty()) return invalid_model("the graph has no outputs");
  for (const std::string& name : names) {
    const bool is_computed = std::ranges::any_of(model_.graph.nodes, [&](const NodeProto& node) {
      return std::ranges::find(node.outputs, name) != node.outputs.end();
    });
    if (is_computed || scope.names.contains(name)) continue;
    if (options_.outputs.empty())
      return invalid_model(fmt::format("nothing computes the output '{}'", name));
    return no_value(model_.graph, name, "output");
  }
  return names;
}

Result<ImportedModel> Session::run() {
  ImportedModel imported;
  const int64_t opset = main_opset(model_);
  imported.report.format = fmt::format("ONNX opset {}", opset);
  if (opset > kNewestOpset)
    warnings_.push_back(
        fmt::format("the model uses opset {}, the newest known is {}", opset, kNewestOpset));
  GraphImporter importer(model_, source_, imported.report, options_.custom_ops.get());
  if (options_.input_shapes.empty()) importer.set_value_infos(model_.graph);
  ImportedFunction function;
  function.key = kKey;
  function.graph = std::make_unique<Graph>(kKey);
  Scope scope{function.graph.get(), &importer.model_frame(), {}, {}};
  TRY(importer.bind_initializers(scope, model_.graph));
  const std::vector<Port> ports = TRY(inputs(importer));
  TRY(bind_inputs(importer, scope, *function.graph, ports));
  for (const Port& port : ports) function.input_names.push_back(port.name);
  function.output_names = TRY(outputs(scope));
  TRY(importer.import_nodes(scope, model_.graph.nodes,
                            {function.output_names.begin(), function.output_names.end()}));
  Values results;
  for (const std::string& name : function.output_names)
    results.push_back(TRY(importer.value(scope, name)));
  if (options_.inputs.empty() && options_.outputs.empty())
    for (const NodeProto& node : model_.graph.nodes)
      if (std::ranges::none_of(node.outputs, [&](auto o) { return scope.names.contains(o); }))
        imported.report.nodes.push_back({node_name(node), std::string(node.op), Fate::folded,
                                         "no output of the model depends on it"});
  imported.warnings = std::move(warnings_);
  if (imported.report.count(Fate::unsupported) > 0) return imported;
  for (size_t i = 0; i < results.size(); ++i)
    if (results[i] == nullptr)
      return invalid_model(fmt::format("the output '{}' has no value", function.output_names[i]));
  function.graph->set_outputs(std::move(results));
  imported.functions.push_back(std::move(function));
  return imported;
}

Result<ImportedModel> import_bytes(Bytes bytes, std::shared_ptr<const void> owner,
                                   std::string folder, const ImportOptions& options) {
  const ModelProto model = TRY(decode_model(bytes));
  TensorSource source(std::move(owner), std::move(folder));
  return Session(model, source, options).run();
}

}  // namespace

Result<ImportedModel> import_onnx(const std::string& path, const ImportOptions& options) {
  auto file = TRY(MappedFile::open(path));
  const Bytes bytes = file->bytes();
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  auto imported = import_bytes(bytes, std::move(file), std::move(folder), options);
  if (!imported.ok()) return std::move(imported).error().at(path);
  return imported;
}

Result<ImportedModel> import_onnx(Blob blob, const ImportOptions& options) {
  return import_bytes(blob.bytes, blob.owner, {}, options);
}

}  // namespace tenon::onnx
