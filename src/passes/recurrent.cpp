// Loops that run a recurrent layer step by step become lstm, gru and rnn. What a loop computes is
// read off its body's algebra; names play no part.
#include <algorithm>
#include <array>
#include <functional>
#include <unordered_map>

#include "ops/concat.h"
#include "ops/matmul.h"
#include "ops/slice.h"
#include "passes/passes.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

bool is(const Value* value, std::string_view op) {
  return value != nullptr && value->producer() != nullptr && value->producer()->is(op);
}
const Value* operand(const Value* value, int i) {
  return value->producer()->input(i);
}

// `while` with states that are counters, lists, what stays the same, and the recurrent ones.
class Loop {
 public:
  explicit Loop(const Node& node)
      : node_(node), condition_(*node.regions()[0]), body_(*node.regions()[1]) {}

  int size() const { return node_.input_count(); }
  const Value* in(int i) const { return body_.inputs()[static_cast<size_t>(i)].get(); }
  const Value* out(int i) const { return body_.outputs()[static_cast<size_t>(i)]; }
  Value* initial(int i) const { return node_.input(i); }

  // The state a value of the body is the beginning of; -1 for none.
  int state_of(const Value* value) const {
    for (int i = 0; i < size(); ++i)
      if (in(i) == value) return i;
    return -1;
  }
  bool is_invariant(int i) const { return out(i) == in(i); }
  // Counts the iterations from 0.
  bool is_counter(int i) const {
    if (!is(out(i), "add") || splat_value(initial(i)) != 0.0) return false;
    for (int side = 0; side < 2; ++side)
      if (operand(out(i), side) == in(i) && splat_value(operand(out(i), 1 - side)) == 1.0)
        return true;
    return false;
  }

  // Whether the loop ends after exactly `length` iterations: it goes on while counters are below
  // bounds, one of which is the length and none is less.
  bool runs(Dim length) const {
    bool exact = false;
    return condition_.outputs().size() == 1 && below(condition_.outputs()[0], length, exact) &&
           exact;
  }

 private:
  int condition_state(const Value* value) const {
    for (int i = 0; i < size(); ++i)
      if (condition_.inputs()[static_cast<size_t>(i)].get() == value) return i;
    return -1;
  }
  Dim bound(const Value* value) const {
    const int state = condition_state(value);
    if (state >= 0) value = is_invariant(state) ? initial(state) : nullptr;
    if (value == nullptr) return Dim::unknown();
    if (const auto splat = splat_value(value)) return Dim(static_cast<int64_t>(*splat));
    return value->ints() && value->ints()->size() == 1 ? (*value->ints())[0].as_dim()
                                                       : Dim::unknown();
  }
  bool below(const Value* value, Dim length, bool& exact) const {
    if (is(value, "logical_and"))
      return below(operand(value, 0), length, exact) && below(operand(value, 1), length, exact);
    if (!is(value, "less")) return false;
    const int counter = condition_state(operand(value, 0));
    if (counter < 0 || !is_counter(counter)) return false;
    const Dim limit = bound(operand(value, 1));
    if (limit.same(length)) exact = true;
    return limit.same(length) || (limit.known() && length.known() && limit.size() > length.size());
  }

  const Node& node_;
  const Graph& condition_;
  const Graph& body_;
};

// x w + h r + the biases, in values of the body.
struct Affine {
  const Value* w = nullptr;
  const Value* r = nullptr;
  std::vector<const Value*> biases;
};

// One of equal parts of an affine function's columns, with a constant added.
struct Gate {
  const Value* whole = nullptr;
  int index = -1;
  double offset = 0;
};

class Recogniser {
 public:
  Recogniser(Graph& graph, Node& node)
      : graph_(graph), node_(node), loop_(node), builder_(graph, &node) {
    builder_.set_origins(node.origins);
  }

  Result<bool> run() {
    if (!find_input()) return false;
    for (int h = 0; h < loop_.size(); ++h) {
      if (loop_.is_invariant(h) || loop_.in(h)->type().is_list || loop_.is_counter(h)) continue;
      h_ = h;
      for (const auto match : {&Recogniser::lstm, &Recogniser::gru, &Recogniser::rnn})
        if (TRY((this->*match)())) return true;
    }
    return false;
  }

