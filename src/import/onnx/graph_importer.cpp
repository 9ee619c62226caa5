#include "import/onnx/graph_importer.h"

#include <fmt/format.h>

#include <algorithm>

namespace tenon::onnx {
namespace {

// Functions and loops multiply nodes: no more than this many are looked at in all.
constexpr int64_t kMaxNodes = 400'000;

std::string function_key(std::string_view domain, std::string_view name,
                         std::string_view overload) {
  return fmt::format("{}:{}:{}", domain == "ai.onnx" ? "" : domain, name, overload);
}

// Why what a rule added can only run on the CPU; empty when it is not so.
std::string cpu_reason(const Node& node) {
  const auto on_host = [](const Value* v) {
    return v != nullptr && (v->type().is_list || v->dtype() == DType::string);
  };
  for (int i = 0; i < node.output_count(); ++i)
    if (on_host(node.output(i))) return "strings and sequences are kept by the CPU";
  for (const Value* v : node.inputs())
    if (on_host(v)) return "strings and sequences are kept by the CPU";
  if (node.def().has(kDataDependent)) return "the size of its result depends on values";
  return {};
}

}  // namespace

std::string node_name(const NodeProto& node) {
  if (!node.name.empty()) return std::string(node.name);
  for (const std::string_view output : node.outputs)
    if (!output.empty()) return std::string(output);
  return {};
}

GraphImporter::GraphImporter(const ModelProto& model, TensorSource& source, ImportReport& report,
                             const CustomOps* custom_ops)
    : model_(model), source_(source), report_(report), custom_ops_(custom_ops) {
  for (const OperatorSetId& id : model.opsets)
    model_frame_.opsets[id.domain == "ai.onnx" ? "" : id.domain] = id.version;
  for (const FunctionProto& f : model.functions)
    functions_.emplace(function_key(f.domain, f.name, f.overload), &f);
}

void GraphImporter::note(const std::string& prefix, const NodeProto& node, Fate fate,
                         std::string reason) {
  report_.nodes.push_back(
      {prefix + node_name(node), std::string(node.op), fate, std::move(reason)});
}

Status GraphImporter::count_node() {
  if (++nodes_seen_ > kMaxNodes)
    return invalid_model(
        fmt::format("functions and loops expand the model to more than {} nodes", kMaxNodes));
  return {};
}

Status GraphImporter::bind_initializers(Scope& scope, const GraphProto& graph) {
  const auto bind = [&](std::string_view name, Binding binding) -> Status {
    if (name.empty()) return invalid_model("an initializer has no name");
    if (!scope.names.emplace(name, std::move(binding)).second)
      return invalid_model(fmt::format("the name '{}' is defined twice", name));
    return {};
  };
  for (const TensorProto& tensor : graph.initializers)
    TRY(bind(tensor.name, {.initializer = &tensor}));
  for (const SparseTensorProto& tensor : graph.sparse_initializers)
    TRY(bind(tensor.values.name, {.sparse_initializer = &tensor}));
  return {};
}

Result<Value*> GraphImporter::value(Scope& scope, std::string_view name) {
  const auto it = scope.names.find(name);
  if (it == scope.names.end())
    return invalid_model(fmt::format("nothing in the graph computes '{}'", name));
  Binding& b = it->second;
  if (b.value != nullptr || b.is_absent || b.is_missing) return b.value;
  if (b.initializer != nullptr || b.sparse_initializer != nullptr) {
    auto tensor = b.initializer != nullptr ? source_.value(*b.initializer)
                                           : source_.value(*b.sparse_initializer);
    if (!tensor.ok()) return std::move(tensor).error().at(fmt::format("initializer '{}'", name));
    b.tensor = std::move(*tensor);
  }
  Builder builder(*scope.graph);
  b.value = builder.constant(b.tensor);
  b.value->name = name;
  return b.value;
}

const FunctionProto* GraphImporter::find_function(const NodeProto& node) const {
  if (functions_.empty()) return nullptr;
  const auto it = functions_.find(function_key(node.domain, node.op, node.overload));
  return it == functions_.end() ? nullptr : it->second;
}

const AttributeProto* GraphImporter::attribute(const Scope& scope, const NodeProto& node,
                                               std::string_view name) const {
  for (const AttributeProto& a : node.attrs) {
    if (a.name != name) continue;
    if (a.ref.empty()) return &a;
    const auto it = scope.frame->attributes.find(a.ref);
    return it == scope.frame->attributes.end() ? nullptr : it->second;
  }
  return nullptr;
}

Value* GraphImporter::map_keys(const Value* values) const {
  const auto it = map_keys_.find(values);
  return it == map_keys_.end() ? nullptr : it->second;
}

void GraphImporter::bind_missing(Scope& scope, const NodeProto& node) {
  for (const std::string_view output : node.outputs)
    if (!output.empty()) scope.names.try_emplace(output, Binding{.is_missing = true});
}

Status GraphImporter::bind_outputs(Scope& scope, const NodeProto& node, const Values& results) {
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const std::string_view name = node.outputs[i];
    if (name.empty()) continue;
    Value* v = i < results.size() ? results[i] : nullptr;
    // A name bound before is one the user gave another value.
    if (!scope.names.try_emplace(name, Binding{.value = v, .is_absent = v == nullptr}).second)
      continue;
    if (v == nullptr) continue;
    if (v->name.empty()) v->name = name;
    const auto info = scope.prefix.empty() ? value_infos_.find(name) : value_infos_.end();
    if (info == value_infos_.end() || v->type().is_list || v->shape().is_static()) continue;
    const TensorType declared = TRY(type_of(*info->second, {}));
    if (declared.is_list || declared.dtype != v->dtype()) continue;
    if (const auto merged = merge_shapes(v->shape(), declared.shape))
      v->set_type({v->dtype(), *merged});
  }
  return {};
}

