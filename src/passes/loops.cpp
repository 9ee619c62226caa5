// What loops and branches can do without, and the questions that loop.h asks.
#include <algorithm>
#include <unordered_map>

#include "passes/loop.h"
#include "passes/passes.h"
#include "rewrite/match.h"

namespace tenon {

bool is(const Value* value, std::string_view op) {
  return value != nullptr && value->producer() != nullptr && value->producer()->is(op);
}

const Value* operand(const Value* value, int i) {
  return value->producer()->input(i);
}

bool is_zero(const Value* value) {
  constexpr std::string_view kSpread[] = {"expand",  "expand_dims", "reshape",
                                          "squeeze", "transpose",   "identity"};
  while (value != nullptr && value->producer() != nullptr &&
         std::ranges::find(kSpread, value->producer()->def().name) != std::end(kSpread))
    value = operand(value, 0);
  return splat_value(value) == 0.0;
}

bool Loop::is_counter(int i) const {
  if (!is(out(i), "add") || splat_value(initial(i)) != 0.0) return false;
  for (int side = 0; side < 2; ++side)
    if (operand(out(i), side) == in(i) && splat_value(operand(out(i), 1 - side)) == 1.0)
      return true;
  return false;
}

bool Loop::runs(Dim length, const Value* lengths, bool& ends_early) const {
  Bound all;
  if (condition_.outputs().size() != 1 || !below(condition_.outputs()[0], length, lengths, all) ||
      !all.is_exact)
    return false;
  ends_early = all.is_longest;
  return true;
}

int Loop::condition_state(const Value* value) const {
  for (int i = 0; i < size(); ++i)
    if (condition_.inputs()[static_cast<size_t>(i)].get() == value) return i;
  return -1;
}

// Also as TensorFlow writes it: min(length, max(1, the largest of the lengths)).
Loop::Bound Loop::bound(const Value* value, Dim length, const Value* lengths) {
  if (is(value, "max") || is(value, "min")) {
    const Bound a = bound(operand(value, 0), length, lengths);
    const Bound b = bound(operand(value, 1), length, lengths);
    const bool largest = is(value, "max");
    return {!largest && ((a.is_exact && b.is_enough) || (b.is_exact && a.is_enough)),
            largest ? a.is_enough || b.is_enough : a.is_enough && b.is_enough,
            a.is_longest || b.is_longest};
  }
  if (is(value, "reduce_max") && lengths != nullptr && operand(value, 0) == lengths)
    return {false, true, true};
  Dim limit = Dim::unknown();
  if (const auto splat = splat_value(value))
    limit = Dim(static_cast<int64_t>(*splat));
  else if (value->ints() && value->ints()->size() == 1)
    limit = (*value->ints())[0].as_dim();
  const bool is_exact = limit.same(length);
  return {is_exact, is_exact || (limit.known() && length.known() && limit.size() > length.size()),
          false};
}

bool Loop::below(const Value* value, Dim length, const Value* lengths, Bound& all) const {
  if (is(value, "logical_and"))
    return below(operand(value, 0), length, lengths, all) &&
           below(operand(value, 1), length, lengths, all);
  if (!is(value, "less")) return false;
  const int counter = condition_state(operand(value, 0));
  if (counter < 0 || !is_counter(counter)) return false;
  const Value* limit = operand(value, 1);
  const int state = condition_state(limit);
  if (state >= 0) {
    if (!is_invariant(state)) return false;
    limit = initial(state);
  }
  const Bound own = bound(limit, length, lengths);
  all.is_exact |= own.is_exact;
  all.is_longest |= own.is_longest;
  return own.is_enough;
}

namespace {

// list_stack(list_unstack(x)) = x.
Result<bool> drop_stack(Graph& graph, Node& node) {
  if (!node.is("list_stack") || !is(node.input(0), "list_unstack")) return false;
  Value* x = node.input(0)->producer()->input(0);
  if (!is_compatible(node.output()->type(), x->type())) return false;
  replace_node(graph, node, x);
  return true;
}

// A value that a loop only hands on and that is a constant is one inside.
Result<bool> constants_into_loop(Graph&, Node& node) {
  if (!node.is("while") || node.regions().size() != 2) return false;
  Graph& body = *node.regions()[1];
  if (static_cast<int>(body.outputs().size()) != node.input_count()) return false;
  bool changed = false;
  for (int i = 0; i < node.input_count(); ++i) {
    const auto at = static_cast<size_t>(i);
    const Tensor* constant = node.input(i)->constant();
    if (constant == nullptr || body.outputs()[at] != body.inputs()[at].get()) continue;
    for (const auto& region : node.regions()) {
      Value* input = region->inputs()[at].get();
      if (input->uses().empty() || region->nodes().empty()) continue;
      Value* inside = Builder(*region, region->nodes().front().get()).constant(*constant);
      for (const Use& use : std::vector<Use>(input->uses())) use.user->set_input(use.index, inside);
      TRY(region->infer_all());
      changed = true;
    }
  }
  return changed;
}

// if(true, …) is its first branch.
Result<bool> inline_branch(Graph& graph, Node& node) {
  if (!node.is("if") || node.regions().size() != 2) return false;
  const Tensor* condition = node.input(0)->constant();
  if (condition == nullptr || condition->elements() != 1 ||
      !(condition->dtype() == DType::boolean || is_int(condition->dtype())))
    return false;
  const Graph& branch = *node.regions()[condition->int_at(0) != 0 ? 0 : 1];
  if (static_cast<int>(branch.inputs().size()) != node.input_count() - 1 ||
      static_cast<int>(branch.outputs().size()) != node.output_count())
    return false;
  std::unordered_map<const Value*, Value*> outside;
  for (int i = 1; i < node.input_count(); ++i)
    outside[branch.inputs()[static_cast<size_t>(i) - 1].get()] = node.input(i);
  for (const auto& inner : branch.nodes()) {
    std::vector<Value*> operands;
    for (const Value* v : inner->inputs()) operands.push_back(v == nullptr ? nullptr : outside[v]);
    std::vector<std::unique_ptr<Graph>> regions;
    for (const auto& region : inner->regions()) regions.push_back(region->clone());
    Builder builder(graph, &node);
    builder.set_origins(inner->origins);
    const Node* copy =
        TRY(builder.add(inner->op().clone(), std::move(operands), std::move(regions)));
    for (int i = 0; i < inner->output_count(); ++i) outside[inner->output(i)] = copy->output(i);
  }
  for (int i = 0; i < node.output_count(); ++i)
    graph.replace_all_uses(node.output(i), outside[branch.outputs()[static_cast<size_t>(i)]]);
  return true;
}

// A layer that begins with zeros anyway needs none given.
Result<bool> drop_zero_state(Graph& graph, Node& node) {
  if (!node.is("lstm") && !node.is("gru") && !node.is("rnn")) return false;
  const int h = node.is("rnn") || node.is("lstm") ? 5 : 6;
  std::vector<Value*> operands = node.inputs();
  bool changed = false;
  for (int i = h; i <= (node.is("lstm") ? h + 1 : h) && i < node.input_count(); ++i) {
    const Value* state = node.input(i);
    if (state == nullptr || !is_zero(state)) continue;
    // It may be all that says how many sequences there are.
    const Shape &x = node.input(0)->shape(), &s = state->shape();
    if (s.ranked() && s[1].known() && (!x.ranked() || x[1] != s[1])) continue;
    operands[static_cast<size_t>(i)] = nullptr;
    changed = true;
  }
  if (!changed) return false;
  while (operands.back() == nullptr) operands.pop_back();
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  const Node* layer = TRY(builder.add(node.op().clone(), std::move(operands)));
  for (int i = 0; i < node.output_count(); ++i)
    graph.replace_all_uses(node.output(i), layer->output(i));
  return true;
}

constexpr Rule kRules[] = {
    {"recognise-recurrent-layer", "a loop over a sequence that is an lstm, gru or rnn",
     recognise_recurrent_layer},
    {"map-loop", "a loop whose items depend on a row each computes all rows at once", map_loop},
    {"drop-zero-state", "lstm(x, …, h0=0) = lstm(x, …)", drop_zero_state},
    {"drop-stack", "list_stack(list_unstack(x)) = x", drop_stack},
    {"constants-into-loop", "what a loop hands on and is a constant is one inside",
     constants_into_loop},
    {"inline-branch", "if(true, …) is its first branch", inline_branch},
};

}  // namespace

std::span<const Rule> loop_rules() {
  return kRules;
}

}  // namespace tenon
