#include "rewrite/pass.h"

#include <fmt/format.h>

#include <algorithm>

namespace tenon {
namespace {

constexpr int kMaxRounds = 100;

std::string place_of(const Node& node) {
  return node.origins.empty() ? std::string(node.def().name) : node.origins.front();
}

// Applies the first rule that fires at the node.
Result<bool> apply_at(Graph& graph, Node& node, std::span<const Rule> rules, PassContext& context) {
  for (const Rule& rule : rules) {
    if (!context.enabled(rule.name)) continue;
    const std::string where = place_of(node);
    auto fired = rule.apply(graph, node);
    if (!fired.ok())
      return std::move(fired).error().note(
          fmt::format("while applying rule '{}' at '{}'", rule.name, where));
    if (*fired) {
      context.firings.push_back({rule.name, where});
      return true;
    }
  }
  return false;
}

}  // namespace

int remove_dead_nodes(Graph& graph) {
  int removed = 0;
  for (auto it = graph.nodes().end(); it != graph.nodes().begin();) {
    --it;
    Node* node = it->get();
    for (const auto& region : node->regions()) removed += remove_dead_nodes(*region);
    bool dead = true;
    for (int i = 0; i < node->output_count(); ++i)
      dead &= node->output(i)->uses().empty() && !graph.is_output(node->output(i));
    if (!dead) continue;
    ++it;
    graph.erase(node);
    ++removed;
  }
  return removed;
}

Result<bool> apply_rules(Graph& graph, std::span<const Rule> rules, PassContext& context) {
  bool any = false;
  for (const auto& node : graph.nodes())
    for (const auto& region : node->regions()) any |= TRY(apply_rules(*region, rules, context));
  for (int round = 0; round < kMaxRounds; ++round) {
    bool changed = false;
    std::vector<Node*> order;
    for (const auto& node : graph.nodes()) order.push_back(node.get());
    for (Node* node : order) {
      // A node that an earlier rule left dead waits for the end of the round.
      changed |= TRY(apply_at(graph, *node, rules, context));
    }
    remove_dead_nodes(graph);
    any |= changed;
    if (!changed) break;
    TRY(graph.infer_all());
  }
  return any;
}

bool has_single_use(const Graph& graph, const Value* value) {
  return value->uses().size() == 1 && !graph.is_output(value);
}

std::vector<std::string> merge_origins(std::initializer_list<const Node*> nodes) {
  std::vector<std::string> merged;
  for (const Node* node : nodes)
    for (const std::string& origin : node->origins)
      if (std::find(merged.begin(), merged.end(), origin) == merged.end()) merged.push_back(origin);
  return merged;
}

void replace_node(Graph& graph, Node& node, Value* value) {
  if (Node* producer = value->producer(); producer != nullptr && !producer->is("const"))
    producer->origins = merge_origins({producer, &node});
  graph.replace_all_uses(node.output(), value);
}

}  // namespace tenon
