// Loops that run a recurrent layer step by step become lstm, gru and rnn. What a loop computes is
// read off its body's algebra; names play no part.
#include <algorithm>
#include <array>

#include "passes/recurrent_loop.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

class Recogniser {
 public:
  Recogniser(Graph& graph, Node& node) : loop_(graph, node), builder_(loop_.builder()) {}

  Result<bool> run() {
    if (!loop_.find_input()) return false;
    for (int h = 0; h < states().size(); ++h) {
      if (states().is_invariant(h) || states().in(h)->type().is_list || states().is_counter(h) ||
          loop_.updated(h) == nullptr)
        continue;
      h_ = h;
      for (const auto match : {&Recogniser::lstm, &Recogniser::gru, &Recogniser::rnn})
        if (TRY((this->*match)())) return true;
    }
    return false;
  }

 private:
  const Loop& states() const { return loop_.states(); }
  const Value* state() const { return states().in(h_); }
  bool affine(const Value* value, const Value* of_state, Affine& a) const {
    return loop_.step().affine(value, of_state, a);
  }

  // The layer, in the place of the loop or taken out of it.
  Result<bool> replace(std::string_view op, std::vector<Value*> operands,
                       std::vector<Builder::Attr> attrs, int cell) {
    bool hold = false;
    const bool is_all = loop_.takes_results(h_, cell, hold);
    attrs.push_back({"hold", hold && is_all});
    const auto layer = builder_.node(op, std::move(operands), std::move(attrs));
    if (!layer.ok()) return false;
    return is_all ? loop_.finish(**layer, h_, cell) : loop_.peel(**layer, h_, cell);
  }

  Result<bool> lstm() {
    const Value* h = loop_.updated(h_);
    if (!is(h, "mul")) return false;
    for (int side = 0; side < 2; ++side) {
      std::string f, g, cell;
      const Value* c = nullptr;
      std::array<Gate, 4> gates;  // i, f, g, o
      if (!Step::activated(operand(h, 1 - side), cell, c) || !is(c, "add") ||
          !Step::activated_gate(operand(h, side), 4, f, gates[3]))
        continue;
      for (int s = 0; s < states().size(); ++s) {
        if (states().is_invariant(s) || loop_.updated(s) != c ||
            !cell_update(c, states().in(s), f, g, gates))
          continue;
        return lstm_of(s, {f, g, cell}, gates);
      }
    }
    return false;
  }

  // c' = f c + i g.
  static bool cell_update(const Value* c, const Value* before, std::string& f, std::string& g,
                          std::array<Gate, 4>& gates) {
    for (int kept = 0; kept < 2; ++kept) {
      const Value *old = operand(c, kept), *fresh = operand(c, 1 - kept);
      if (!is(old, "mul") || !is(fresh, "mul")) continue;
      for (int order = 0; order < 4; ++order) {
        const int a = order & 1, b = order >> 1;
        if (operand(old, a) != before) continue;
        std::string gate_kind = f, input_kind;
        std::array<Gate, 4> found = gates;
        if (Step::activated_gate(operand(old, 1 - a), 4, gate_kind, found[1]) &&
            Step::activated_gate(operand(fresh, b), 4, gate_kind, found[0]) &&
            Step::activated_gate(operand(fresh, 1 - b), 4, input_kind, found[2])) {
          gates = found;
          g = input_kind;
          return true;
        }
      }
    }
    return false;
  }

  Result<bool> lstm_of(int cell, const std::array<std::string, 3>& kinds,
                       const std::array<Gate, 4>& gates) {
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
    if (!affine(gates[0].whole, state(), a) || !a.is_complete()) return false;
    Value* bias = TRY(loop_.bias(a, order, offsets));
    if (bias == nullptr && std::ranges::any_of(offsets, [](double x) { return x != 0; }))
      return false;
    return replace(
        "lstm",
        {loop_.sequence(), TRY(loop_.weights(a.w, order)), TRY(loop_.weights(a.r, order)), bias,
         TRY(loop_.mask()), TRY(loop_.initial(h_)), TRY(loop_.initial(cell))},
        {{"f", kinds[0]}, {"g", kinds[1]}, {"h", kinds[2]}}, cell);
  }

