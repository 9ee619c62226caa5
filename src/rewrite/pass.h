// Passes and rewrite rules: named, described, switchable, and counted.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace tenon {

// One firing of a rule, for `tenon explain`.
struct Firing {
  std::string_view rule;
  std::string where;  // name in the user's model
  int64_t nodes = 0;  // how many fewer there are, constants not counted
  int64_t bytes = 0;  // of intermediate results no longer made; dimensions not known count as 1
};

// The bytes of a node's results as Firing counts them; 0 for constants and views.
int64_t intermediate_bytes(const Node& node);

struct Pass;

struct PassContext {
  std::set<std::string, std::less<>> disabled;  // names of rules and passes switched off
  std::vector<Firing> firings;
  // Called after each pass; an error of it ends the pipeline. May be empty.
  std::function<Status(const Pass& pass, const Graph& graph, bool changed)> observer;
  // Where a pass of ours failed: what it was given, for a reproducer.
  std::string failed_pass;
  std::unique_ptr<Graph> failed_input;

  bool enabled(std::string_view name) const { return !disabled.contains(name); }
};

// A transformation of a whole graph. Returns whether it changed anything.
struct Pass {
  std::string_view name;
  std::string_view summary;
  Result<bool> (*run)(Graph& graph, PassContext& context);
};

// Runs a pass, then verifies the graph and checks that what the pass says of its changes is true.
// An internal error leaves the pass and the graph it was given in the context.
Result<bool> run_pass(Graph& graph, const Pass& pass, PassContext& context);

// A local rewrite at one node. Returns whether it fired; leaves dead nodes to the driver.
struct Rule {
  std::string_view name;
  std::string_view doc;
  Result<bool> (*apply)(Graph& graph, Node& node);
};

// Applies the rules at every node, also in regions, until none fires. Dead nodes are removed.
Result<bool> apply_rules(Graph& graph, std::span<const Rule> rules, PassContext& context);

// Removes nodes nobody needs, also in regions. Returns how many.
int remove_dead_nodes(Graph& graph);

// Whether `value` has exactly one reader and is no output of the graph.
bool has_single_use(const Graph& graph, const Value* value);

// Replaces output 0 of `node` by `value`, handing over the origins of both nodes.
void replace_node(Graph& graph, Node& node, Value* value);

// The origins of several nodes, without repetition.
std::vector<std::string> merge_origins(std::initializer_list<const Node*> nodes);

}  // namespace tenon
