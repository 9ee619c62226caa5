#include "passes/recurrent_loop.h"

#include <algorithm>
#include <iterator>

#include "ops/reshape.h"
#include "rewrite/match.h"

namespace tenon {

// What a condition of the body asks, behind views and negations.
struct RecurrentLoop::Condition {
  const Value* value = nullptr;
  bool is_negated = false;
  bool is_column = false;  // one element per row
};

RecurrentLoop::RecurrentLoop(Graph& graph, Node& node)
    : graph_(graph), node_(node), loop_(node), builder_(graph, &node) {
  builder_.set_origins(node.origins);
}

// The lists that are read at the counter, made of a tensor's slices: the sequence, and a mask.
bool RecurrentLoop::find_input() {
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
    counter_ = counter;
  }
  if (x_ == nullptr || !sequence_->shape().ranked() || sequence_->shape().rank() != 3 ||
      sequence_->dtype() != DType::f32)
    return false;
  step_.emplace(loop_, x_);
  if (mask_ == nullptr) find_lengths();
  const int n = lengths_ == nullptr ? -1 : loop_.state_of(lengths_);
  if (!loop_.runs(sequence_->shape()[0], n >= 0 ? loop_.initial(n) : nullptr, ends_early_))
    return false;
  return mask_ == nullptr ||
         (masks_->shape().ranked() && masks_->shape().rank() == 3 && masks_->shape()[2] == Dim(1) &&
          masks_->shape()[0].same(sequence_->shape()[0]));
}

RecurrentLoop::Condition RecurrentLoop::condition(const Value* value) {
  Condition c{value};
  while (true) {
    const Node* node = c.value->producer();
    if (const ExpandDims* column = node == nullptr ? nullptr : node->as<ExpandDims>())
      c.is_column =
          column->axes == std::vector<int64_t>{1} || column->axes == std::vector<int64_t>{-1};
    else if (is(c.value, "logical_not"))
      c.is_negated = !c.is_negated;
    else if (!is(c.value, "tile") && !is(c.value, "expand") && !is(c.value, "identity"))
      return c;
    c.value = operand(c.value, 0);
  }
}

// The lengths of the sequences, where the condition compares the counter with them: it holds as
// long as they last; negated, once they have ended.
const Value* RecurrentLoop::lengths_of(Condition& c) const {
  const bool is_lasting = is(c.value, "less") || is(c.value, "greater");
  if (!is_lasting && !is(c.value, "less_equal") && !is(c.value, "greater_equal")) return nullptr;
  // counter < n, n > counter; counter >= n, n <= counter
  const int side = is(c.value, "less") || is(c.value, "greater_equal") ? 0 : 1;
  const Value* n = operand(c.value, 1 - side);
  if (loop_.state_of(operand(c.value, side)) != counter_ || !step_->is_fixed(n) ||
      !n->shape().ranked() || n->shape().rank() != 1 || !c.is_column ||
      !(n->dtype() == DType::i32 || n->dtype() == DType::i64))
    return nullptr;
  c.is_negated ^= !is_lasting;
  return n;
}

void RecurrentLoop::find_lengths() {
  for (int i = 0; i < loop_.size() && lengths_ == nullptr; ++i) {
    if (loop_.is_invariant(i) || !is(loop_.out(i), "select")) continue;
    Condition c = condition(operand(loop_.out(i), 0));
    lengths_ = lengths_of(c);
  }
}

// A value between what it is at the steps that the mask takes and at those it leaves out.
RecurrentLoop::Choice RecurrentLoop::choice(const Value* value) const {
  if (!has_mask() || !is(value, "select")) return {};
  Condition c = condition(operand(value, 0));
  if (mask_ != nullptr ? c.value != mask_ : lengths_of(c) != lengths_) return {};
  const Choice straight{operand(value, 1), operand(value, 2)};
  return c.is_negated ? Choice{straight.left_out, straight.taken} : straight;
}

