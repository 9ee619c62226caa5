// Control flow of TensorFlow 1 graphs, recovered: a frame (Enter, Merge, Switch, NextIteration,
// Exit around a LoopCond) is a loop, Switch and Merge outside of that are a condition. The nodes of
// loop bodies and branches stay where they are in the node list; what bounds a region is found by
// walking back from its results.
#include <fmt/format.h>

#include <algorithm>

#include "import/tensorflow/graph_importer.h"

namespace tenon::tf {
namespace {

bool is_merge(std::string_view op) {
  return op == "Merge" || op == "RefMerge";
}
bool is_enter(std::string_view op) {
  return op == "Enter" || op == "RefEnter";
}
bool is_condition_switch(const NodeGraph& nodes, int item) {
  const std::string_view op = nodes.item(item).op();
  if (op == "_SwitchN") return true;
  return (op == "Switch" || op == "RefSwitch") && !nodes.is_loop_switch(item);
}
// More sides are a damaged model.
constexpr size_t kMaxSides = 4096;

// The loop an Enter leads into; nothing for other nodes and for an Enter that does not say.
std::optional<std::string_view> entered_frame(const Item& item) {
  if (!is_enter(item.op())) return std::nullopt;
  const auto name = item.node->attrs.get_string("frame_name");
  return name.ok() ? std::optional(*name) : std::nullopt;
}

// The branches a node lies in: predicates and the sides taken of them.
using Context = std::vector<std::pair<Ref, int>>;

void add(Context& context, const Context& more) {
  for (const auto& entry : more)
    if (std::ranges::find(context, entry) == context.end()) context.push_back(entry);
}

bool contains(const Context& context, Ref predicate, int side) {
  return std::ranges::find(context, std::pair(predicate, side)) != context.end();
}

// The side of the predicate; -1 for none.
int side_of(const Context& context, Ref predicate) {
  const auto it = std::ranges::find(context, predicate, &Context::value_type::first);
  return it == context.end() ? -1 : it->second;
}

// Where the control input leads to a Switch: TensorFlow's way to say that a node without data
// inputs lies in a branch. What was a function has a NoOp between.
Ref pivot(const NodeGraph& nodes, int control) {
  constexpr int kMaxSteps = 16;
  for (int step = 0; step < kMaxSteps; ++step) {
    const Ref ref = nodes.through_identities({control, 0});
    if (!ref.defined()) return {};
    if (is_condition_switch(nodes, ref.item)) return ref;
    const Item& item = nodes.item(ref.item);
    if (item.op() != "NoOp" || item.controls.size() != 1) return {};
    control = item.controls[0];
  }
  return {};
}

// Which edges lead from an item to what it needs.
enum class Follow : uint8_t {
  inputs,    // data inputs, of a conditional Merge too
  controls,  // those, and control inputs that tell the branch
  captures,  // a conditional Merge needs its predicate and what its branches read from around them
};

// What an item needs to be done before it; undefined references are left out.
void dependencies(const Frame& frame, int index, Follow follow, std::vector<Ref>& found) {
  const NodeGraph& nodes = frame.nodes;
  const Item& item = nodes.item(index);
  if (const FrameLoop* loop = nodes.loop_of_merge(index)) {
    for (const int i : frame.needed)
      if (entered_frame(nodes.item(i)) == loop->name) found.push_back({i, 0});
    return;
  }
  if (nodes.is_loop_switch(index)) {
    if (item.inputs[0].defined()) found.push_back(item.inputs[0]);
    return;
  }
  if (follow == Follow::captures) {
    if (const auto it = frame.conditional_of.find(index); it != frame.conditional_of.end()) {
      const Conditional& c = frame.conditionals[it->second];
      found.push_back(c.predicate);
      for (const auto& side : c.captured)
        for (const auto& [inside, source] : side) found.push_back(source);
      return;
    }
  }
  for (const Ref ref : item.inputs)
    if (ref.defined()) found.push_back(ref);
  if (follow == Follow::controls)
    for (const int control : item.controls)
      if (const Ref ref = pivot(nodes, control); ref.defined()) found.push_back(ref);
}

// A Merge also says which input it took, which nobody asks for.
Operands merge_results(const Operand& result) {
  return result.failed() ? Operands{result} : Operands{result, Operand()};
}

// Finds the branches of every item and the conditions of Merge nodes.
class ConditionalFinder {
 public:
  ConditionalFinder(Frame& frame, std::vector<int> order)
      : frame_(frame), order_(std::move(order)) {}