Status GraphImporter::import_node(Scope& scope, const NodeProto& node) {
  TRY(count_node());
  if (is_custom(node)) return import_custom_node(scope, node);
  if (const FunctionProto* function = find_function(node))
    return call_function(scope, node, *function);
  const std::string_view domain = node.domain == "ai.onnx" ? "" : node.domain;
  const auto version = scope.frame->opsets.find(domain);
  const int64_t opset = version == scope.frame->opsets.end() ? 1 : version->second;
  const Rule* rule = find_rule(domain, node.op, opset);
  if (rule != nullptr) return apply_rule(scope, node, *rule, opset);
  note(scope.prefix, node, Fate::unsupported, unmapped_reason(node, opset));
  bind_missing(scope, node);
  for (const AttributeProto& a : node.attrs)
    for (const GraphProto& graph : a.graphs)
      TRY(list_nodes(*scope.frame, scope.prefix + node_name(node) + "/", graph.nodes));
  return {};
}

Status GraphImporter::apply_rule(Scope& scope, const NodeProto& node, const Rule& rule,
                                 int64_t opset) {
  int given = static_cast<int>(node.inputs.size());
  while (given > 0 && node.inputs[static_cast<size_t>(given) - 1].empty()) --given;
  if (!rule.inputs.accepts(given))
    return invalid_model(
        rule.inputs.max == kVariadic
            ? fmt::format("it has {} inputs, but takes {} or more", given, rule.inputs.min)
            : fmt::format("it has {} inputs, but takes {} to {}", given, rule.inputs.min,
                          rule.inputs.max));
  Builder builder(*scope.graph);
  builder.set_origins({scope.prefix + node_name(node)});
  RuleContext context{*this, scope, builder, node, opset, {}, 0};
  for (int i = 0; i < given; ++i) {
    const std::string_view name = node.inputs[static_cast<size_t>(i)];
    context.inputs.push_back(name.empty() ? nullptr : TRY(value(scope, name)));
    if (context.inputs.back() == nullptr && i < rule.inputs.min)
      return invalid_model(fmt::format("its input {} is missing", i));
  }
  for (size_t i = 0; i < node.outputs.size(); ++i)
    if (!node.outputs[i].empty()) context.outputs = static_cast<int>(i) + 1;
  const auto& nodes = scope.graph->nodes();
  const auto last = nodes.empty() ? nodes.end() : std::prev(nodes.end());
  const bool was_empty = nodes.empty();
  Result<Values> results = rule.function(context);
  if (!results.ok()) {
    if (results.error().code != Code::unsupported) return std::move(results).error();
    note(scope.prefix, node, Fate::unsupported, results.error().message);
    bind_missing(scope, node);
    return {};
  }
  Fate fate = Fate::folded;
  std::string reason;
  for (auto it = was_empty ? nodes.begin() : std::next(last); it != nodes.end(); ++it) {
    if ((*it)->is("const")) continue;
    if (reason.empty()) reason = cpu_reason(**it);
    fate = reason.empty() ? Fate::mapped : Fate::on_cpu;
  }
  note(scope.prefix, node, fate, std::move(reason));
  return bind_outputs(scope, node, *results);
}

