#include "passes/recurrent_step.h"

#include <algorithm>
#include <functional>

#include "ops/concat.h"
#include "ops/matmul.h"
#include "ops/slice.h"
#include "rewrite/match.h"

namespace tenon {

bool Step::is_fixed(const Value* value) const {
  const int state = loop_.state_of(value);
  return value->constant() != nullptr || (state >= 0 && loop_.is_invariant(state));
}

bool Step::affine(const Value* value, const Value* state, Affine& a) const {
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
bool Step::joined(const Node& concat, const Value* matrix, const Value* state, Affine& a) const {
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

bool Step::gate(const Value* value, size_t parts, Gate& g) {
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
int Step::part_of(const Node& node, int output, size_t parts) {
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

bool Step::activated(const Value* value, std::string& kind, const Value*& inner) {
  for (const char* name : {"sigmoid", "tanh", "relu"})
    if (is(value, name) && (kind.empty() || kind == name)) {
      kind = name;
      inner = operand(value, 0);
      return true;
    }
  return false;
}

bool Step::activated_gate(const Value* value, size_t parts, std::string& kind, Gate& g) {
  const Value* inner = nullptr;
  if (activated(value, kind, inner)) return gate(inner, parts, g);
  Gate part;
  if (!gate(value, parts, part) || part.offset != 0 || !activated(part.whole, kind, inner) ||
      (g.whole != nullptr && g.whole != inner))
    return false;
  g.whole = inner;
  g.index = part.index;
  return true;
}

}  // namespace tenon