  Status run(bool grouped) {
    for (const int index : order_) {
      if (frame_.nodes.item(index).op() == "_SwitchN") indices_.insert(predicate(index));
      Context context;
      std::vector<Ref> refs;
      dependencies(frame_, index, Follow::controls, refs);
      for (const Ref ref : refs) add(context, of(ref));
      const Item& item = frame_.nodes.item(index);
      if (is_merge(item.op()) && frame_.nodes.loop_of_merge(index) == nullptr)
        TRY(merge(index, item, context, grouped));
      contexts_[index] = std::move(context);
    }
    for (Conditional& c : frame_.conditionals)
      for (size_t m = 0; m < c.merges.size(); ++m)
        for (size_t side = 0; side < c.captured.size(); ++side)
          TRY(capture(c, side, frame_.nodes.item(c.merges[m]).inputs[c.input_of[m][side]]));
    return {};
  }

 private:
  Context of(Ref ref) const {
    if (frame_.bound.contains(ref)) return {};
    const auto it = contexts_.find(ref.item);
    Context context = it == contexts_.end() ? Context() : it->second;
    if (is_condition_switch(frame_.nodes, ref.item))
      add(context, {{predicate(ref.item), ref.output}});
    return context;
  }

  Ref predicate(int switch_item) const {
    const Item& item = frame_.nodes.item(switch_item);
    return item.inputs.size() == 2 ? frame_.nodes.through_identities(item.inputs[1]) : Ref();
  }

  // Which input of a Merge stands for which side of the predicate; empty where it is another
  // predicate's. One input may have lost its place: a constant of its own.
  std::vector<size_t> sides(const std::vector<Context>& inputs, Ref predicate, bool all) const {
    const size_t n = inputs.size();
    if (n != 2 && !indices_.contains(predicate)) return {};
    std::vector<size_t> input_of(n, n);
    size_t lost = n;
    for (size_t k = 0; k < n; ++k) {
      const int side = side_of(inputs[k], predicate);
      if (side < 0 && (all || lost != n)) return {};
      if (side < 0) {
        lost = k;
        continue;
      }
      const auto s = static_cast<size_t>(side);
      if (s >= n || input_of[s] != n) return {};
      input_of[s] = k;
    }
    if (lost != n) *std::ranges::find(input_of, n) = lost;
    return input_of;
  }

  // Takes the Merge's own predicate off `context`.
  Status merge(int index, const Item& item, Context& context, bool grouped) {
    std::vector<Context> inputs;
    for (const Ref ref : item.inputs) inputs.push_back(of(ref));
    Ref predicate;
    std::vector<size_t> input_of;
    for (const bool all : {true, false})
      for (size_t k = 0; k < inputs.size() && inputs.size() <= kMaxSides; ++k)
        for (const auto& [p, side] : inputs[k])
          if (input_of.empty()) predicate = p, input_of = sides(inputs, p, all);
    if (input_of.size() < 2)
      return at_node(
          unsupported("the condition behind this Merge cannot be told from the graph; cut the "
                      "model before it with --outputs"),
          frame_, *item.node);
    std::erase_if(context, [&](const auto& entry) { return entry.first == predicate; });
    Conditional* conditional = nullptr;
    for (size_t i = 0; grouped && i < frame_.conditionals.size(); ++i)
      if (frame_.conditionals[i].predicate == predicate && outer_[i] == context &&
          frame_.conditionals[i].captured.size() == input_of.size())
        conditional = &frame_.conditionals[i];
    if (conditional == nullptr) {
      conditional = &frame_.conditionals.emplace_back();
      conditional->predicate = predicate;
      conditional->is_index = indices_.contains(predicate);
      conditional->captured.resize(input_of.size());
      outer_.push_back(context);
    }
    conditional->merges.push_back(index);
    conditional->input_of.push_back(std::move(input_of));
    frame_.conditional_of[index] = static_cast<size_t>(conditional - frame_.conditionals.data());
    return {};
  }