 private:
  // The one list that is read at the counter, made of a tensor's slices.
  bool find_input() {
    for (int i = 0; i < loop_.size(); ++i) {
      const Value* list = loop_.in(i);
      if (!loop_.is_invariant(i) || !list->type().is_list || list->uses().empty()) continue;
      if (x_ != nullptr || list->uses().size() != 1) return false;
      const Node* get = list->uses()[0].user;
      if (!get->is("list_get") || !is(loop_.initial(i), "list_unstack")) return false;
      const int counter = loop_.state_of(get->input(1));
      if (counter < 0 || !loop_.is_counter(counter)) return false;
      x_ = get->output();
      sequence_ = loop_.initial(i)->producer()->input(0);
    }
    return x_ != nullptr && sequence_->shape().ranked() && sequence_->shape().rank() == 3 &&
           sequence_->dtype() == DType::f32 && loop_.runs(sequence_->shape()[0]);
  }

  bool is_fixed(const Value* value) const {
    const int state = loop_.state_of(value);
    return value->constant() != nullptr || (state >= 0 && loop_.is_invariant(state));
  }
  // A value of the body that no iteration changes, outside.
  Value* outside(const Value* value) {
    const int state = loop_.state_of(value);
    return state >= 0 ? loop_.initial(state) : builder_.constant(*value->constant());
  }

  bool affine(const Value* value, Affine& a) const {
    if (is_fixed(value)) {
      if (!value->shape().ranked() || value->shape().rank() != 1) return false;
      a.biases.push_back(value);
      return true;
    }
    if (is(value, "add")) return affine(operand(value, 0), a) && affine(operand(value, 1), a);
    const Matmul* m = value->producer() == nullptr ? nullptr : value->producer()->as<Matmul>();
    if (m == nullptr || m->transpose_a || m->transpose_b || m->alpha != 1 ||
        m->activation != ActivationKind::none || !is_fixed(operand(value, 1)))
      return false;
    const Value*& weights = operand(value, 0) == x_ ? a.w : a.r;
    if (weights != nullptr || (operand(value, 0) != x_ && operand(value, 0) != loop_.in(h_)))
      return false;
    weights = operand(value, 1);
    for (int i = 2; i < value->producer()->input_count(); ++i)
      if (operand(value, i) != nullptr && !affine(operand(value, i), a)) return false;
    return true;
  }

  static bool gate(const Value* value, size_t parts, Gate& g) {
    if (is(value, "add"))
      for (int side = 0; side < 2; ++side)
        if (const auto offset = splat_value(operand(value, side))) {
          g.offset += *offset;
          return gate(operand(value, 1 - side), parts, g);
        }
    const Node* node = value->producer();
    if (node == nullptr || node->input_count() == 0 || !node->input(0)->shape().ranked() ||
        node->input(0)->shape().rank() != 2)
      return false;
    const int index = part_of(*node, value->index(), parts);
    if (index < 0 || (g.whole != nullptr && g.whole != node->input(0))) return false;
    g.whole = node->input(0);
    g.index = index;
    return true;
  }

  // Which of so many equal parts of a matrix' columns a result of split or strided_slice is.
  static int part_of(const Node& node, int output, size_t parts) {
    if (const Split* split = node.as<Split>()) {
      const bool equal = std::adjacent_find(split->sizes.begin(), split->sizes.end(),
                                            std::not_equal_to<>()) == split->sizes.end();
      return equal && static_cast<size_t>(node.output_count()) == parts &&
                     (split->axis == -1 || split->axis == 1)
                 ? output
                 : -1;
    }
    const StridedSlice* slice = node.as<StridedSlice>();
    const Dim columns = node.input(0)->shape()[1];
    if (slice == nullptr || !columns.known() || slice->ellipsis_mask != 0 ||
        slice->new_axis_mask != 0 || slice->shrink_axis_mask != 0 ||
        (slice->begin_mask & slice->end_mask & 1) == 0 || splat_value(node.input(3)) != 1.0)
      return -1;
    const auto bound = [&](int operand, int64_t mask, int64_t otherwise) {
      if ((mask & 2) != 0) return otherwise;
      const Tensor* t = node.input(operand)->constant();
      return t != nullptr && t->elements() == 2 ? t->int_at(1) : int64_t{-1};
    };
    const int64_t begin = bound(1, slice->begin_mask, 0);
    const int64_t end = bound(2, slice->end_mask, columns.size());
    const int64_t width = columns.size() / static_cast<int64_t>(parts);
    return width > 0 && width * static_cast<int64_t>(parts) == columns.size() && begin >= 0 &&
                   end - begin == width && begin % width == 0
               ? static_cast<int>(begin / width)
               : -1;
  }