  Result<bool> rnn() {
    std::string kind;
    const Value* z = nullptr;
    Affine a;
    if (!Step::activated(loop_.updated(h_), kind, z) || !affine(z, state(), a) || !a.is_complete())
      return false;
    return replace("rnn",
                   {loop_.sequence(), TRY(loop_.weights(a.w, {})), TRY(loop_.weights(a.r, {})),
                    TRY(loop_.bias(a, {})), TRY(loop_.mask()), TRY(loop_.initial(h_))},
                   {{"activation", kind}}, -1);
  }

  // h' = z h + (1 - z) g(…), in three forms of what is in g.
  Result<bool> gru() {
    static const Pattern kPattern("add(mul(sub(1, zz), nn), mul(zz, h))");
    Match m;
    Node* root = loop_.updated(h_)->producer();
    std::string g;
    const Value* candidate = nullptr;
    if (root == nullptr || !kPattern.match(*root, m) || m["h"] != state() ||
        !Step::activated(m["nn"], g, candidate) || candidate->producer() == nullptr)
      return false;
    const Value* z = m["zz"];
    if (TRY(gru_reset_after(z, candidate, g))) return true;
    if (TRY(gru_reset_before(z, candidate, g))) return true;
    return gru_joined(z, candidate, g);
  }

  // g(x_h + r h_h): the reset gate acts after the product.
  Result<bool> gru_reset_after(const Value* z, const Value* candidate, const std::string& g) {
    static const Pattern kCandidate("rr = sigmoid(ra); add(xn, mul(rr, hn))");
    Match n;
    if (!is(z, "sigmoid") || !is(operand(z, 0), "add") ||
        !kCandidate.match(*candidate->producer(), n) || !is(n["ra"], "add"))
      return false;
    // Which of the two splits is the input's shows in the candidate.
    Gate xn, hn;
    if (!Step::gate(n["xn"], 3, xn) || !Step::gate(n["hn"], 3, hn)) return false;
    std::vector<int64_t> order;  // of update and reset
    for (const Value* sum : {operand(z, 0), static_cast<const Value*>(n["ra"])}) {
      Gate a, b;
      if (!Step::gate(operand(sum, 0), 3, a) || !Step::gate(operand(sum, 1), 3, b)) return false;
      if (a.whole != xn.whole) std::swap(a, b);
      if (a.whole != xn.whole || b.whole != hn.whole || a.index != b.index || a.offset != 0 ||
          b.offset != 0)
        return false;
      order.push_back(a.index);
    }
    order.push_back(xn.index);
    Affine x, h;
    if (xn.index != hn.index || xn.offset != 0 || hn.offset != 0 || !is_permutation(order) ||
        !affine(xn.whole, nullptr, x) || !affine(hn.whole, state(), h) || x.w.value == nullptr ||
        h.r.value == nullptr || h.w.value != nullptr)
      return false;
    return replace("gru",
                   {loop_.sequence(), TRY(loop_.weights(x.w, order)),
                    TRY(loop_.weights(h.r, order)), TRY(loop_.bias(x, order)),
                    TRY(loop_.bias(h, order)), TRY(loop_.mask()), TRY(loop_.initial(h_))},
                   {{"linear_before_reset", true}, {"g", g}}, -1);
  }

  static bool is_permutation(std::vector<int64_t> order) {
    std::ranges::sort(order);
    for (size_t i = 0; i < order.size(); ++i)
      if (order[i] != static_cast<int64_t>(i)) return false;
    return true;
  }

  // g(x_h + (r h) r_h): the reset gate acts before the product.
  Result<bool> gru_reset_before(const Value* z, const Value* sum, const std::string& g) {
    if (!is(sum, "add") || !is(z, "sigmoid") || !is(operand(z, 0), "add")) return false;
    for (int side = 0; side < 2; ++side) {
      const Value* product = operand(sum, 1 - side);
      Gate xn;
      if (!is(product, "matmul") || !Step::gate(operand(sum, side), 3, xn)) continue;
      const Value* reset = operand(product, 0);  // r h
      if (!is(reset, "mul")) return false;
      const int at = operand(reset, 0) == state() ? 0 : 1;
      const Value* r = operand(reset, 1 - at);
      if (operand(reset, at) != state() || !is(r, "sigmoid") || !is(operand(r, 0), "add"))
        return false;
      Affine n;
      if (!affine(product, reset, n) || n.w.value != nullptr || !n.biases.empty()) return false;
      return gru_of(xn, operand(z, 0), operand(r, 0), n, g);
    }
    return false;
  }

