// Control flow of TensorFlow 1 graphs: a frame (Enter, Merge, Switch, NextIteration, Exit around a
// LoopCond) is a loop, Switch and Merge outside of that are a condition. The nodes of loop bodies
// and branches stay where they are in the node list; conditionals.cpp finds what belongs together.
#include <fmt/format.h>

#include <algorithm>

#include "import/tensorflow/graph_importer.h"

namespace tenon::tf {
namespace {

// A Merge also says which input it took, which nobody asks for.
Operands merge_results(const Operand& result) {
  return result.failed() ? Operands{result} : Operands{result, Operand()};
}

}  // namespace

Status check_frame_part(const Frame& frame, const Item& item) {
  std::string_view op = item.op();
  if (op.starts_with("Ref")) op.remove_prefix(3);
  const bool is_switch = op == "Switch";
  if (!is_switch && op != "Enter" && op != "Exit" && op != "NextIteration" && op != "LoopCond")
    return {};
  const size_t expected = is_switch ? 2 : 1;
  if (item.inputs.size() == expected) return {};
  return at_node(
      invalid_model(fmt::format("it has {} inputs, {} expected", item.inputs.size(), expected)),
      frame, *item.node);
}

Result<Operands> GraphImporter::or_failures(const Frame& frame, const NodeDef& node, size_t n,
                                            Result<Operands> results) {
  if (results.ok() || results.error().code != Code::unsupported) return results;
  fail(frame, node, std::move(results).error());
  return Operands(n, Operand::failure());
}

Status GraphImporter::import_frame_loop(Frame& frame, const FrameLoop& loop_frame) {
  const NodeGraph& nodes = frame.nodes;
  if (loop_frame.condition < 0)
    return invalid_model(fmt::format("loop frame '{}' has no LoopCond", loop_frame.name));
  std::vector<FrameLoop::Variable> live;
  std::vector<Ref> next;
  std::vector<int> enters;
  std::vector<bool> invariant;
  Operands variables;
  for (const FrameLoop::Variable& v : loop_frame.variables) {
    if (!frame.needed.contains(v.merge)) continue;
    const Item& step = nodes.item(v.next);
    if (step.inputs.empty() || !step.inputs[0].defined())
      return invalid_model("it has no input").at(fmt::format("node '{}'", step.name));
    live.push_back(v);
    next.push_back(step.inputs[0]);
    enters.push_back(v.enter);
    const Ref source = nodes.through_identities(step.inputs[0]);
    invariant.push_back(source.defined() && nodes.is_loop_switch(source.item) &&
                        nodes.item(source.item).inputs[0] == Ref{v.merge, 0});
    variables.push_back(TRY(get(frame, {v.enter, 0})));
  }
  const size_t changing = live.size();
  std::vector<int> constants;
  for (const int i : frame.needed)
    if (entered_frame(nodes.item(i)) == loop_frame.name &&
        std::ranges::find(enters, i) == enters.end())
      constants.push_back(i);
  std::ranges::sort(constants);
  for (const int i : constants) {
    invariant.push_back(true);
    variables.push_back(TRY(get(frame, {i, 0})));
  }
  const auto effects = frame.loop_effects.find(&loop_frame);
  const auto walk = [&](Region& region, const Operands& arguments, std::span<const Ref> outputs,
                        bool with_effects) {
    Frame inner(nodes, region, frame.prefix);
    inner.enclosing = frame.enclosing;
    inner.effects.emplace();
    if (with_effects && effects != frame.loop_effects.end()) inner.effects = effects->second;
    for (size_t k = 0; k < arguments.size(); ++k) {
      const int item = k < changing ? live[k].merge : constants[k - changing];
      inner.bound[{item, 0}] = arguments[k];
    }
    return evaluate(inner, outputs);
  };
  const Item& condition = nodes.item(loop_frame.condition);
  if (condition.inputs.empty() || !condition.inputs[0].defined())
    return invalid_model("it has no input").at(fmt::format("node '{}'", condition.name));
  const std::vector<Ref> test{condition.inputs[0]};
  const Operands results = TRY(or_failures(
      frame, *condition.node, variables.size(),
      loop(
          frame, *condition.node, variables, invariant,
          [&](Region& region, const Operands& arguments) {
            return walk(region, arguments, test, false);
          },
          [&](Region& region, const Operands& arguments) -> Result<Operands> {
            Operands values = TRY(walk(region, arguments, next, true));
            values.insert(values.end(), arguments.begin() + static_cast<ptrdiff_t>(changing),
                          arguments.end());
            return values;
          })));
  for (size_t k = 0; k < changing; ++k) {
    note(frame, *nodes.item(live[k].merge).node, Fate::mapped);
    frame.results[live[k].merge] = merge_results(results[k]);
  }
  return {};
}

Status GraphImporter::import_conditional(Frame& frame, const Conditional& conditional) {
  const NodeGraph& nodes = frame.nodes;
  Operands arguments;
  for (const auto& side : conditional.captured)
    for (const auto& [inside, source] : side) arguments.push_back(TRY(get(frame, source)));
  size_t first = 0;
  std::vector<RegionBody> branches;
  for (size_t side = 0; side < conditional.captured.size(); ++side) {
    branches.push_back([&, side, first](Region& region, const Operands& all) {
      Frame inner(nodes, region, frame.prefix);
      inner.effects = conditional.effects[side];
      inner.enclosing = frame.enclosing;
      inner.enclosing.push_back(conditional.predicate);
      const auto& captured = conditional.captured[side];
      for (size_t k = 0; k < captured.size(); ++k) inner.bound[captured[k].first] = all[first + k];
      std::vector<Ref> outputs;
      for (size_t m = 0; m < conditional.merges.size(); ++m)
        outputs.push_back(nodes.item(conditional.merges[m]).inputs[conditional.input_of[m][side]]);
      return evaluate(inner, outputs);
    });
    first += conditional.captured[side].size();
  }
  if (!conditional.is_index) std::ranges::reverse(branches);
  const NodeDef& node = *nodes.item(conditional.merges[0]).node;
  const Operands results =
      TRY(or_failures(frame, node, conditional.merges.size(),
                      choose(frame, node, conditional.is_index ? "case" : "if",
                             TRY(get(frame, conditional.predicate)), arguments, branches)));
  for (size_t m = 0; m < conditional.merges.size(); ++m) {
    note(frame, *nodes.item(conditional.merges[m]).node, Fate::mapped);
    frame.results[conditional.merges[m]] = merge_results(results[m]);
  }
  return {};
}

}  // namespace tenon::tf
