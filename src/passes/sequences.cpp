// Directions of recurrent layers: sequences are not turned around for a layer that can read them
// backwards, and two layers that read one sequence both ways are one.
#include <algorithm>

#include "ops/concat.h"
#include "ops/gather.h"
#include "ops/recurrent.h"
#include "ops/reshape.h"
#include "ops/reverse.h"
#include "ops/transpose.h"
#include "passes/loop.h"
#include "passes/passes.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

// Where operands of the layers stand.
struct Layer {
  int mask = 4;
  int first_state = 5;
  int last_state = 5;
  Direction direction = Direction::forward;
  bool hold = false;
};

std::optional<Layer> layer_of(const Node& node) {
  if (const Lstm* l = node.as<Lstm>()) return Layer{4, 5, 6, l->direction, l->hold};
  if (const Gru* l = node.as<Gru>()) return Layer{5, 6, 6, l->direction, l->hold};
  if (const Rnn* l = node.as<Rnn>()) return Layer{4, 5, 5, l->direction, l->hold};
  return std::nullopt;
}

std::unique_ptr<Op> with_direction(const Node& node, std::string_view direction) {
  auto op = node.op().clone();
  return set_attr(*op, "direction", std::string(direction)).ok() ? std::move(op) : nullptr;
}

// Where dimension `axis` of the operand of a view or transpose is in its result; -1: nowhere.
int64_t moved_axis(const Node& node, int64_t axis) {
  const Shape& x = node.input(0)->shape();
  if (const Transpose* t = node.as<Transpose>()) {
    const auto at = std::ranges::find(t->perm, axis);
    return at == t->perm.end() ? -1 : at - t->perm.begin();
  }
  if (!x.ranked()) return -1;
  std::vector<int64_t> axes;
  const ExpandDims* expand = node.as<ExpandDims>();
  if (expand != nullptr)
    axes = expand->axes;
  else if (const Squeeze* squeeze = node.as<Squeeze>())
    axes = squeeze->axes;
  if (axes.empty()) return -1;
  const bool inserts = expand != nullptr;
  const int rank = x.rank() + (inserts ? static_cast<int>(axes.size()) : 0);
  for (int64_t& a : axes) a += a < 0 ? rank : 0;
  std::ranges::sort(axes);
  if (!inserts && std::ranges::find(axes, axis) != axes.end()) return -1;
  int64_t to = axis;
  for (const int64_t a : axes) to += inserts ? a <= to : -(a < axis);
  return to;
}

// f(reverse(x)) = reverse(f(x)), f moving whole dimensions about.
Result<bool> sink_reverse(Graph& graph, Node& node) {
  if (node.input_count() != 1 || node.output_count() != 1 || !node.input(0)->shape().ranked())
    return false;
  Node* inner = node.input(0)->producer();
  const Reverse* reverse = inner == nullptr ? nullptr : inner->as<Reverse>();
  const ReverseSequence* some = inner == nullptr ? nullptr : inner->as<ReverseSequence>();
  if (reverse == nullptr && some == nullptr) return false;
  const int rank = node.input(0)->shape().rank();
  const auto moved = [&](int64_t axis) { return moved_axis(node, axis < 0 ? axis + rank : axis); };
  std::unique_ptr<Op> op;
  if (reverse != nullptr) {
    Reverse changed;
    for (const int64_t axis : reverse->axes) changed.axes.push_back(moved(axis));
    if (std::ranges::find(changed.axes, -1) != changed.axes.end()) return false;
    op = make_op(std::move(changed));
  } else {
    const ReverseSequence changed{moved(some->batch_axis), moved(some->time_axis)};
    if (changed.batch_axis < 0 || changed.time_axis < 0) return false;
    op = make_op(changed);
  }
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  std::vector<Value*> operands = inner->inputs();
  operands[0] = TRY(builder.add(node.op().clone(), {operands[0]}))->output();
  Node* y = TRY(builder.add(std::move(op), std::move(operands)));
  if (!is_compatible(node.output()->type(), y->output()->type())) return false;
  replace_node(graph, node, y->output());
  return true;
}

