#include "ir/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_set>

namespace tenon {
namespace {

constexpr std::array<std::string_view, 2> kStages{"imported", "canonical"};

Error broken(const Node& node, std::string what) {
  return internal_error(std::move(what))
      .at(fmt::format("node '{}' ({})", node.origins.empty() ? "" : node.origins[0],
                      node.def().name));
}

Status verify_operands(const Node& node, const std::unordered_set<const Value*>& defined) {
  for (int i = 0; i < node.input_count(); ++i) {
    const Value* v = node.input(i);
    if (v == nullptr) continue;
    if (!defined.contains(v))
      return broken(node, fmt::format("operand {} is used before it is defined", i));
    const auto& uses = v->uses();
    if (std::count_if(uses.begin(), uses.end(),
                      [&](const Use& u) { return u.user == &node && u.index == i; }) != 1)
      return broken(node, fmt::format("the use list of operand {} is wrong", i));
  }
  return {};
}

// A result's readers must read it: a use left behind would keep dead nodes alive.
Status verify_uses(const Node& node) {
  for (int i = 0; i < node.output_count(); ++i) {
    const Value* v = node.output(i);
    if (v->producer() != &node || v->index() != i)
      return broken(node, fmt::format("result {} does not know its node", i));
    for (const Use& use : v->uses())
      if (use.user->input(use.index) != v)
        return broken(node, fmt::format("result {} lists a reader that does not read it", i));
  }
  return {};
}

// The inputs of a node's sub-graphs are its operands (but for the one that chooses a branch).
Status verify_regions(const Node& node) {
  const int expected = node.def().regions;
  const auto count = static_cast<int>(node.regions().size());
  if (expected != kVariadic && expected != count)
    return broken(node, fmt::format("{} sub-graphs where {} belong", count, expected));
  const int first = node.is("if") || node.is("case") ? 1 : 0;
  for (const auto& region : node.regions()) {
    if (static_cast<int>(region->inputs().size()) != node.input_count() - first)
      return broken(node,
                    fmt::format("sub-graph '{}' takes {} inputs, the node passes {}", region->name,
                                region->inputs().size(), node.input_count() - first));
    for (size_t i = 0; i < region->inputs().size(); ++i) {
      const Value* passed = node.input(static_cast<int>(i) + first);
      const TensorType& type = region->inputs()[i]->type();
      if (passed == nullptr ? !type.is_none() : !is_compatible(type, passed->type()))
        return broken(node, fmt::format("sub-graph '{}' takes {} as input {}, the node passes {}",
                                        region->name, type.to_string(), i,
                                        passed == nullptr ? "none" : passed->type().to_string()));
    }
    TRY(verify(*region));
  }
  return {};
}

Status verify_types(const Node& node) {
  auto types = Graph::infer_types(node);
  if (!types.ok())
    return broken(node, fmt::format("inference refuses the node: {}", types.error().message));
  if (static_cast<int>(types->size()) > node.output_count())
    return broken(node, fmt::format("{} results where inference gives {}", node.output_count(),
                                    types->size()));
  for (size_t i = 0; i < types->size(); ++i) {
    const TensorType& recorded = node.output(static_cast<int>(i))->type();
    if (!is_compatible(recorded, (*types)[i]))
      return broken(node, fmt::format("result {} is recorded as {}, inference gives {}", i,
                                      recorded.to_string(), (*types)[i].to_string()));
  }
  return {};
}

}  // namespace

Status verify(const Graph& graph) {
  if (std::ranges::find(kStages, graph.stage) == kStages.end())
    return internal_error(
        fmt::format("graph '{}' is in stage '{}', which is none", graph.name, graph.stage));
  std::unordered_set<const Value*> defined;
  for (const auto& input : graph.inputs()) defined.insert(input.get());
  for (const auto& node : graph.nodes()) {
    if (!node->def().inputs.accepts(node->input_count()))
      return broken(*node, fmt::format("{} operands are not allowed", node->input_count()));
    TRY(verify_operands(*node, defined));
    TRY(verify_uses(*node));
    TRY(verify_regions(*node));
    TRY(verify_types(*node));
    for (int i = 0; i < node->output_count(); ++i) defined.insert(node->output(i));
  }
  for (const Value* output : graph.outputs())
    if (!defined.contains(output))
      return internal_error(
          fmt::format("an output of graph '{}' is not defined in it", graph.name));
  return {};
}

}  // namespace tenon