  // f(gate) with f one of the activations without parameters.
  static bool activated(const Value* value, std::string& kind, const Value*& inner) {
    for (const char* name : {"sigmoid", "tanh", "relu"})
      if (is(value, name) && (kind.empty() || kind == name)) {
        kind = name;
        inner = operand(value, 0);
        return true;
      }
    return false;
  }

  Result<bool> lstm() {
    const Value* h = loop_.out(h_);
    if (!is(h, "mul")) return false;
    for (int side = 0; side < 2; ++side) {
      std::string f, g, cell;
      const Value *o = nullptr, *c = nullptr;
      if (!activated(operand(h, side), f, o) || !activated(operand(h, 1 - side), cell, c)) continue;
      for (int state = 0; state < loop_.size(); ++state) {
        if (loop_.out(state) != c || !is(c, "add") || loop_.is_invariant(state)) continue;
        std::array<Gate, 4> gates;  // i, f, g, o
        if (!gate(o, 4, gates[3]) || !cell_update(c, state, f, g, gates)) continue;
        return lstm_of(state, f, g, cell, gates);
      }
    }
    return false;
  }

  // c' = f c + i g.
  bool cell_update(const Value* c, int state, std::string& f, std::string& g,
                   std::array<Gate, 4>& gates) const {
    for (int kept = 0; kept < 2; ++kept) {
      const Value *old = operand(c, kept), *fresh = operand(c, 1 - kept);
      if (!is(old, "mul") || !is(fresh, "mul")) continue;
      for (int order = 0; order < 4; ++order) {
        const int a = order & 1, b = order >> 1;
        if (operand(old, a) != loop_.in(state)) continue;
        std::string gate_kind = f, input_kind;
        const Value *zf = nullptr, *zi = nullptr, *zg = nullptr;
        std::array<Gate, 4> found = gates;
        if (activated(operand(old, 1 - a), gate_kind, zf) &&
            activated(operand(fresh, b), gate_kind, zi) &&
            activated(operand(fresh, 1 - b), input_kind, zg) && gate(zi, 4, found[0]) &&
            gate(zf, 4, found[1]) && gate(zg, 4, found[2])) {
          gates = found;
          f = gate_kind;
          g = input_kind;
          return true;
        }
      }
    }
    return false;
  }

  Result<bool> lstm_of(int state, const std::string& f, const std::string& g,
                       const std::string& cell, const std::array<Gate, 4>& gates) {
    std::vector<int64_t> order;
    std::vector<double> offsets;
    for (const Gate& part : gates) {
      if (part.whole != gates[0].whole ||
          std::find(order.begin(), order.end(), part.index) != order.end())
        return false;
      order.push_back(part.index);
      offsets.push_back(part.offset);
    }
    Affine a;
    if (!affine(gates[0].whole, a) || a.w == nullptr || a.r == nullptr) return false;
    if (!takes_results(state)) return false;
    Value* bias = TRY(bias_of(a, order, offsets));
    if (bias == nullptr && std::ranges::any_of(offsets, [](double x) { return x != 0; }))
      return false;
    auto layer =
        builder_.node("lstm",
                      {sequence_, TRY(weights(a.w, order)), TRY(weights(a.r, order)), bias, nullptr,
                       TRY(leading(loop_.initial(h_))), TRY(leading(loop_.initial(state)))},
                      {{"f", f}, {"g", g}, {"h", cell}});
    if (!layer.ok()) return false;
    return finish(**layer, state);
  }