// Twice turned around is what it was.
Result<bool> cancel_reverses(Graph& graph, Node& node) {
  const Node* inner = node.input_count() == 0 ? nullptr : node.input(0)->producer();
  if (inner == nullptr || !(node.is("reverse") || node.is("reverse_sequence")) ||
      inner->def().name != node.def().name || !node.input(0)->shape().ranked())
    return false;
  const int rank = node.input(0)->shape().rank();
  const auto axes_of = [&](const Node& n) {
    const Reverse* reverse = n.as<Reverse>();
    const ReverseSequence* some = n.as<ReverseSequence>();
    std::vector<int64_t> axes = reverse != nullptr
                                    ? reverse->axes
                                    : std::vector<int64_t>{some->batch_axis, some->time_axis};
    for (int64_t& a : axes) a += a < 0 ? rank : 0;
    if (reverse != nullptr) std::ranges::sort(axes);
    return axes;
  };
  if (axes_of(node) != axes_of(*inner) || node.input(1) != inner->input(1)) return false;
  replace_node(graph, node, inner->input(0));
  return true;
}

// layer(reverse(x)) = reverse(layer(x){reverse}).
Result<bool> fold_reverse(Graph& graph, Node& node) {
  const auto layer = layer_of(node);
  if (!layer || layer->direction == Direction::bidirectional) return false;
  const Node* turned = node.input(0)->producer();
  if (turned == nullptr) return false;
  Value* mask = node.input(layer->mask);
  const bool by_lengths = mask != nullptr && mask->dtype() != DType::boolean;
  const ReverseSequence* some = turned->as<ReverseSequence>();
  if (some != nullptr) {  // each sequence by itself, as the layer does it
    if (!by_lengths || mask != turned->input(1) || layer->hold ||
        layer->direction == Direction::reverse || some->time_axis != 0 || some->batch_axis != 1)
      return false;
  } else if (turned->as<Reverse>() == nullptr || by_lengths ||
             turned->as<Reverse>()->axes != std::vector<int64_t>{0}) {
    return false;
  }
  auto op = with_direction(node, layer->direction == Direction::forward ? "reverse" : "forward");
  if (op == nullptr) return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  const std::vector<int64_t> steps{0};
  std::vector<Value*> operands = node.inputs();
  operands[0] = turned->input(0);
  if (some == nullptr && mask != nullptr)
    operands[static_cast<size_t>(layer->mask)] =
        TRY(builder.op("reverse", {mask}, {{"axes", steps}}));
  const Node* y = TRY(builder.add(std::move(op), std::move(operands)));
  Value* sequence = some == nullptr
                        ? TRY(builder.op("reverse", {y->output()}, {{"axes", steps}}))
                        : TRY(builder.op(ReverseSequence{2, 0}, {y->output(), turned->input(1)}));
  graph.replace_all_uses(node.output(), sequence);
  for (int i = 1; i < node.output_count(); ++i)
    graph.replace_all_uses(node.output(i), y->output(i));
  return true;
}

// Whether the value is computed from constants and inputs by a few nodes, none of them a layer.
bool stands_alone(const Value* value, int& budget) {
  const Node* node = value == nullptr ? nullptr : value->producer();
  if (node == nullptr || node->is("const")) return true;
  if (--budget < 0 || layer_of(*node) || !node->regions().empty()) return false;
  return std::ranges::all_of(node->inputs(),
                             [&](const Value* v) { return stands_alone(v, budget); });
}

bool same_but_direction(const Node& a, const Node& b) {
  for (size_t i = 0; i < a.def().fields.size(); ++i)
    if (a.def().fields[i].name != "direction" && !attr_equal(a.op().get(i), b.op().get(i)))
      return false;
  return true;
}

// The layer that reads what `node` reads, in the other direction.
Node* other_direction(const Node& node, const Layer& layer) {
  constexpr int kFewNodes = 40;
  for (const Use& use : node.input(0)->uses()) {
    Node* other = use.user;
    const auto found = layer_of(*other);
    if (use.index != 0 || other->def().name != node.def().name || !found ||
        found->direction != Direction::reverse || !same_but_direction(node, *other))
      continue;
    bool fits = node.input(layer.mask) == other->input(layer.mask);
    for (int i = 1; i < std::max(node.input_count(), other->input_count()); ++i) {
      if (i == layer.mask) continue;
      const Value *a = node.input(i), *b = other->input(i);
      int budget = kFewNodes;
      fits = fits && (a == nullptr) == (b == nullptr) &&
             (a == nullptr || a->shape() == b->shape()) && stands_alone(a, budget) &&
             stands_alone(b, budget);
    }
    if (fits) return other;
  }
  return nullptr;
}

