// Finds the structure of TensorFlow 1 graphs: an order of the items, which conditions the Merge
// nodes stand for, and where the items that change variables belong. What bounds a branch is found
// by walking back from its results.
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
// The loop a Switch of a loop belongs to.
const FrameLoop* loop_of_switch(const NodeGraph& nodes, int item) {
  const auto& inputs = nodes.item(item).inputs;
  return nodes.is_loop_switch(item) && inputs[0].defined() ? nodes.loop_of_merge(inputs[0].item)
                                                           : nullptr;
}
// The loop an Exit leads out of.
const FrameLoop* loop_of_exit(const NodeGraph& nodes, const Item& item) {
  if ((item.op() != "Exit" && item.op() != "RefExit") || item.inputs.empty()) return nullptr;
  return item.inputs[0].defined() ? loop_of_switch(nodes, item.inputs[0].item) : nullptr;
}
// More sides are a damaged model.
constexpr size_t kMaxSides = 4096;

// The branches a node lies in: predicates and the sides taken of them. A loop is its LoopCond with
// a side of its own.
constexpr int kInLoop = -2;
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

bool has_effects(const Frame& frame) {
  return frame.effects && !frame.effects->empty();
}

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
  if (follow != Follow::inputs && has_effects(frame))
    for (const int control : item.controls) found.push_back({control, 0});
  else if (follow == Follow::controls)
    for (const int control : item.controls)
      if (const Ref ref = pivot(nodes, control); ref.defined()) found.push_back(ref);
}

// Finds the branches of every item and the conditions of Merge nodes.
class ConditionalFinder {
 public:
  ConditionalFinder(Frame& frame, std::vector<int> order)
      : frame_(frame), order_(std::move(order)) {}

  // Adds to `outputs` what has to be done for its effects.
  Status run(bool grouped, std::vector<Ref>& outputs) {
    for (const int index : order_) {
      if (frame_.nodes.item(index).op() == "_SwitchN") indices_.insert(predicate(index));
      Context context;
      std::vector<Ref> refs;
      dependencies(frame_, index, Follow::controls, refs);
      for (const Ref ref : refs) add(context, of(ref));
      if (const FrameLoop* loop = frame_.nodes.loop_of_merge(index); loop && has_effects(frame_))
        add(context, {{Ref{loop->condition, 0}, kInLoop}});
      if (const FrameLoop* loop = loop_of_exit(frame_.nodes, frame_.nodes.item(index)))
        std::erase(context, std::pair(Ref{loop->condition, 0}, kInLoop));
      const Item& item = frame_.nodes.item(index);
      if (is_merge(item.op()) && frame_.nodes.loop_of_merge(index) == nullptr)
        TRY(merge(index, item, context, grouped));
      contexts_[index] = std::move(context);
    }
    for (const int effect : *frame_.effects) TRY(place(effect, outputs));
    for (Conditional& c : frame_.conditionals)
      for (size_t side = 0; side < c.captured.size(); ++side)
        for (const int effect : c.effects[side]) TRY(capture(c, side, {effect, 0}));
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
      conditional->effects.resize(input_of.size());
      outer_.push_back(context);
    }
    conditional->merges.push_back(index);
    conditional->input_of.push_back(std::move(input_of));
    frame_.conditional_of[index] = static_cast<size_t>(conditional - frame_.conditionals.data());
    return {};
  }

  // The context without the branches that the whole frame is in.
  Context inside(Context context) const {
    std::erase_if(context, [&](const auto& entry) {
      return std::ranges::find(frame_.enclosing, entry.first) != frame_.enclosing.end();
    });
    return context;
  }

  // An effect is left to the outermost loop or condition it lies in, if any.
  Status place(int effect, std::vector<Ref>& outputs) {
    const auto add_output = [&](Ref ref) {
      if (std::ranges::find(outputs, ref) == outputs.end()) outputs.push_back(ref);
    };
    const Context context = inside(contexts_[effect]);
    if (context.empty()) {
      add_output({effect, 0});
      return {};
    }
    for (const int index : order_) {
      const FrameLoop* loop = frame_.nodes.loop_of_merge(index);
      if (loop == nullptr || inside(contexts_[index]).size() != 1 ||
          !contains(context, {loop->condition, 0}, kInLoop))
        continue;
      frame_.loop_effects[loop].push_back(effect);
      for (const FrameLoop::Variable& v : loop->variables) add_output({v.merge, 0});
      return {};
    }
    for (size_t i = 0; i < frame_.conditionals.size(); ++i) {
      Conditional& c = frame_.conditionals[i];
      const int side = side_of(context, c.predicate);
      if (!inside(outer_[i]).empty() || side < 0 || static_cast<size_t>(side) >= c.effects.size())
        continue;
      c.effects[static_cast<size_t>(side)].push_back(effect);
      for (const int merge : c.merges) add_output({merge, 0});
      return {};
    }
    return at_node(unsupported("the condition under which it changes a variable cannot be told "
                               "from the graph; cut the model before it with --outputs"),
                   frame_, *frame_.nodes.item(effect).node);
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

std::optional<std::string_view> entered_frame(const Item& item) {
  if (!is_enter(item.op())) return std::nullopt;
  const auto name = item.node->attrs.get_string("frame_name");
  return name.ok() ? std::optional(*name) : std::nullopt;
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

Status find_conditionals(Frame& frame, std::vector<Ref>& outputs) {
  const bool any = std::ranges::any_of(frame.needed, [&](int i) {
    return is_merge(frame.nodes.item(i).op()) && frame.nodes.loop_of_merge(i) == nullptr;
  });
  if (!any && !has_effects(frame)) return {};
  std::vector<Ref> roots = outputs;
  for (const int effect : *frame.effects) roots.push_back({effect, 0});
  // Merge nodes of one predicate share a condition, unless one feeds another.
  for (const bool grouped : {true, false}) {
    frame.conditionals.clear();
    frame.conditional_of.clear();
    frame.loop_effects.clear();
    ConditionalFinder finder(frame, TRY(order_items(frame, roots, true)));
    TRY(finder.run(grouped, outputs));
    if (order_items(frame, outputs, false).ok()) break;
  }
  return {};
}

}  // namespace tenon::tf