const Value* RecurrentLoop::updated(int i) const {
  if (!has_mask()) return loop_.out(i);
  const Choice c = choice(loop_.out(i));
  return c.left_out == loop_.in(i) ? c.taken : nullptr;
}

// A value of the body that no iteration changes, outside.
Value* RecurrentLoop::outside(const Value* value) {
  const int state = loop_.state_of(value);
  return state >= 0 ? loop_.initial(state) : builder_.constant(*value->constant());
}

Result<Value*> RecurrentLoop::mask() {
  if (lengths_ != nullptr) return outside(lengths_);
  if (mask_ == nullptr) return static_cast<Value*>(nullptr);
  return builder_.op("squeeze", {masks_}, {{"axes", std::vector<int64_t>{2}}});
}

Result<Value*> RecurrentLoop::leading(Value* value) {
  return builder_.op("expand_dims", {value}, {{"axes", std::vector<int64_t>{0}}});
}

Result<Value*> RecurrentLoop::initial(int state) {
  return leading(loop_.initial(state));
}

Result<Value*> RecurrentLoop::reordered(Value* value, const std::vector<int64_t>& order) {
  if (std::ranges::is_sorted(order)) return value;
  Node* parts = TRY(builder_.node(
      "split", {value}, {{"axis", int64_t{-1}}, {"num", static_cast<int64_t>(order.size())}}));
  std::vector<Value*> columns;
  columns.reserve(order.size());
  for (const int64_t i : order) columns.push_back(parts->output(static_cast<int>(i)));
  return builder_.op("concat", columns, {{"axis", int64_t{-1}}});
}

Result<Value*> RecurrentLoop::weights(const Weights& w, const std::vector<int64_t>& order) {
  Value* value = outside(w.value);
  if (w.part >= 0)
    value = TRY(builder_.node("split", {value}, {{"axis", int64_t{0}}, {"sizes", w.rows}}))
                ->output(w.part);
  return leading(TRY(reordered(value, order)));
}

Result<Value*> RecurrentLoop::bias(const Affine& a, const std::vector<int64_t>& order,
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

bool RecurrentLoop::is_read(int i) const {
  const Value* v = node_.output(i);
  return !v->uses().empty() || graph_.is_output(v);
}

RecurrentLoop::Gap RecurrentLoop::gap_of(const Value* value, int h) const {
  if (value == loop_.out(h)) return has_mask() ? Gap::state : Gap::none;
  const Choice c = choice(value);
  if (c.taken == nullptr || c.taken != updated(h)) return Gap::unknown;
  const int i = loop_.state_of(c.left_out);
  if (is_zero(i >= 0 && loop_.is_invariant(i) ? loop_.initial(i) : c.left_out)) return Gap::zeros;
  // The result before, which is the state before where both begin alike.
  const bool alike = i >= 0 && (loop_.initial(i) == loop_.initial(h) ||
                                (is_zero(loop_.initial(i)) && is_zero(loop_.initial(h))));
  return alike && loop_.out(i) == value ? Gap::state : Gap::unknown;
}

// 1: the list gets h at each step; 2: its only item is the last h; 0: something else.
int RecurrentLoop::list_kind(int i, int h) const {
  const Value* v = loop_.out(i);
  if (!v->type().is_list || !is(v, "list_set") || operand(v, 0) != loop_.in(i) ||
      !is(loop_.initial(i), "list_reserve"))
    return 0;
  const Gap gap = gap_of(operand(v, 2), h);
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
    // What a loop that ends early leaves unwritten reads as zeros.
    return loop_.is_counter(counter) && n.same(sequence_->shape()[0]) &&
                   (!ends_early_ || gap == Gap::zeros)
               ? 1
               : 0;
  }
  return gap != Gap::zeros && splat_value(index) == 0.0 &&
                 splat_value(operand(loop_.initial(i), 0)) == 1.0
             ? 2
             : 0;
}

