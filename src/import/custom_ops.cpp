#include "import/custom_ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/bytes.h"
#include "ir/text.h"

namespace tenon {
namespace {

// The attribute as a value of the type that the decomposition's input is declared with.
Result<Value*> attribute_value(Builder& builder, const CustomAttr& attr, const TensorType& type) {
  const auto as_type = [&](Tensor t) -> Result<Value*> {
    Value* v = builder.constant(std::move(t));
    if (type.dtype == v->dtype()) return v;
    return builder.op("cast", {v}, {{"to", type.dtype}});
  };
  const AttrValue& v = attr.value;
  if (const auto* i = std::get_if<int64_t>(&v)) return as_type(Tensor::scalar(*i));
  if (const auto* f = std::get_if<double>(&v)) return as_type(Tensor::scalar(*f));
  if (const auto* b = std::get_if<bool>(&v)) return as_type(Tensor::scalar(*b));
  if (const auto* s = std::get_if<std::string>(&v)) return as_type(Tensor::scalar(*s));
  if (const auto* ints = std::get_if<std::vector<int64_t>>(&v))
    return as_type(Tensor::vector(*ints));
  if (const auto* reals = std::get_if<std::vector<double>>(&v))
    return as_type(Tensor::vector(*reals));
  if (const auto* texts = std::get_if<std::vector<std::string>>(&v))
    return as_type(Tensor::vector(*texts));
  if (const auto* t = std::get_if<Tensor>(&v)) return as_type(*t);
  return unsupported(fmt::format(
      "attribute '{}' is {}, which is no value that a decomposition can take as an input",
      attr.name, attr_kind_name(v)));
}

// The values of a decomposition's inputs: operands in order, then attributes by name.
Result<std::vector<Value*>> arguments_of(Builder& builder, const NamedGraph& graph,
                                         const std::vector<Value*>& operands,
                                         const std::vector<CustomAttr>& attrs) {
  const auto& inputs = graph.graph->inputs();
  if (operands.size() > inputs.size())
    return invalid_argument(fmt::format("its decomposition '{}' takes {} inputs, the node has {}",
                                        graph.key, inputs.size(), operands.size()));
  std::vector<Value*> arguments = operands;
  for (size_t i = operands.size(); i < inputs.size(); ++i) {
    const std::string& name = graph.input_names[i];
    const auto attr = std::ranges::find(attrs, name, &CustomAttr::name);
    if (attr == attrs.end())
      return invalid_argument(
          fmt::format("input '{}' of its decomposition '{}' is neither an operand nor an attribute "
                      "of the node",
                      name, graph.key));
    arguments.push_back(TRY(attribute_value(builder, *attr, inputs[i]->type())));
  }
  return arguments;
}

// Puts the graph's nodes where the builder stands, reading these arguments. Types are inferred
// anew.
Result<std::vector<Value*>> inline_graph(Builder& builder, const Graph& graph,
                                         const std::vector<Value*>& arguments) {
  std::unordered_map<const Value*, Value*> values;
  for (size_t i = 0; i < arguments.size(); ++i) values[graph.inputs()[i].get()] = arguments[i];
  for (const auto& node : graph.nodes()) {
    std::vector<Value*> operands;
    for (const Value* v : node->inputs()) operands.push_back(v == nullptr ? nullptr : values[v]);
    std::vector<std::unique_ptr<Graph>> regions;
    for (const auto& region : node->regions()) regions.push_back(region->clone());
    auto added = builder.add(node->op().clone(), std::move(operands), std::move(regions));
    if (!added.ok())
      return std::move(added).error().note(
          fmt::format("in '{}' of its decomposition '{}'",
                      node->output_count() > 0 ? node->output()->name : "", graph.name));
    for (int i = 0; i < node->output_count(); ++i) values[node->output(i)] = (*added)->output(i);
  }
  std::vector<Value*> results;
  for (const Value* v : graph.outputs()) results.push_back(values[v]);
  return results;
}

}  // namespace

Result<std::shared_ptr<const CustomOps>> CustomOps::load(std::span<const std::string> paths) {
  auto ops = std::make_shared<CustomOps>();
  // Libraries first: a decomposition may use their ops.
  for (const std::string& path : paths)
    if (!path.ends_with(".tn")) TRY(ops->libraries_.add(path));
  for (const std::string& path : paths) {
    if (!path.ends_with(".tn")) continue;
    const std::string text = TRY(read_text_file(path));
    for (NamedGraph& graph : TRY(parse_graphs(text, path, &ops->libraries_))) {
      std::string key = graph.key;
      if (!ops->decompositions_.try_emplace(key, std::move(graph)).second)
        return invalid_argument(fmt::format("there are two decompositions of op '{}'", key))
            .at(path);
    }
  }
  return ops;
}

bool CustomOps::has(std::string_view op) const {
  return decompositions_.contains(op) || libraries_.has(op);
}

bool CustomOps::is_kernel(std::string_view op) const {
  return !decompositions_.contains(op) && libraries_.kernel(op) != nullptr;
}

Result<std::vector<Value*>> CustomOps::apply(Builder& builder, const std::string& op,
                                             const std::vector<Value*>& operands, int64_t results,
                                             const std::vector<CustomAttr>& attrs) const {
  if (const auto found = decompositions_.find(op); found != decompositions_.end()) {
    const NamedGraph& graph = found->second;
    return inline_graph(builder, *graph.graph, TRY(arguments_of(builder, graph, operands, attrs)));
  }
  if (!libraries_.has(op)) return not_found(fmt::format("there is no custom op '{}'", op));
  Custom custom;
  custom.op = op;
  if (const auto library = libraries_.find(op)) custom.library = library->name();
  custom.results = results;
  for (const CustomAttr& attr : attrs) custom.attributes.push_back(TRY(encode_custom_attr(attr)));
  TRY(bind(custom, libraries_));
  Node* node = TRY(builder.add(make_op(std::move(custom)), operands));
  std::vector<Value*> values;
  values.reserve(static_cast<size_t>(node->output_count()));
  for (int i = 0; i < node->output_count(); ++i) values.push_back(node->output(i));
  return values;
}

std::string ways_out(std::string_view op) {
  return fmt::format(
      "op '{0}' has no mapping; `tenon new-op {0}` writes a C++ file or a kernel for it, or say in "
      "a .tn file "
      "what it computes, and give it with --custom-ops; or cut the model before it with "
      "--outputs",
      op);
}

}  // namespace tenon
