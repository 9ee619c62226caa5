// Reductions along the dimension that tensors were stacked along for them, as branches of networks
// are summed: the tensors are added, and no stack is made.
#include <algorithm>
#include <array>

#include "ops/concat.h"
#include "ops/reduce.h"
#include "ops/reshape.h"
#include "passes/passes.h"

namespace tenon {
namespace {

// Beyond so many, a kernel that reads one tensor does better than a chain of additions.
constexpr int kMostPieces = 8;

// A reduction over one axis, and the op of two operands that it repeats.
struct Reduction {
  std::string_view op;
  bool is_mean = false;
  int axis = 0;
  bool keep_dims = false;
};

template <ReduceKind K>
bool reads_as(const Node& node, std::string_view op, Reduction& found) {
  const Reduce<K>* reduce = node.as<Reduce<K>>();
  if (reduce == nullptr || reduce->axes.size() != 1 || !node.input(0)->shape().ranked())
    return false;
  const int64_t axis = reduce->axes[0];
  found = {op, K == ReduceKind::mean,
           static_cast<int>(axis < 0 ? axis + node.input(0)->shape().rank() : axis),
           reduce->keep_dims};
  // Means of integers are truncated once.
  return !found.is_mean || is_float(node.input(0)->dtype());
}

std::optional<Reduction> reduction_of(const Node& node) {
  Reduction r;
  const bool found =
      reads_as<ReduceKind::sum>(node, "add", r) || reads_as<ReduceKind::mean>(node, "add", r) ||
      reads_as<ReduceKind::max>(node, "max", r) || reads_as<ReduceKind::min>(node, "min", r);
  return found ? std::optional(r) : std::nullopt;
}

bool same_shape(const Shape& a, const Shape& b) {
  return a.ranked() && b.ranked() &&
         std::ranges::equal(a.dims(), b.dims(), [](Dim x, Dim y) { return x.same(y); });
}

// Tensors of one shape that lie side by side in another along one of its dimensions.
struct Stack {
  const Node* concat = nullptr;
  bool have_axis = false;  // that dimension with size 1
};

// Whether `split` is `whole` with dimension `axis` cut into `count` times a rest.
bool splits_axis(const Shape& whole, const Shape& split, int axis, int count) {
  if (!whole.ranked() || !split.ranked() || split.rank() != whole.rank() + 1 ||
      axis >= whole.rank() || split[axis] != Dim(count))
    return false;
  for (int i = 0; i < split.rank(); ++i) {
    if (i == axis || i == axis + 1) continue;
    if (!split[i].same(whole[i < axis ? i : i - 1])) return false;
  }
  return true;
}

std::optional<Stack> stack_of(const Value* value, int axis) {
  const Node* node = value->producer();
  const bool is_split = node != nullptr && node->is("reshape");
  if (is_split) node = node->input(0)->producer();
  const Concat* concat = node == nullptr ? nullptr : node->as<Concat>();
  if (concat == nullptr || node->input_count() < 2 || node->input_count() > kMostPieces ||
      !node->output()->shape().ranked())
    return std::nullopt;
  const Shape &whole = node->output()->shape(), &piece = node->input(0)->shape();
  if ((concat->axis < 0 ? concat->axis + whole.rank() : concat->axis) != axis) return std::nullopt;
  for (const Value* other : node->inputs())
    if (!same_shape(other->shape(), piece)) return std::nullopt;
  const bool fits = is_split ? splits_axis(whole, value->shape(), axis, node->input_count()) &&
                                   piece[axis].same(value->shape()[axis + 1])
                             : piece[axis] == Dim(1);
  return fits ? std::optional(Stack{node, !is_split}) : std::nullopt;
}

Result<Value*> without(Builder& builder, Value* value, int axis) {
  return builder.op("squeeze", {value}, {{"axes", std::vector<int64_t>{axis}}});
}

Result<std::vector<Value*>> pieces_of(Builder& builder, const Stack& stack, int axis) {
  std::vector<Value*> pieces = stack.concat->inputs();
  for (Value*& piece : pieces)
    if (stack.have_axis) piece = TRY(without(builder, piece, axis));
  return pieces;
}

// Puts what the pieces come to in the node's place.
Result<bool> reduce_pieces(Graph& graph, Node& node, Builder& builder, const Reduction& reduction,
                           const std::vector<Value*>& pieces) {
  Value* y = pieces[0];
  for (size_t i = 1; i < pieces.size(); ++i) y = TRY(builder.op(reduction.op, {y, pieces[i]}));
  if (reduction.is_mean) {
    Value* share = builder.constant(Tensor::scalar(1.0f / static_cast<float>(pieces.size())));
    if (y->dtype() != DType::f32) share = TRY(builder.op("cast", {share}, {{"to", y->dtype()}}));
    y = TRY(builder.op("mul", {y, share}));
  }
  if (reduction.keep_dims)
    y = TRY(builder.op("expand_dims", {y}, {{"axes", std::vector<int64_t>{reduction.axis}}}));
  if (!is_compatible(node.output()->type(), y->type())) return false;
  replace_node(graph, node, y);
  return true;
}

// sum(stack(x, y)) = x + y, also where the stack is a concat whose axis is split afterwards.
Result<bool> reduce_stack(Graph& graph, Node& node) {
  const auto reduction = reduction_of(node);
  const auto stack = reduction ? stack_of(node.input(0), reduction->axis) : std::nullopt;
  if (!stack) return false;
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({stack->concat, &node}));
  const auto pieces = TRY(pieces_of(builder, *stack, reduction->axis));
  return reduce_pieces(graph, node, builder, *reduction, pieces);
}

// Whether a tensor with these weights is larger than they are, whatever its dimension `axis`.
bool is_repeated(const Shape& weights, const Shape& whole, int axis) {
  const int missing = whole.rank() - weights.rank();
  for (int i = 0; i < whole.rank(); ++i)
    if (i != axis && whole[i] != Dim(1) && (i < missing || weights[i - missing] == Dim(1)))
      return true;
  return false;
}

// The weights of each of `count` pieces, their dimension `axis` of the whole gone; none where they
// are not smaller than what they weigh.
Result<std::vector<Value*>> weights_of(Builder& builder, Value* weights, const Shape& whole,
                                       int axis, int count) {
  std::vector<Value*> each(static_cast<size_t>(count), weights);
  const int at = axis - (whole.rank() - weights->shape().rank());
  if (at < 0) return each;
  if (weights->shape()[at] == Dim(1)) {
    std::ranges::fill(each, TRY(without(builder, weights, at)));
    return each;
  }
  if (weights->shape()[at] != Dim(count) || !is_repeated(weights->shape(), whole, axis))
    return std::vector<Value*>{};
  const Node* parts = TRY(builder.node(
      "split", {weights}, {{"axis", int64_t{at}}, {"num", static_cast<int64_t>(count)}}));
  for (int i = 0; i < count; ++i)
    each[static_cast<size_t>(i)] = TRY(without(builder, parts->output(i), at));
  return each;
}

// sum(stack(x, y) * w) = x * w[0] + y * w[1].
Result<bool> weigh_pieces(Graph& graph, Node& node) {
  const auto reduction = reduction_of(node);
  if (!reduction || reduction->op != "add" || !has_single_use(graph, node.input(0))) return false;
  const Node* mul = node.input(0)->producer();
  if (mul == nullptr || !mul->is("mul")) return false;
  const Shape& whole = mul->output()->shape();
  for (int side = 0; side < 2; ++side) {
    const auto stack = same_shape(mul->input(side)->shape(), whole)
                           ? stack_of(mul->input(side), reduction->axis)
                           : std::nullopt;
    Value* weights = mul->input(1 - side);
    if (!stack || !weights->shape().ranked()) continue;
    Builder builder(graph, &node);
    builder.set_origins(merge_origins({stack->concat, mul, &node}));
    const auto each =
        TRY(weights_of(builder, weights, whole, reduction->axis, stack->concat->input_count()));
    if (each.empty()) continue;
    auto pieces = TRY(pieces_of(builder, *stack, reduction->axis));
    for (size_t i = 0; i < pieces.size(); ++i)
      pieces[i] = TRY(builder.op("mul", {pieces[i], each[i]}));
    return reduce_pieces(graph, node, builder, *reduction, pieces);
  }
  return false;
}

constexpr Rule kRules[] = {
    {"reduce-stack", "sum(stack(x, y)) = x + y; means, largest and smallest likewise",
     reduce_stack},
    {"weigh-pieces", "sum(stack(x, y) * w) = x * w[0] + y * w[1]", weigh_pieces},
};

}  // namespace

std::span<const Rule> stack_rules() {
  return kRules;
}

}  // namespace tenon