  // The layer whose update and reset gates are these sums of an input's and a state's part.
  Result<bool> gru_of(const Gate& xn, const Value* update, const Value* reset, const Affine& n,
                      const std::string& g) {
    std::vector<int64_t> order, state_order;
    const Value* state_whole = nullptr;
    for (const Value* sum : {update, reset}) {
      bool found = false;
      for (int side = 0; side < 2 && !found; ++side) {
        Gate a, b;
        found = Step::gate(operand(sum, side), 3, a) && Step::gate(operand(sum, 1 - side), 2, b) &&
                a.whole == xn.whole && a.offset == 0 && b.offset == 0 &&
                (state_whole == nullptr || state_whole == b.whole);
        if (!found) continue;
        state_whole = b.whole;
        order.push_back(a.index);
        state_order.push_back(b.index);
      }
      if (!found) return false;
    }
    order.push_back(xn.index);
    Affine x, h;
    if (xn.offset != 0 || !is_permutation(order) || !is_permutation(state_order) ||
        !affine(xn.whole, nullptr, x) || !affine(state_whole, state(), h) || x.w.value == nullptr ||
        h.r.value == nullptr || h.w.value != nullptr || !h.biases.empty())
      return false;
    Value* r = TRY(joined(TRY(loop_.weights(h.r, state_order)), TRY(loop_.weights(n.r, {}))));
    return replace("gru",
                   {loop_.sequence(), TRY(loop_.weights(x.w, order)), r, TRY(loop_.bias(x, order)),
                    nullptr, TRY(loop_.mask()), TRY(loop_.initial(h_))},
                   {{"g", g}}, -1);
  }

  Result<Value*> joined(Value* gates, Value* candidate) {
    return builder_.op("concat", {gates, candidate}, {{"axis", int64_t{-1}}});
  }

  // The gates are parts of one function of x and h, the candidate is another of x and r h.
  Result<bool> gru_joined(const Value* update, const Value* candidate, const std::string& g) {
    std::string sigmoid = "sigmoid";
    Gate z;
    if (!Step::activated_gate(update, 2, sigmoid, z) || z.offset != 0) return false;
    for (const Use& use : state()->uses()) {
      if (!use.user->is("mul")) continue;
      const Value* reset = use.user->output();
      Gate r{z.whole};
      Affine gates, n;
      if (!Step::activated_gate(operand(reset, 1 - use.index), 2, sigmoid, r) || r.offset != 0 ||
          r.index == z.index || !affine(candidate, reset, n) || !affine(z.whole, state(), gates) ||
          !n.is_complete() || !gates.is_complete() || n.biases.empty() != gates.biases.empty())
        continue;
      const std::vector<int64_t> order{z.index, r.index};
      Value* w = TRY(joined(TRY(loop_.weights(gates.w, order)), TRY(loop_.weights(n.w, {}))));
      Value* h = TRY(joined(TRY(loop_.weights(gates.r, order)), TRY(loop_.weights(n.r, {}))));
      Value* bias = n.biases.empty()
                        ? nullptr
                        : TRY(joined(TRY(loop_.bias(gates, order)), TRY(loop_.bias(n, {}))));
      return replace(
          "gru", {loop_.sequence(), w, h, bias, nullptr, TRY(loop_.mask()), TRY(loop_.initial(h_))},
          {{"g", g}}, -1);
    }
    return false;
  }

  RecurrentLoop loop_;
  Builder& builder_;
  int h_ = -1;
};

}  // namespace

Result<bool> recognise_recurrent_layer(Graph& graph, Node& node) {
  if (!node.is("while") || node.regions().size() != 2) return false;
  for (const auto& region : node.regions())
    if (static_cast<int>(region->inputs().size()) != node.input_count()) return false;
  if (static_cast<int>(node.regions()[1]->outputs().size()) != node.input_count() ||
      node.output_count() != node.input_count())
    return false;
  return Recogniser(graph, node).run();
}

}  // namespace tenon
