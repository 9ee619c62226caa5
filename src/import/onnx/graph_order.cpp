#include "import/onnx/graph_order.h"

#include <fmt/format.h>

#include <unordered_map>
#include <unordered_set>

#include "import/onnx/graph_importer.h"

namespace tenon::onnx {
namespace {

using Names = std::vector<std::string_view>;

void add_free_names(const GraphProto& graph, Names& out);

void add_names_read(const NodeProto& node, Names& out) {
  for (const std::string_view input : node.inputs)
    if (!input.empty()) out.push_back(input);
  for (const AttributeProto& a : node.attrs)
    for (const GraphProto& graph : a.graphs) add_free_names(graph, out);
}

void add_free_names(const GraphProto& graph, Names& out) {
  std::unordered_set<std::string_view> defined;
  for (const ValueInfoProto& input : graph.inputs) defined.insert(input.name);
  for (const TensorProto& tensor : graph.initializers) defined.insert(tensor.name);
  for (const SparseTensorProto& t : graph.sparse_initializers) defined.insert(t.values.name);
  for (const NodeProto& node : graph.nodes)
    for (const std::string_view output : node.outputs) defined.insert(output);
  Names read;
  for (const NodeProto& node : graph.nodes) add_names_read(node, read);
  for (const ValueInfoProto& output : graph.outputs) read.push_back(output.name);
  for (const std::string_view name : read)
    if (!defined.contains(name)) out.push_back(name);
}

Names without_repeats(const Names& names) {
  std::unordered_set<std::string_view> seen;
  Names result;
  for (const std::string_view name : names)
    if (seen.insert(name).second) result.push_back(name);
  return result;
}

std::string place(const NodeProto& node) {
  return fmt::format("node '{}' ({})", node_name(node), node.op);
}

enum class Mark : uint8_t { unseen, open, done };

}  // namespace

Names free_names(const std::vector<const GraphProto*>& graphs) {
  Names names;
  for (const GraphProto* graph : graphs) add_free_names(*graph, names);
  return without_repeats(names);
}

Names names_read(const NodeProto& node) {
  Names names;
  add_names_read(node, names);
  return without_repeats(names);
}

Result<std::vector<size_t>> order_nodes(const std::vector<NodeProto>& nodes, const Names& wanted,
                                        const std::function<bool(std::string_view)>& is_bound) {
  std::unordered_map<std::string_view, size_t> producer;
  for (size_t i = 0; i < nodes.size(); ++i)
    for (const std::string_view output : nodes[i].outputs) {
      if (output.empty() || is_bound(output)) continue;
      const auto [it, is_new] = producer.emplace(output, i);
      if (!is_new)
        return invalid_model(fmt::format("'{}' is computed twice; {} computes it too", output,
                                         place(nodes[it->second])))
            .at(place(nodes[i]));
    }
  std::vector<std::vector<size_t>> needs(nodes.size());
  std::vector<bool> is_needed(nodes.size(), false);
  std::vector<size_t> pending;
  const auto need = [&](std::string_view name, std::vector<size_t>* list) {
    const auto it = producer.find(name);
    if (it == producer.end()) return;
    if (list != nullptr) list->push_back(it->second);
    if (!is_needed[it->second]) pending.push_back(it->second);
    is_needed[it->second] = true;
  };
  for (const std::string_view name : wanted) need(name, nullptr);
  while (!pending.empty()) {
    const size_t i = pending.back();
    pending.pop_back();
    for (const std::string_view name : names_read(nodes[i])) need(name, &needs[i]);
  }
  // Depth first, without recursion: graphs are deep.
  std::vector<size_t> order;
  std::vector<Mark> marks(nodes.size(), Mark::unseen);
  std::vector<std::pair<size_t, size_t>> stack;  // node, which of its needs is next
  for (size_t root = 0; root < nodes.size(); ++root) {
    if (!is_needed[root] || marks[root] != Mark::unseen) continue;
    stack.emplace_back(root, 0);
    marks[root] = Mark::open;
    while (!stack.empty()) {
      auto& [i, next] = stack.back();
      if (next == needs[i].size()) {
        marks[i] = Mark::done;
        order.push_back(i);
        stack.pop_back();
        continue;
      }
      const size_t j = needs[i][next++];
      if (marks[j] == Mark::open)
        return invalid_model("the graph has a cycle: the node needs its own result")
            .at(place(nodes[j]));
      if (marks[j] == Mark::done) continue;
      marks[j] = Mark::open;
      stack.emplace_back(j, 0);
    }
  }
  return order;
}

}  // namespace tenon::onnx