  Result<bool> rnn() {
    std::string kind;
    const Value* z = nullptr;
    Affine a;
    if (!activated(loop_.out(h_), kind, z) || !affine(z, a) || a.w == nullptr || a.r == nullptr ||
        !takes_results(-1))
      return false;
    auto layer = builder_.node("rnn",
                               {sequence_, TRY(weights(a.w, {})), TRY(weights(a.r, {})),
                                TRY(bias_of(a, {}, {})), nullptr, TRY(leading(loop_.initial(h_)))},
                               {{"activation", kind}});
    if (!layer.ok()) return false;
    return finish(**layer, -1);
  }

  // h' = z h + (1 - z) g(x_h + r h_h), the reset gate acting after the product.
  Result<bool> gru() {
    static const Pattern kPattern("zz = sigmoid(za); add(mul(zz, h), mul(sub(1, zz), nn))");
    static const Pattern kCandidate("rr = sigmoid(ra); add(xn, mul(rr, hn))");
    Match m, n;
    Node* root = loop_.out(h_)->producer();
    if (root == nullptr || !kPattern.match(*root, m) || m["h"] != loop_.in(h_)) return false;
    std::string g;
    const Value* candidate = nullptr;
    if (!activated(m["nn"], g, candidate) || candidate->producer() == nullptr ||
        !kCandidate.match(*candidate->producer(), n) || !is(m["za"], "add") || !is(n["ra"], "add"))
      return false;
    // Which of the two splits is the input's shows in the candidate.
    Gate xn, hn;
    if (!gate(n["xn"], 3, xn) || !gate(n["hn"], 3, hn)) return false;
    std::array<int64_t, 2> order{};  // of update and reset
    const Value* sums[] = {m["za"], n["ra"]};
    for (size_t i = 0; i < 2; ++i) {
      Gate a, b;
      if (!gate(operand(sums[i], 0), 3, a) || !gate(operand(sums[i], 1), 3, b)) return false;
      if (a.whole != xn.whole) std::swap(a, b);
      if (a.whole != xn.whole || b.whole != hn.whole || a.index != b.index || a.offset != 0 ||
          b.offset != 0)
        return false;
      order[i] = a.index;
    }
    Affine x, h;
    if (xn.index != hn.index || xn.offset != 0 || hn.offset != 0 || order[0] == order[1] ||
        xn.index == order[0] || xn.index == order[1] || !affine(xn.whole, x) ||
        !affine(hn.whole, h) || x.w == nullptr || x.r != nullptr || h.r == nullptr ||
        h.w != nullptr || !takes_results(-1))
      return false;
    const std::vector<int64_t> all{order[0], order[1], xn.index};
    auto layer = builder_.node(
        "gru",
        {sequence_, TRY(weights(x.w, all)), TRY(weights(h.r, all)), TRY(bias_of(x, all, {})),
         TRY(bias_of(h, all, {})), nullptr, TRY(leading(loop_.initial(h_)))},
        {{"linear_before_reset", true}, {"g", g}});
    if (!layer.ok()) return false;
    return finish(**layer, -1);
  }

  Result<Value*> leading(Value* value) {
    return builder_.op("expand_dims", {value}, {{"axes", std::vector<int64_t>{0}}});
  }
  // Column blocks in another order; an empty order keeps them.
  Result<Value*> reordered(Value* value, const std::vector<int64_t>& order) {
    if (std::ranges::is_sorted(order)) return value;
    Node* parts = TRY(builder_.node(
        "split", {value}, {{"axis", int64_t{-1}}, {"num", static_cast<int64_t>(order.size())}}));
    std::vector<Value*> columns;
    for (const int64_t i : order) columns.push_back(parts->output(static_cast<int>(i)));
    return builder_.op("concat", columns, {{"axis", int64_t{-1}}});
  }
  Result<Value*> weights(const Value* value, const std::vector<int64_t>& order) {
    return leading(TRY(reordered(outside(value), order)));
  }
  // The sum of the biases, the offsets of the gates (in the new order) added; null for none.
  Result<Value*> bias_of(const Affine& a, const std::vector<int64_t>& order,
                         const std::vector<double>& offsets) {
    if (a.biases.empty()) return static_cast<Value*>(nullptr);
    Value* sum = nullptr;
    for (const Value* bias : a.biases) {
      Value* next = outside(bias);
      sum = sum == nullptr ? next : TRY(builder_.op("add", {sum, next}));
    }
    sum = TRY(reordered(sum, order));
    if (std::ranges::any_of(offsets, [](double x) { return x != 0; })) {
      const Dim columns = sum->shape()[0];
      if (!columns.known()) return unsupported("a bias of unknown size");
      std::vector<float> shift(static_cast<size_t>(columns.size()));
      for (size_t i = 0; i < shift.size(); ++i)
        shift[i] = static_cast<float>(offsets[i * offsets.size() / shift.size()]);
      sum = TRY(builder_.op("add", {sum, builder_.constant(Tensor::vector(shift))}));
    }
    return leading(sum);
  }

