// GraphImporter: graphs node by node, sub-graphs with what they read of their surroundings, and
// types as the model writes them.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "import/onnx/graph_importer.h"
#include "import/onnx/graph_order.h"

namespace tenon::onnx {

Status GraphImporter::import_nodes(Scope& scope, const std::vector<NodeProto>& nodes,
                                   const std::vector<std::string_view>& wanted) {
  const auto order = TRY(order_nodes(
      nodes, wanted, [&](std::string_view name) { return scope.names.contains(name); }));
  for (const size_t i : order) {
    const NodeProto& node = nodes[i];
    const auto place = [&] {
      return fmt::format("node '{}{}' ({})", scope.prefix, node_name(node), node.op);
    };
    bool is_missing = false;
    for (const std::string_view name : names_read(node)) {
      const auto it = scope.names.find(name);
      if (it == scope.names.end())
        return invalid_model(
                   fmt::format("it reads '{}', which nothing in the graph computes", name))
            .at(place());
      if (it->second.is_left_out)
        return invalid_argument(
                   fmt::format("it reads the model's input '{}', which --inputs leaves out", name))
            .at(place());
      is_missing |= it->second.is_missing;
    }
    Status status =
        is_missing ? list_node(*scope.frame, scope.prefix, node) : import_node(scope, node);
    if (!status.ok()) return std::move(status).error().at(place());
    if (is_missing) bind_missing(scope, node);
  }
  return {};
}

Result<std::vector<Capture>> GraphImporter::captures(RuleContext& context,
                                                     std::vector<const GraphProto*> graphs) {
  std::vector<Capture> result;
  for (const std::string_view name : free_names(graphs)) {
    Value* v = TRY(value(context.scope, name));
    Binding binding = context.scope.names[name];
    if (v != nullptr && v->constant() != nullptr) binding = Binding{.tensor = *v->constant()};
    result.push_back({name, std::move(binding)});
  }
  return result;
}

Values GraphImporter::capture_operands(const std::vector<Capture>& captures) {
  Values operands;
  for (const Capture& capture : captures)
    if (capture.binding.value != nullptr) operands.push_back(capture.binding.value);
  return operands;
}

namespace {

std::vector<std::string_view> output_names(const GraphProto& graph) {
  std::vector<std::string_view> names;
  for (const ValueInfoProto& output : graph.outputs) names.push_back(output.name);
  return names;
}

// The inputs of a sub-graph that are not just initializers.
std::vector<std::string_view> formal_names(const GraphProto& graph) {
  std::vector<std::string_view> names;
  for (const ValueInfoProto& input : graph.inputs) names.push_back(input.name);
  return names;
}

}  // namespace

Status GraphImporter::bind_formals(Scope& scope, const GraphProto& graph, const Values& inputs) {
  const auto formals = formal_names(graph);
  if (formals.size() > inputs.size())
    return invalid_model(fmt::format("its sub-graph '{}' has {} inputs, but gets {}", graph.name,
                                     formals.size(), inputs.size()));
  for (size_t i = 0; i < formals.size(); ++i)
    if (!scope.names.emplace(formals[i], Binding{.value = inputs[i]}).second)
      return invalid_model(fmt::format("the name '{}' is defined twice", formals[i]));
  return bind_initializers(scope, graph);
}

Status GraphImporter::import_inner(Scope& scope, const std::vector<NodeProto>& nodes,
                                   const std::vector<std::string_view>& wanted) {
  if (depth_ >= kMaxDepth)
    return invalid_model(
        fmt::format("functions and sub-graphs are nested more than {} deep, or call each other in "
                    "a circle",
                    kMaxDepth));
  ++depth_;
  Status status = import_nodes(scope, nodes, wanted);
  --depth_;
  return status;
}

Result<Region> GraphImporter::region(RuleContext& context, const GraphProto& graph,
                                     const TensorTypes& inputs,
                                     const std::vector<Capture>& captures, const Prelude& prelude) {
  Region region{std::make_unique<Graph>(std::string(graph.name)), true};
  Scope scope{region.graph.get(),
              context.scope.frame,
              context.scope.prefix + node_name(context.node) + "/",
              {}};
  Values values;
  for (const TensorType& type : inputs) values.push_back(region.graph->add_input(type));
  std::vector<Capture> inner = captures;
  for (Capture& capture : inner) {
    Value*& value = capture.binding.value;
    if (value == nullptr) continue;
    const bool marked = is_optional(value);
    value = region.graph->add_input(value->type(), std::string(capture.name));
    if (marked) mark_optional(value);
  }
  if (prelude) {
    Builder builder(*region.graph);
    builder.set_origins({context.scope.prefix + node_name(context.node)});
    values = TRY(prelude(builder, values));
  }
  TRY(bind_formals(scope, graph, values));
  for (const Capture& capture : inner) scope.names.try_emplace(capture.name, capture.binding);
  const auto outputs = output_names(graph);
  TRY(import_inner(scope, graph.nodes, outputs));
  Values results;
  for (const std::string_view name : outputs) {
    results.push_back(TRY(value(scope, name)));
    region.is_complete &= results.back() != nullptr;
  }
  if (region.is_complete) region.graph->set_outputs(std::move(results));
  return region;
}

Result<Values> GraphImporter::inline_graph(RuleContext& context, const GraphProto& graph,
                                           const Values& inputs,
                                           const std::vector<Capture>& captures) {
  Scope scope{context.scope.graph,
              context.scope.frame,
              context.scope.prefix + node_name(context.node) + "/",
              {}};
  TRY(bind_formals(scope, graph, inputs));
  for (const Capture& capture : captures) scope.names.try_emplace(capture.name, capture.binding);
  const auto outputs = output_names(graph);
  TRY(import_inner(scope, graph.nodes, outputs));
  Values results;
  for (const std::string_view name : outputs) {
    results.push_back(TRY(value(scope, name)));
    if (results.back() == nullptr) return unsupported("its sub-graph has nodes without a mapping");
  }
  return results;
}

std::string GraphImporter::symbol(std::string_view text) {
  const auto [it, is_new] = symbols_.emplace(std::string(text), "");
  if (!is_new) return it->second;
  std::string name;
  for (const char c : text)
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' ? c : '_';
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0])) != 0) name = "d" + name;
  std::string unique = name;
  for (int i = 2; !symbols_taken_.insert(unique).second; ++i)
    unique = fmt::format("{}_{}", name, i);
  return it->second = unique;
}