// The functions of a node in its own body would never end.
Result<Frame> GraphImporter::call_frame(const Scope* scope, const NodeProto& node,
                                        const FunctionProto& function) const {
  Frame frame;
  for (const OperatorSetId& id : function.opsets)
    frame.opsets[id.domain == "ai.onnx" ? "" : id.domain] = id.version;
  if (scope == nullptr) return frame;
  for (const AttributeProto& a : function.attribute_protos) frame.attributes[a.name] = &a;
  for (const AttributeProto& a : node.attrs)
    if (const AttributeProto* actual = attribute(*scope, node, a.name)) {
      if (!actual->graphs.empty())
        return unsupported(
            fmt::format("attribute '{}' hands a graph to a function; inline the model's functions "
                        "when exporting",
                        a.name));
      frame.attributes[a.name] = actual;
    }
  return frame;
}

Status GraphImporter::check_recursion(const FunctionProto& function) const {
  if (std::ranges::find(calls_, &function) != calls_.end())
    return invalid_model(fmt::format(
        "function '{}' calls itself; a recursion cannot be compiled, write it as a Loop",
        function.name));
  if (calls_.size() >= kMaxDepth)
    return invalid_model(fmt::format("functions call each other more than {} deep", kMaxDepth));
  return {};
}

Status GraphImporter::call_function(Scope& scope, const NodeProto& node,
                                    const FunctionProto& function) {
  TRY(check_recursion(function));
  if (node.inputs.size() > function.inputs.size())
    return invalid_model(fmt::format("function '{}' takes {} inputs, not {}", function.name,
                                     function.inputs.size(), node.inputs.size()));
  if (node.outputs.size() > function.outputs.size())
    return invalid_model(fmt::format("function '{}' has {} outputs, not {}", function.name,
                                     function.outputs.size(), node.outputs.size()));
  const Frame frame = TRY(call_frame(&scope, node, function));
  Scope inner{scope.graph, &frame, scope.prefix + node_name(node) + "/", {}};
  for (size_t i = 0; i < function.inputs.size(); ++i) {
    Binding binding{.is_absent = true};
    if (i < node.inputs.size() && !node.inputs[i].empty()) {
      TRY(value(scope, node.inputs[i]));
      binding = scope.names[node.inputs[i]];
    }
    inner.names.emplace(function.inputs[i], std::move(binding));
  }
  note(scope.prefix, node, Fate::folded);
  calls_.push_back(&function);
  Status status = import_inner(inner, function.nodes, function.outputs);
  calls_.pop_back();
  TRY(std::move(status));
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i].empty()) continue;
    const auto it = inner.names.find(function.outputs[i]);
    if (it == inner.names.end())
      return invalid_model(fmt::format("function '{}' does not compute its output '{}'",
                                       function.name, function.outputs[i]));
    scope.names.try_emplace(node.outputs[i], it->second);
  }
  return {};
}

Status GraphImporter::list_nodes(const Frame& frame, const std::string& prefix,
                                 const std::vector<NodeProto>& nodes) {
  for (const NodeProto& node : nodes) TRY(list_node(frame, prefix, node));
  return {};
}

Status GraphImporter::list_node(const Frame& frame, const std::string& prefix,
                                const NodeProto& node) {
  TRY(count_node());
  const std::string inner = prefix + node_name(node) + "/";
  if (is_custom(node)) {
    note(prefix, node, Fate::on_cpu, "not checked: an operand of it is not supported");
    return {};
  }
  if (const FunctionProto* function = find_function(node)) {
    TRY(check_recursion(*function));
    note(prefix, node, Fate::folded);
    const Frame callee = TRY(call_frame(nullptr, node, *function));
    calls_.push_back(function);
    Status status = list_nodes(callee, inner, function->nodes);
    calls_.pop_back();
    return status;
  }
  const std::string_view domain = node.domain == "ai.onnx" ? "" : node.domain;
  const auto version = frame.opsets.find(domain);
  const int64_t opset = version == frame.opsets.end() ? 1 : version->second;
  if (find_rule(domain, node.op, opset) != nullptr)
    note(prefix, node, Fate::mapped);
  else
    note(prefix, node, Fate::unsupported, unmapped_reason(node, opset));
  for (const AttributeProto& a : node.attrs)
    for (const GraphProto& graph : a.graphs) TRY(list_nodes(frame, inner, graph.nodes));
  return {};
}

}  // namespace tenon::onnx