bool RecurrentLoop::takes_results(int h, int cell, bool& hold) const {
  Gap gap = Gap::none;
  for (int i = 0; i < loop_.size(); ++i) {
    if (!is_read(i) || loop_.is_invariant(i) || i == h || i == cell) continue;
    const int kind = list_kind(i, h);
    if (kind == 0 && gap_of(loop_.out(i), h) != Gap::state) return false;
    if (kind != 1) continue;
    const Gap own = gap_of(operand(loop_.out(i), 2), h);
    if (gap != Gap::none && own != gap) return false;
    gap = own;
  }
  hold = gap == Gap::state;
  return true;
}

Result<bool> RecurrentLoop::finish(const Node& layer, int h, int cell) {
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
    else if (list_kind(i, h) == 1)
      replacement = TRY(builder_.op("list_unstack", {TRY(squeezed(0, 1))}));
    else
      replacement = TRY(builder_.op("list_unstack", {layer.output(1)}));
    graph_.replace_all_uses(node_.output(i), replacement);
  }
  return true;
}

// At the steps that the mask leaves out a layer's results are not what the loop computed: whatever
// else there is must leave them out too.
bool RecurrentLoop::rest_heeds_mask(int h, int cell) const {
  if (!has_mask()) return true;
  for (int i = 0; i < loop_.size(); ++i) {
    if (loop_.is_invariant(i) || loop_.is_counter(i) || i == h || i == cell) continue;
    const Value* v = is(loop_.out(i), "list_set") ? operand(loop_.out(i), 2) : loop_.out(i);
    const Choice c = choice(v);
    if (c.taken == nullptr || !(step_->is_fixed(c.left_out) || loop_.state_of(c.left_out) >= 0))
      return false;
  }
  return true;
}

Result<bool> RecurrentLoop::peel(const Node& layer, int h, int cell) {
  const Value* fresh = updated(h);
  if (fresh->producer() == nullptr || fresh->index() != 0 || !rest_heeds_mask(h, cell))
    return false;
  const auto squeezed = [&](int output, int64_t axis) {
    return builder_.op("squeeze", {layer.output(output)}, {{"axes", std::vector<int64_t>{axis}}});
  };
  Value* list = TRY(builder_.op("list_unstack", {TRY(squeezed(0, 1))}));
  std::vector<std::unique_ptr<Graph>> regions;
  for (const auto& region : node_.regions()) {
    regions.push_back(region->clone());
    regions.back()->add_input(list->type());
  }
  Graph& body = *regions[1];
  const auto& nodes = node_.regions()[1]->nodes();
  const auto place = std::ranges::find_if(
      nodes, [&](const auto& node) { return node.get() == fresh->producer(); });
  if (place == nodes.end()) return false;
  Value* computed =
      (*std::next(body.nodes().begin(), std::distance(nodes.begin(), place)))->output();
  const auto in = [&](int i) { return body.inputs()[static_cast<size_t>(i)].get(); };
  Builder inside(body, body.nodes().front().get());
  inside.set_origins(fresh->producer()->origins);
  Value* y =
      TRY(inside.op("list_get", {in(loop_.size()), in(counter_)}, {{"element", fresh->type()}}));
  std::vector<Value*> results = body.outputs();
  results[static_cast<size_t>(h)] = in(h);
  if (cell >= 0) results[static_cast<size_t>(cell)] = in(cell);
  results.push_back(in(loop_.size()));
  body.set_outputs(std::move(results));
  body.replace_all_uses(computed, y);
  remove_dead_nodes(body);
  if (!in(h)->uses().empty() || (cell >= 0 && !in(cell)->uses().empty())) return false;
  std::vector<Value*> operands = node_.inputs();
  operands.push_back(list);
  const Node* rest = TRY(builder_.node("while", operands, {}, std::move(regions)));
  for (int i = 0; i < loop_.size(); ++i) {
    Value* result = rest->output(i);
    if (i == h || i == cell) result = TRY(squeezed(i == h ? 1 : 2, 0));
    graph_.replace_all_uses(node_.output(i), result);
  }
  return true;
}

}  // namespace tenon