Result<TensorType> GraphImporter::type_of(const TypeProto& type, std::string_view name) {
  if (type.kind == TypeKind::sequence || type.kind == TypeKind::optional) {
    if (type.inner.size() != 1)
      return invalid_model(fmt::format("the type of '{}' is not complete", name));
    TensorType element = TRY(type_of(type.inner[0], name));
    // An optional sequence is taken as one that is there.
    if (element.is_list && type.kind == TypeKind::optional) return element;
    if (element.is_list)
      return unsupported(fmt::format(
          "'{}' is a sequence of sequences or optionals, which is not supported", name));
    element.is_list = true;
    // The items of a list need not be alike.
    for (Dim& dim : element.shape.dims())
      if (!dim.known()) dim = Dim::unknown();
    return element;
  }
  if (type.kind != TypeKind::tensor)
    return unsupported(
        fmt::format("'{}' is neither a tensor nor a sequence of tensors, or has no type", name));
  auto dtype = to_dtype(type.element);
  if (!dtype.ok()) return std::move(dtype).error().at(fmt::format("'{}'", name));
  if (!type.has_shape) return TensorType{*dtype, Shape::unranked()};
  Shape shape;
  for (size_t i = 0; i < type.dims.size(); ++i) {
    const DimProto& dim = type.dims[i];
    if (dim.has_value && dim.value >= 0)
      shape.dims().push_back(Dim(dim.value));
    else if (!dim.param.empty())
      shape.dims().push_back(Dim::symbol(symbol(dim.param)));
    else if (!name.empty())
      shape.dims().push_back(Dim::symbol(symbol(fmt::format("{}:{}", name, i))));
    else
      shape.dims().push_back(Dim::unknown());
  }
  return TensorType{*dtype, std::move(shape)};
}

void GraphImporter::set_value_infos(const GraphProto& graph) {
  for (const ValueInfoProto& info : graph.value_infos)
    if (info.type.kind == TypeKind::tensor) value_infos_.emplace(info.name, &info.type);
}

}  // namespace tenon::onnx