// A forward and a backward layer over one sequence are one layer of both directions.
Result<bool> merge_directions(Graph& graph, Node& node) {
  const auto layer = layer_of(node);
  if (!layer || layer->direction != Direction::forward) return false;
  Node* other = other_direction(node, *layer);
  auto op = other == nullptr ? nullptr : with_direction(node, "bidirectional");
  if (op == nullptr) return false;
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({&node, other}));
  std::vector<Value*> operands = node.inputs();
  for (int i = 1; i < node.input_count(); ++i)
    if (i != layer->mask && node.input(i) != nullptr)
      operands[static_cast<size_t>(i)] =
          TRY(builder.op("concat", {node.input(i), other->input(i)}, {{"axis", int64_t{0}}}));
  const Node* both = TRY(builder.add(std::move(op), std::move(operands)));
  for (int i = 0; i < node.output_count(); ++i) {
    const int64_t axis = i == 0 ? 1 : 0;
    const Node* parts =
        TRY(builder.node("split", {both->output(i)}, {{"axis", axis}, {"num", int64_t{2}}}));
    graph.replace_all_uses(node.output(i), parts->output(0));
    graph.replace_all_uses(other->output(i), parts->output(1));
  }
  graph.sort();
  return true;
}

// The parts of a split behind the same squeeze and transpose, joined in order.
struct SplitParts {
  const Node* split = nullptr;
  std::vector<const Node*> moves;  // from the split on
};

std::optional<SplitParts> parts_of(const Value* value, int index) {
  SplitParts found;
  for (int steps = 0; steps < 3 && value->producer() != nullptr; ++steps) {
    const Node* node = value->producer();
    if (node->is("split")) {
      found.split = node;
      std::ranges::reverse(found.moves);
      return value->index() == index ? std::optional(found) : std::nullopt;
    }
    if (node->as<Squeeze>() == nullptr && node->as<Transpose>() == nullptr) return std::nullopt;
    found.moves.push_back(node);
    value = node->input(0);
  }
  return std::nullopt;
}

bool same_moves(const SplitParts& a, const SplitParts& b) {
  return a.split == b.split &&
         std::ranges::equal(a.moves, b.moves, [](const Node* x, const Node* y) {
           if (x->def().name != y->def().name) return false;
           for (size_t i = 0; i < x->def().fields.size(); ++i)
             if (!attr_equal(x->op().get(i), y->op().get(i))) return false;
           return true;
         });
}

// concat(f(parts of a split into slices)) = reshape(transpose(x)), f a squeeze and a transpose.
Result<bool> join_split(Graph& graph, Node& node) {
  const Concat* concat = node.as<Concat>();
  if (concat == nullptr || node.input_count() < 2) return false;
  const auto first = parts_of(node.input(0), 0);
  if (!first || first->moves.empty() || first->split->output_count() != node.input_count() ||
      first->moves[0]->as<Squeeze>() == nullptr)
    return false;
  for (int i = 1; i < node.input_count(); ++i) {
    const auto part = parts_of(node.input(i), i);
    if (!part || !same_moves(*first, *part)) return false;
  }
  Value* x = first->split->input(0);
  const Shape &whole = x->shape(), &y = node.output()->shape();
  if (!whole.ranked() || !y.ranked() || y.rank() != whole.rank() - 1) return false;
  const int64_t split = first->moves[0]->as<Squeeze>()->axes.size() == 1
                            ? first->moves[0]->as<Squeeze>()->axes[0]
                            : -1;
  auto axis = std::get<int64_t>(first->split->op().get(0));
  if (axis < 0) axis += whole.rank();
  if (split != axis || whole[static_cast<int>(axis)] != Dim(node.input_count())) return false;
  int64_t at = concat->axis < 0 ? concat->axis + y.rank() : concat->axis;
  if (at != y.rank() - 1) return false;
  std::vector<int64_t> perm(static_cast<size_t>(y.rank()));
  for (int64_t d = 0; d < whole.rank(); ++d) {
    int64_t to = d;
    if (d == axis) continue;
    for (const Node* move : first->moves) to = to < 0 ? to : moved_axis(*move, to);
    if (to < 0 || to >= y.rank()) return false;
    perm[static_cast<size_t>(to)] = d;
  }
  perm.insert(perm.begin() + at, axis);
  std::vector<int64_t> target(static_cast<size_t>(y.rank()), 0);  // as they are
  target.back() = y[y.rank() - 1].size_or(-1);
  for (const Dim d : y.dims())
    if (d == Dim(0)) return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Value* moved = TRY(builder.op("transpose", {x}, {{"perm", perm}}));
  Value* joined = TRY(builder.op("reshape", {moved, builder.ints(target)}));
  if (!is_compatible(node.output()->type(), joined->type())) return false;
  replace_node(graph, node, joined);
  return true;
}