  // Walks back from a result of a branch to what it reads from around it.
  Status capture(Conditional& conditional, size_t place, Ref root) {
    const int side = static_cast<int>(place);
    std::unordered_set<Ref, RefHash> seen;
    for (const auto& [inside, source] : conditional.captured[place]) seen.insert(inside);
    std::vector<Ref> stack{root};
    while (!stack.empty()) {
      const Ref ref = stack.back();
      stack.pop_back();
      if (!seen.insert(ref).second) continue;
      auto& captured = conditional.captured[place];
      if (is_condition_switch(frame_.nodes, ref.item) &&
          predicate(ref.item) == conditional.predicate) {
        captured.emplace_back(ref, frame_.nodes.item(ref.item).inputs[0]);
        continue;
      }
      if (frame_.bound.contains(ref) || !contains(of(ref), conditional.predicate, side)) {
        captured.emplace_back(ref, ref);
        continue;
      }
      dependencies(frame_, ref.item, Follow::inputs, stack);
    }
    return {};
  }

  Frame& frame_;
  std::vector<int> order_;
  std::unordered_map<int, Context> contexts_;
  std::vector<Context> outer_;
  std::unordered_set<Ref, RefHash> indices_;  // predicates that are numbers of sides
};

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

Result<std::vector<int>> order_items(const Frame& frame, std::span<const Ref> outputs, bool plain) {
  enum : uint8_t { kOpen = 1, kDone = 2 };
  std::unordered_map<int, uint8_t> state;
  std::vector<int> order;
  struct Level {
    int item;
    std::vector<Ref> waits;
    size_t next = 0;
  };
  std::vector<Level> stack;
  const auto enter = [&](Ref ref) -> Status {
    if (frame.bound.contains(ref) || frame.results.contains(ref.item)) return {};
    if (!ref.defined()) return invalid_model("a condition or loop lacks one of its parts");
    uint8_t& s = state[ref.item];
    if (s == kDone) return {};
    const Item& item = frame.nodes.item(ref.item);
    if (s == kOpen)
      return at_node(invalid_model("the graph has a cycle through this node"), frame, *item.node);
    s = kOpen;
    stack.push_back({ref.item, {}});
    dependencies(frame, ref.item, plain ? Follow::controls : Follow::captures, stack.back().waits);
    return {};
  };
  for (const Ref root : outputs) {
    TRY(enter(root));
    while (!stack.empty()) {
      Level& top = stack.back();
      if (top.next < top.waits.size()) {
        TRY(enter(top.waits[top.next++]));
        continue;
      }
      state[top.item] = kDone;
      order.push_back(top.item);
      stack.pop_back();
    }
  }
  return order;
}

Status find_conditionals(Frame& frame, std::span<const Ref> outputs) {
  const bool any = std::ranges::any_of(frame.needed, [&](int i) {
    return is_merge(frame.nodes.item(i).op()) && frame.nodes.loop_of_merge(i) == nullptr;
  });
  if (!any) return {};
  // Merge nodes of one predicate share a condition, unless one feeds another.
  for (const bool grouped : {true, false}) {
    frame.conditionals.clear();
    frame.conditional_of.clear();
    ConditionalFinder finder(frame, TRY(order_items(frame, outputs, true)));
    TRY(finder.run(grouped));
    if (order_items(frame, outputs, false).ok()) break;
  }
  return {};
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
  const auto walk = [&](Region& region, const Operands& arguments, std::span<const Ref> outputs) {
    Frame inner(nodes, region, frame.prefix);
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
          [&](Region& region, const Operands& arguments) { return walk(region, arguments, test); },
          [&](Region& region, const Operands& arguments) -> Result<Operands> {
            Operands values = TRY(walk(region, arguments, next));
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
