#include "ir/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

namespace tenon {
namespace {

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

}  // namespace

Status verify(const Graph& graph) {
  std::unordered_set<const Value*> defined;
  for (const auto& input : graph.inputs()) defined.insert(input.get());
  for (const auto& node : graph.nodes()) {
    if (!node->def().inputs.accepts(node->input_count()))
      return broken(*node, fmt::format("{} operands are not allowed", node->input_count()));
    TRY(verify_operands(*node, defined));
    for (const auto& region : node->regions()) TRY(verify(*region));
    for (int i = 0; i < node->output_count(); ++i) defined.insert(node->output(i));
  }
  for (const Value* output : graph.outputs())
    if (!defined.contains(output))
      return internal_error(
          fmt::format("an output of graph '{}' is not defined in it", graph.name));
  return {};
}

}  // namespace tenon