// gather(x, 0 1 2 …) = x.
Result<bool> drop_full_gather(Graph& graph, Node& node) {
  const Gather* gather = node.as<Gather>();
  const Node* range = gather == nullptr ? nullptr : node.input(1)->producer();
  const Shape& x = node.input_count() > 0 ? node.input(0)->shape() : Shape();
  if (range == nullptr || !range->is("range") || gather->batch_dims != 0 || !x.ranked() ||
      splat_value(range->input(0)) != 0.0 || splat_value(range->input(2)) != 1.0)
    return false;
  const auto axis = static_cast<int>(gather->axis < 0 ? gather->axis + x.rank() : gather->axis);
  const auto& limit = range->input(1)->ints();
  if (axis < 0 || axis >= x.rank() || !limit || limit->size() != 1 ||
      !(*limit)[0].as_dim().same(x[axis]))
    return false;
  replace_node(graph, node, node.input(0));
  return true;
}

// gather(x, 3 4 5) = x[3:6]: a slice can be moved.
Result<bool> gather_as_slice(Graph& graph, Node& node) {
  const Gather* gather = node.as<Gather>();
  const Tensor* indices = gather == nullptr ? nullptr : node.input(1)->constant();
  const Shape& x = node.input_count() > 0 ? node.input(0)->shape() : Shape();
  if (indices == nullptr || indices->rank() != 1 || indices->elements() < 2 ||
      gather->batch_dims != 0 || !x.ranked())
    return false;
  const auto axis = static_cast<int>(gather->axis < 0 ? gather->axis + x.rank() : gather->axis);
  const int64_t first = indices->int_at(0), end = first + indices->elements();
  if (axis < 0 || axis >= x.rank() || !x[axis].known() || first < 0 || end > x[axis].size())
    return false;
  for (int64_t i = 1; i < indices->elements(); ++i)
    if (indices->int_at(i) != first + i) return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Value* y = TRY(builder.op("slice", {node.input(0), builder.ints({first}), builder.ints({end})},
                            {{"axes", std::vector<int64_t>{axis}}}));
  if (!is_compatible(node.output()->type(), y->type())) return false;
  replace_node(graph, node, y);
  return true;
}

// Indices that a model moves to [0, n) itself, as Keras does: gather counts from the end, too.
Result<bool> drop_index_wrap(Graph&, Node& node) {
  static const Pattern pattern("select(less(i, 0), add(i, n), i)");
  const Gather* gather = node.as<Gather>();
  Node* select = gather == nullptr ? nullptr : node.input(1)->producer();
  const Shape& x = node.input_count() > 0 ? node.input(0)->shape() : Shape();
  Match m;
  if (select == nullptr || !x.ranked() || !pattern.match(*select, m)) return false;
  const auto axis = static_cast<int>(gather->axis < 0 ? gather->axis + x.rank() : gather->axis);
  if (axis < 0 || axis >= x.rank() || !x[axis].known() ||
      m["i"]->type() != select->output()->type())
    return false;
  const auto size = splat_value(m["n"]);
  if (!size || *size != static_cast<double>(x[axis].size())) return false;
  node.set_input(1, m["i"]);
  return true;
}

constexpr Rule kRules[] = {
    {"sink-reverse", "f(reverse(x)) = reverse(f(x)), f a transpose, squeeze or expand_dims",
     sink_reverse},
    {"cancel-reverses", "reverse(reverse(x)) = x", cancel_reverses},
    {"fold-reverse", "lstm(reverse(x)) = reverse(lstm(x){direction=reverse})", fold_reverse},
    {"merge-directions", "lstm(x) and lstm(x){direction=reverse} are one of both directions",
     merge_directions},
    {"join-split", "concat(squeeze(split(x))) = reshape(transpose(x))", join_split},
    {"drop-full-gather", "gather(x, range(0, n)) = x", drop_full_gather},
    {"gather-as-slice", "gather(x, 3 4 5) = x[3:6]", gather_as_slice},
    {"drop-index-wrap", "gather(x, i < 0 ? i + n : i) = gather(x, i), of n slices",
     drop_index_wrap},
};

}  // namespace

std::span<const Rule> sequence_rules() {
  return kRules;
}

}  // namespace tenon
