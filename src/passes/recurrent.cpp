// Loops that run a recurrent layer step by step become lstm, gru and rnn. What a loop computes is
// read off its body's algebra; names play no part.
#include <algorithm>
#include <array>
#include <functional>

#include "ops/concat.h"
#include "ops/matmul.h"
#include "ops/slice.h"
#include "passes/loop.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

// The weights of one operand: a value of the body, or one of the two parts of its rows.
struct Weights {
  const Value* value = nullptr;
  int part = -1;
  std::vector<int64_t> rows;  // of the two parts
};

// x w + h r + the biases, in values of the body.
struct Affine {
  Weights w, r;
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
      if (loop_.is_invariant(h) || loop_.in(h)->type().is_list || loop_.is_counter(h) ||
          updated(h) == nullptr)
        continue;
      h_ = h;
      for (const auto match :
           {&Recogniser::lstm, &Recogniser::gru, &Recogniser::gru_reset_before, &Recogniser::rnn})
        if (TRY((this->*match)())) return true;
    }
    return false;
  }

 private:
  // The lists that are read at the counter, made of a tensor's slices: the sequence, and a mask.
  bool find_input() {
    for (int i = 0; i < loop_.size(); ++i) {
      const Value* list = loop_.in(i);
      if (!loop_.is_invariant(i) || !list->type().is_list || list->uses().empty()) continue;
      const Node* get = list->uses()[0].user;
      if (list->uses().size() != 1 || !get->is("list_get") || !is(loop_.initial(i), "list_unstack"))
        return false;
      const int counter = loop_.state_of(get->input(1));
      if (counter < 0 || !loop_.is_counter(counter)) return false;
      const bool is_mask = list->type().dtype == DType::boolean;
      if ((is_mask ? mask_ : x_) != nullptr) return false;
      (is_mask ? mask_ : x_) = get->output();
      (is_mask ? masks_ : sequence_) = loop_.initial(i)->producer()->input(0);
    }
    if (x_ == nullptr || !sequence_->shape().ranked() || sequence_->shape().rank() != 3 ||
        sequence_->dtype() != DType::f32 || !loop_.runs(sequence_->shape()[0]))
      return false;
    return mask_ == nullptr ||
           (masks_->shape().ranked() && masks_->shape().rank() == 3 &&
            masks_->shape()[2] == Dim(1) && masks_->shape()[0].same(sequence_->shape()[0]));
  }

  // The mask of a step, spread over the state or not.
  bool is_mask(const Value* value) const {
    while (value != mask_ && (is(value, "tile") || is(value, "expand") || is(value, "identity")))
      value = operand(value, 0);
    return value == mask_;
  }
  bool is_masked(const Value* value) const {
    return mask_ != nullptr && is(value, "select") && is_mask(operand(value, 0));
  }
  // What a state becomes at a step that the mask does not leave out; null where it leaves out none.
  const Value* updated(int i) const {
    const Value* next = loop_.out(i);
    if (mask_ == nullptr) return next;
    return is_masked(next) && operand(next, 2) == loop_.in(i) ? operand(next, 1) : nullptr;
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

  // An affine function of x and the state, which may have been changed before.
  bool affine(const Value* value, const Value* state, Affine& a) const {
    if (is_fixed(value)) {
      if (!value->shape().ranked() || value->shape().rank() != 1) return false;
      a.biases.push_back(value);
      return true;
    }
    if (is(value, "add"))
      return affine(operand(value, 0), state, a) && affine(operand(value, 1), state, a);
    const Matmul* m = value->producer() == nullptr ? nullptr : value->producer()->as<Matmul>();
    if (m == nullptr || m->transpose_a || m->transpose_b || m->alpha != 1 ||
        m->activation != ActivationKind::none || !is_fixed(operand(value, 1)))
      return false;
    for (int i = 2; i < value->producer()->input_count(); ++i)
      if (operand(value, i) != nullptr && !affine(operand(value, i), state, a)) return false;
    const Value* term = operand(value, 0);
    if (is(term, "concat")) return joined(*term->producer(), operand(value, 1), state, a);
    Weights& weights = term == x_ ? a.w : a.r;
    if (weights.value != nullptr || (term != x_ && term != state)) return false;
    weights.value = operand(value, 1);
    return true;
  }
  // concat(x, h) times one matrix.
  bool joined(const Node& concat, const Value* matrix, const Value* state, Affine& a) const {
    const int64_t axis = concat.as<Concat>()->axis;
    if (concat.input_count() != 2 || (axis != 1 && axis != -1) || a.w.value != nullptr ||
        a.r.value != nullptr)
      return false;
    std::vector<int64_t> rows;
    for (int i = 0; i < 2; ++i) {
      const Value* term = concat.input(i);
      if ((term != x_ && term != state) || !term->shape().ranked() || term->shape().rank() != 2 ||
          !term->shape()[1].known())
        return false;
      (term == x_ ? a.w : a.r) = {matrix, i, {}};
      rows.push_back(term->shape()[1].size());
    }
    a.w.rows = a.r.rows = rows;
    return a.w.value != nullptr && a.r.value != nullptr;
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
    const Value* h = updated(h_);
    if (!is(h, "mul")) return false;
    for (int side = 0; side < 2; ++side) {
      std::string f, g, cell;
      const Value *o = nullptr, *c = nullptr;
      if (!activated(operand(h, side), f, o) || !activated(operand(h, 1 - side), cell, c)) continue;
      for (int state = 0; state < loop_.size(); ++state) {
        if (!is(c, "add") || loop_.is_invariant(state) || updated(state) != c) continue;
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
    if (!affine(gates[0].whole, loop_.in(h_), a) || a.w.value == nullptr || a.r.value == nullptr)
      return false;
    if (!takes_results(state)) return false;
    Value* bias = TRY(bias_of(a, order, offsets));
    if (bias == nullptr && std::ranges::any_of(offsets, [](double x) { return x != 0; }))
      return false;
    auto layer = builder_.node(
        "lstm",
        {sequence_, TRY(weights(a.w, order)), TRY(weights(a.r, order)), bias, TRY(mask()),
         TRY(leading(loop_.initial(h_))), TRY(leading(loop_.initial(state)))},
        {{"f", f}, {"g", g}, {"h", cell}, {"hold", hold_}});
    if (!layer.ok()) return false;
    return finish(**layer, state);
  }

  Result<bool> rnn() {
    std::string kind;
    const Value* z = nullptr;
    Affine a;
    if (!activated(updated(h_), kind, z) || !affine(z, loop_.in(h_), a) || a.w.value == nullptr ||
        a.r.value == nullptr || !takes_results(-1))
      return false;
    auto layer =
        builder_.node("rnn",
                      {sequence_, TRY(weights(a.w, {})), TRY(weights(a.r, {})),
                       TRY(bias_of(a, {}, {})), TRY(mask()), TRY(leading(loop_.initial(h_)))},
                      {{"activation", kind}, {"hold", hold_}});
    if (!layer.ok()) return false;
    return finish(**layer, -1);
  }

  // h' = z h + (1 - z) g(x_h + r h_h), the reset gate acting after the product.
  Result<bool> gru() {
    static const Pattern kPattern("zz = sigmoid(za); add(mul(zz, h), mul(sub(1, zz), nn))");
    static const Pattern kCandidate("rr = sigmoid(ra); add(xn, mul(rr, hn))");
    Match m, n;
    Node* root = updated(h_)->producer();
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
        xn.index == order[0] || xn.index == order[1] || !affine(xn.whole, nullptr, x) ||
        !affine(hn.whole, loop_.in(h_), h) || x.w.value == nullptr || h.r.value == nullptr ||
        h.w.value != nullptr || !takes_results(-1))
      return false;
    const std::vector<int64_t> all{order[0], order[1], xn.index};
    auto layer = builder_.node(
        "gru",
        {sequence_, TRY(weights(x.w, all)), TRY(weights(h.r, all)), TRY(bias_of(x, all, {})),
         TRY(bias_of(h, all, {})), TRY(mask()), TRY(leading(loop_.initial(h_)))},
        {{"linear_before_reset", true}, {"g", g}, {"hold", hold_}});
    if (!layer.ok()) return false;
    return finish(**layer, -1);
  }

  // h' = z h + (1 - z) g(x_h + (r h) r_h), the reset gate acting before the product.
  Result<bool> gru_reset_before() {
    static const Pattern kPattern("zz = sigmoid(za); add(mul(zz, h), mul(sub(1, zz), nn))");
    Match m;
    Node* root = updated(h_)->producer();
    if (root == nullptr || !kPattern.match(*root, m) || m["h"] != loop_.in(h_)) return false;
    std::string g;
    const Value* sum = nullptr;
    if (!activated(m["nn"], g, sum) || !is(sum, "add") || !is(m["za"], "add")) return false;
    for (int side = 0; side < 2; ++side) {
      const Value* product = operand(sum, 1 - side);
      Gate xn;
      if (!is(product, "matmul") || !gate(operand(sum, side), 3, xn)) continue;
      const Value* reset = operand(product, 0);  // r h
      if (!is(reset, "mul")) return false;
      const int state = operand(reset, 0) == loop_.in(h_) ? 0 : 1;
      const Value* r = operand(reset, 1 - state);
      if (operand(reset, state) != loop_.in(h_) || !is(r, "sigmoid") || !is(operand(r, 0), "add"))
        return false;
      Affine n;
      if (!affine(product, reset, n) || n.w.value != nullptr || !n.biases.empty()) return false;
      return gru_of(xn, m["za"], operand(r, 0), n, g);
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
        found = gate(operand(sum, side), 3, a) && gate(operand(sum, 1 - side), 2, b) &&
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
    if (xn.offset != 0 || order[0] == order[1] || order[0] == order[2] || order[1] == order[2] ||
        state_order[0] == state_order[1] || !affine(xn.whole, nullptr, x) ||
        !affine(state_whole, loop_.in(h_), h) || x.w.value == nullptr || h.r.value == nullptr ||
        h.w.value != nullptr || !h.biases.empty() || !takes_results(-1))
      return false;
    Value* r = TRY(builder_.op("concat", {TRY(weights(h.r, state_order)), TRY(weights(n.r, {}))},
                               {{"axis", int64_t{-1}}}));
    auto layer = builder_.node("gru",
                               {sequence_, TRY(weights(x.w, order)), r, TRY(bias_of(x, order, {})),
                                nullptr, TRY(mask()), TRY(leading(loop_.initial(h_)))},
                               {{"g", g}, {"hold", hold_}});
    if (!layer.ok()) return false;
    return finish(**layer, -1);
  }

  // The mask as the layers take it, [T, B]; null for none.
  Result<Value*> mask() {
    if (mask_ == nullptr) return static_cast<Value*>(nullptr);
    return builder_.op("squeeze", {masks_}, {{"axes", std::vector<int64_t>{2}}});
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
  Result<Value*> weights(const Weights& w, const std::vector<int64_t>& order) {
    Value* value = outside(w.value);
    if (w.part >= 0)
      value = TRY(builder_.node("split", {value}, {{"axis", int64_t{0}}, {"sizes", w.rows}}))
                  ->output(w.part);
    return leading(TRY(reordered(value, order)));
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
  // What a step that the mask leaves out puts in place of h.
  enum class Gap : uint8_t { unknown, none, zeros, state };
  Gap gap_of(const Value* value) const {
    if (mask_ == nullptr) return value == loop_.out(h_) ? Gap::none : Gap::unknown;
    if (value == loop_.out(h_)) return Gap::state;
    if (!is_masked(value) || operand(value, 1) != updated(h_)) return Gap::unknown;
    const Value* otherwise = operand(value, 2);
    const int i = loop_.state_of(otherwise);
    if (is_zero(i >= 0 && loop_.is_invariant(i) ? loop_.initial(i) : otherwise)) return Gap::zeros;
    // The result before, which is the state before where both begin alike.
    const bool alike = i >= 0 && (loop_.initial(i) == loop_.initial(h_) ||
                                  (is_zero(loop_.initial(i)) && is_zero(loop_.initial(h_))));
    return alike && loop_.out(i) == value ? Gap::state : Gap::unknown;
  }
  // 1: the list gets h at each step; 2: its only item is the last h; 0: something else.
  int list_kind(int i) const {
    const Value* v = loop_.out(i);
    if (!v->type().is_list || !is(v, "list_set") || operand(v, 0) != loop_.in(i) ||
        !is(loop_.initial(i), "list_reserve"))
      return 0;
    const Gap gap = gap_of(operand(v, 2));
    if (gap == Gap::unknown) return 0;
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
    return gap != Gap::zeros && splat_value(index) == 0.0 &&
                   splat_value(operand(loop_.initial(i), 0)) == 1.0
               ? 2
               : 0;
  }
  // Whether all that is read of the loop's results is what a layer gives.
  bool takes_results(int cell) {
    Gap gap = Gap::none;
    for (int i = 0; i < loop_.size(); ++i) {
      if (!is_read(i) || loop_.is_invariant(i) || i == h_ || i == cell) continue;
      const int kind = list_kind(i);
      if (kind == 0 && gap_of(loop_.out(i)) != Gap::state) return false;
      if (kind != 1) continue;
      const Gap own = gap_of(operand(loop_.out(i), 2));
      if (gap != Gap::none && own != gap) return false;
      gap = own;
    }
    hold_ = gap == Gap::state;
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
      else if (!loop_.out(i)->type().is_list)
        replacement = TRY(squeezed(i == cell ? 2 : 1, 0));
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
  const Value* mask_ = nullptr;
  Value* sequence_ = nullptr;  // [T, B, I]
  Value* masks_ = nullptr;     // [T, B, 1]
  bool hold_ = false;
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