  bool is_read(int i) const {
    const Value* v = node_.output(i);
    return !v->uses().empty() || graph_.is_output(v);
  }
  // 1: the list gets h at each step; 2: its only item is the last h; 0: something else.
  int list_kind(int i) const {
    const Value* v = loop_.out(i);
    if (!v->type().is_list || !is(v, "list_set") || operand(v, 0) != loop_.in(i) ||
        operand(v, 2) != loop_.out(h_) || !is(loop_.initial(i), "list_reserve"))
      return 0;
    const Value* index = operand(v, 1);
    const int counter = loop_.state_of(index);
    if (counter >= 0) {
      const Value* size = operand(loop_.initial(i), 0);
      Dim n = Dim::unknown();
      if (const auto splat = splat_value(size))
        n = Dim(static_cast<int64_t>(*splat));
      else if (size->ints() && size->ints()->size() == 1)
        n = (*size->ints())[0].as_dim();
      return loop_.is_counter(counter) && n.same(sequence_->shape()[0]) ? 1 : 0;
    }
    return splat_value(index) == 0.0 && splat_value(operand(loop_.initial(i), 0)) == 1.0 ? 2 : 0;
  }
  // Whether all that is read of the loop's results is what a layer gives.
  bool takes_results(int cell) const {
    for (int i = 0; i < loop_.size(); ++i)
      if (is_read(i) && !loop_.is_invariant(i) && i != h_ && i != cell && list_kind(i) == 0)
        return false;
    return true;
  }

  Result<bool> finish(Node& layer, int cell) {
    const auto squeezed = [&](int output, int64_t axis) {
      return builder_.op("squeeze", {layer.output(output)}, {{"axes", std::vector<int64_t>{axis}}});
    };
    for (int i = 0; i < loop_.size(); ++i) {
      if (!is_read(i)) continue;
      Value* replacement = nullptr;
      if (loop_.is_invariant(i))
        replacement = loop_.initial(i);
      else if (i == h_ || i == cell)
        replacement = TRY(squeezed(i == h_ ? 1 : 2, 0));
      else if (list_kind(i) == 1)
        replacement = TRY(builder_.op("list_unstack", {TRY(squeezed(0, 1))}));
      else
        replacement = TRY(builder_.op("list_unstack", {layer.output(1)}));
      graph_.replace_all_uses(node_.output(i), replacement);
    }
    return true;
  }

  Graph& graph_;
  Node& node_;
  Loop loop_;
  Builder builder_;
  const Value* x_ = nullptr;
  Value* sequence_ = nullptr;  // [T, B, I]
  int h_ = -1;
};

Result<bool> recognise_layer(Graph& graph, Node& node) {
  if (!node.is("while") || node.regions().size() != 2) return false;
  for (const auto& region : node.regions())
    if (static_cast<int>(region->inputs().size()) != node.input_count()) return false;
  if (static_cast<int>(node.regions()[1]->outputs().size()) != node.input_count() ||
      node.output_count() != node.input_count())
    return false;
  return Recogniser(graph, node).run();
}

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

constexpr Rule kRules[] = {
    {"recognise-recurrent-layer", "a loop over a sequence that is an lstm, gru or rnn",
     recognise_layer},
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
