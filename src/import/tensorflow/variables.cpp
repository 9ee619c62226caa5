// Which checkpoint key holds each variable: read off the restore operations that every SavedModel
// carries, so that no naming convention has to be guessed.
#include <charconv>
#include <unordered_map>

#include "import/tensorflow/graph_importer.h"

namespace tenon::tf {
namespace {

using Nodes = std::unordered_map<std::string_view, const NodeDef*>;

Nodes index_of(const std::vector<NodeDef>& nodes) {
  Nodes index;
  for (const NodeDef& node : nodes) index.emplace(node.name, &node);
  return index;
}

std::string_view node_of(std::string_view reference) {
  return reference.substr(0, reference.find(':'));
}

int64_t index_of_output(std::string_view reference) {
  const size_t colon = reference.rfind(':');
  int64_t i = 0;
  if (colon != std::string_view::npos)
    std::from_chars(reference.data() + colon + 1, reference.data() + reference.size(), i);
  return i;
}

// The reference behind a chain of Identity nodes.
std::string_view through_identities(const Nodes& nodes, std::string_view reference) {
  for (int i = 0; i < 16; ++i) {
    const auto it = nodes.find(node_of(reference));
    if (it == nodes.end() || it->second->op != "Identity" || it->second->inputs.empty()) break;
    reference = it->second->inputs[0];
  }
  return reference;
}

// (node or argument that is assigned, checkpoint key) for each assignment from RestoreV2.
std::vector<std::pair<std::string, std::string>> restores_in(const std::vector<NodeDef>& list,
                                                             const LoadedModel& model) {
  std::vector<std::pair<std::string, std::string>> pairs;
  const Nodes nodes = index_of(list);
  for (const NodeDef& node : list) {
    if ((node.op != "AssignVariableOp" && node.op != "Assign") || node.inputs.size() < 2) continue;
    const std::string_view source = through_identities(nodes, node.inputs[1]);
    const auto restore = nodes.find(node_of(source));
    if (restore == nodes.end() || restore->second->op != "RestoreV2" ||
        restore->second->inputs.size() < 2)
      continue;
    const auto names = nodes.find(node_of(through_identities(nodes, restore->second->inputs[1])));
    if (names == nodes.end() || names->second->op != "Const") continue;
    const auto proto = names->second->attrs.get_tensor("value");
    if (!proto.ok()) continue;
    const auto value = tensor_value(*proto, model.owner);
    if (!value.ok()) continue;
    const auto i = static_cast<size_t>(index_of_output(source));
    if (i >= value->strings.size() && !value->splat) continue;
    pairs.emplace_back(std::string(node_of(through_identities(nodes, node.inputs[0]))),
                       value->strings.empty() ? "" : value->strings[value->splat ? 0 : i]);
  }
  return pairs;
}

}  // namespace

std::map<std::string, std::string> find_variable_keys(const LoadedModel& model) {
  std::map<std::string, std::string> keys;
  const GraphDef& graph = model.meta.graph;
  for (auto& [variable, key] : restores_in(graph.nodes, model)) keys.emplace(variable, key);
  const Nodes main = index_of(graph.nodes);
  for (const NodeDef& node : graph.nodes) {
    if (node.op != "StatefulPartitionedCall" && node.op != "PartitionedCall") continue;
    const auto attr = node.attrs.get("f");
    if (!attr.ok()) continue;
    for (const FunctionDef& function : graph.functions) {
      if (function.name != attr->function.name) continue;
      for (const auto& [argument, key] : restores_in(function.nodes, model))
        for (size_t i = 0; i < function.inputs.size() && i < node.inputs.size(); ++i)
          if (function.inputs[i].name == argument)
            keys.emplace(std::string(node_of(through_identities(main, node.inputs[i]))), key);
    }
  }
  return keys;
}

}  // namespace tenon::tf
