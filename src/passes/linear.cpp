// Brings matrix products and convolutions into the form the fusions and kernels want: transposes
// into attributes, no reshapes around products, as few spatial dimensions as there are.
#include <algorithm>
#include <numeric>

#include "ops/cast.h"
#include "ops/conv.h"
#include "ops/matmul.h"
#include "ops/reshape.h"
#include "ops/space_batch.h"
#include "ops/transpose.h"
#include "passes/passes.h"

namespace tenon {
namespace {

template <typename T>
const T* op_behind(const Value* value) {
  const Node* node = value == nullptr ? nullptr : value->producer();
  return node == nullptr ? nullptr : node->as<T>();
}

bool swaps_last_two(const Transpose& transpose, int rank) {
  std::vector<int64_t> perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  if (rank < 2) return false;
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return transpose.perm == perm || (rank == 2 && transpose.perm.empty());
}

Result<bool> absorb_transpose(Graph& graph, Node& node) {
  const Matmul* m = node.as<Matmul>();
  if (m == nullptr) return false;
  for (int i = 0; i < 2; ++i) {
    const Value* operand = node.input(i);
    const Transpose* t = op_behind<Transpose>(operand);
    if (t == nullptr || !operand->shape().ranked() || !swaps_last_two(*t, operand->shape().rank()))
      continue;
    Matmul changed = *m;
    (i == 0 ? changed.transpose_a : changed.transpose_b) ^= true;
    std::vector<Value*> operands = node.inputs();
    operands[static_cast<size_t>(i)] = operand->producer()->input(0);
    Builder builder(graph, &node);
    builder.set_origins(merge_origins({operand->producer(), &node}));
    replace_node(graph, node, TRY(builder.op(changed, std::move(operands))));
    return true;
  }
  return false;
}

// Whether `flat` is `full` with leading dimensions merged, the last one kept.
bool merges_leading(const Shape& full, const Shape& flat) {
  return full.ranked() && flat.ranked() && flat.rank() == 2 && full.rank() > 2 &&
         full[full.rank() - 1].known() && full[full.rank() - 1] == flat[1];
}

// reshape(matmul(reshape(x), w, b)) = matmul(x, w, b) with w a matrix.
Result<bool> drop_reshapes_around(Graph& graph, Node& node) {
  if (node.as<Reshape>() == nullptr) return false;
  const Matmul* m = op_behind<Matmul>(node.input(0));
  if (m == nullptr || !has_single_use(graph, node.input(0)) || m->transpose_a) return false;
  Node* product = node.input(0)->producer();
  if (op_behind<Reshape>(product->input(0)) == nullptr || product->input(3) != nullptr ||
      product->input(1)->shape().rank() != 2 || !product->input(1)->shape().ranked())
    return false;
  Value* x = product->input(0)->producer()->input(0);
  const Shape& y = node.output()->shape();
  if (!merges_leading(x->shape(), product->input(0)->shape()) ||
      !merges_leading(y, product->output()->shape()) || x->shape().rank() != y.rank())
    return false;
  int open = 0;  // one dimension follows from the others and the number of elements
  for (int i = 0; i + 1 < y.rank(); ++i) {
    const bool unknown = !y[i].known() && !y[i].is_symbol();
    if (!unknown && x->shape()[i] != y[i]) return false;
    open += unknown;
  }
  if (open > 1) return false;
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({product, &node}));
  Value* result = TRY(builder.op(*m, {x, product->input(1), product->input(2)}));
  if (!is_compatible(node.output()->type(), result->type())) return false;
  replace_node(graph, node, result);
  return true;
}

// The operand of a reshape to [batch, m, n] that merges all leading dimensions but for ones before
// the last two: x and its leading dimensions.
struct Unmerged {
  Value* x = nullptr;
  std::vector<Dim> batch;
};

std::optional<Unmerged> unmerged(const Value* value) {
  const Node* reshape = value->producer();
  const Shape& merged = value->shape();
  if (reshape == nullptr || !reshape->is("reshape") || !merged.ranked() || merged.rank() != 3)
    return std::nullopt;
  Unmerged u{reshape->input(0), {}};
  const Shape& x = u.x->shape();
  if (!x.ranked() || x.rank() < 4) return std::nullopt;
  Dim product = 1;
  int i = 0;
  for (; i + 2 < x.rank() && !product.same(merged[0]); ++i) {
    product = product * x[i];
    u.batch.push_back(x[i]);
  }
  std::vector<Dim> matrix;
  for (; i < x.rank(); ++i)
    if (x[i] != Dim(1)) matrix.push_back(x[i]);
  for (const int at : {2, 1})
    if (merged[at] == Dim(1))
      matrix.insert(matrix.begin() + std::min<ptrdiff_t>(at - 1, std::ssize(matrix)), Dim(1));
  return product.same(merged[0]) && u.batch.size() > 1 && matrix.size() == 2 &&
                 matrix[0].same(merged[1]) && matrix[1].same(merged[2])
             ? std::optional(u)
             : std::nullopt;
}

// [batch…, m, n] as a reshape takes it; nothing where more than one is not known.
std::optional<std::vector<int64_t>> batched(const std::vector<Dim>& batch, Dim m, Dim n) {
  std::vector<int64_t> target;
  target.reserve(batch.size() + 2);
  for (const Dim d : batch) target.push_back(d.size_or(-1));
  target.insert(target.end(), {m.size_or(-1), n.size_or(-1)});
  if (std::ranges::count(target, -1) > 1 || std::ranges::count(target, 0) > 0) return std::nullopt;
  return target;
}

// reshape(matmul(reshape(x), reshape(y))) = reshape(matmul(x, y)): products over several leading
// dimensions that were merged for it and split after it.
Result<bool> unmerge_batch(Graph& graph, Node& node) {
  const Matmul* m = node.is("reshape") ? op_behind<Matmul>(node.input(0)) : nullptr;
  if (m == nullptr || !has_single_use(graph, node.input(0))) return false;
  Node* product = node.input(0)->producer();
  if (product->input_count() != 2) return false;
  const auto a = unmerged(product->input(0)), b = unmerged(product->input(1));
  if (!a || !b || a->batch.size() != b->batch.size()) return false;
  for (size_t i = 0; i < a->batch.size(); ++i)
    if (!a->batch[i].same(b->batch[i])) return false;
  const Shape &y = node.output()->shape(), &x = product->output()->shape();
  if (!y.ranked() || !x.ranked() || x.rank() != 3 || y.rank() < std::ssize(a->batch)) return false;
  for (size_t i = 0; i < a->batch.size(); ++i)
    if (!y[static_cast<int>(i)].same(a->batch[i])) return false;
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({product, &node}));
  std::vector<Value*> operands;
  for (const int i : {0, 1}) {
    const Shape& s = product->input(i)->shape();
    const auto target = batched(a->batch, s[1], s[2]);
    if (!target) return false;
    operands.push_back(TRY(builder.op("reshape", {(i == 0 ? a : b)->x, builder.ints(*target)})));
  }
  std::vector<int64_t> target;
  for (const Dim d : y.dims()) target.push_back(d.size_or(-1));
  if (std::ranges::count(target, -1) > 1 || std::ranges::count(target, 0) > 0) return false;
  Value* result = TRY(builder.op(*m, operands));
  result = TRY(builder.op("reshape", {result, builder.ints(target)}));
  if (!is_compatible(node.output()->type(), result->type())) return false;
  replace_node(graph, node, result);
  return true;
}

// reshape(x) + b = reshape(x + flat b), where the reshape splits the last dimension into the ones
// that b has: the bias then goes into what computes x.
Result<bool> sink_split_bias(Graph& graph, Node& node) {
  if (!node.is("add")) return false;
  for (int i = 0; i < 2; ++i) {
    const Value* split = node.input(i);
    const Tensor* bias = node.input(1 - i)->constant();
    if (op_behind<Reshape>(split) == nullptr || bias == nullptr || !has_single_use(graph, split))
      continue;
    Node* reshape = split->producer();
    Value* x = reshape->input(0);
    const Shape &full = split->shape(), &flat = x->shape();
    if (node.output()->shape() != full || !full.ranked() || !flat.ranked() || flat.rank() == 0 ||
        !flat[flat.rank() - 1].known() || reshape->input(1)->constant() == nullptr)
      continue;
    // As many trailing dimensions as make up the last one of x, all of them in the bias.
    int64_t product = 1;
    int first = full.rank();
    while (first > 0 && full[first - 1].known() && product < flat[flat.rank() - 1].size())
      product *= full[--first].size();
    const int count = full.rank() - first;
    if (product != flat[flat.rank() - 1].size() || count < 2 || bias->elements() != product ||
        bias->rank() < count)
      continue;
    bool fits = true;
    for (int d = 0; d < bias->rank(); ++d) {
      const int at = full.rank() - bias->rank() + d;
      fits &= at >= 0 && (at < first ? bias->dim(d) == 1 : full[at] == Dim(bias->dim(d)));
    }
    if (!fits) continue;
    Builder builder(graph, &node);
    builder.set_origins(node.origins);
    Value* sum = TRY(builder.op("add", {x, builder.constant(bias->reshaped({product}))}));
    Node* moved = TRY(builder.add(reshape->op().clone(), {sum, reshape->input(1)}));
    moved->origins = reshape->origins;
    if (moved->output()->type() != node.output()->type()) return false;
    graph.replace_all_uses(node.output(), moved->output());
    return true;
  }
  return false;
}

// Whether a constant has one element for each of the last dimension of any tensor with so many.
bool is_constant_row(const Value& v, int64_t size) {
  return v.constant() != nullptr && v.shape().rank() == 1 && v.constant()->elements() == size;
}

// f(reshape(product)) = reshape(f(product)), where f may then go into the product.
Result<bool> sink_view(Graph& graph, Node& node) {
  if (!(node.def().has(kPointwise) || node.is("batch_norm")) || node.output_count() != 1 ||
      node.is("cast"))
    return false;
  int at = -1;
  bool has_rows = false;
  const Shape& y = node.output()->shape();
  const int64_t last = y.ranked() && y.rank() > 0 ? y[y.rank() - 1].size_or(-1) : -1;
  for (int i = 0; i < node.input_count(); ++i) {
    const Value* v = node.input(i);
    if (v != nullptr && v->constant() != nullptr && v->constant()->elements() == 1) continue;
    if (v != nullptr && is_constant_row(*v, last)) {
      has_rows = true;
      continue;
    }
    if (at >= 0 || v == nullptr) return false;
    at = i;
  }
  if (at < 0) return false;
  Value* viewed = node.input(at);
  Node* view = viewed->producer();
  if (view == nullptr || !view->def().has(kView) || view->output_count() != 1 ||
      !has_single_use(graph, viewed) || node.output()->shape() != viewed->shape())
    return false;
  Value* x = view->input(0);
  if ((op_behind<Matmul>(x) == nullptr && op_behind<Conv>(x) == nullptr) ||
      !has_single_use(graph, x) || !x->shape().ranked() || x->shape().rank() == 0)
    return false;
  if (has_rows && x->shape()[x->shape().rank() - 1] != Dim(last)) return false;
  for (const Value* v : node.inputs())
    if (v != viewed && v->shape().rank() > x->shape().rank()) return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  std::vector<Value*> operands = node.inputs();
  operands[static_cast<size_t>(at)] = x;
  Node* moved = TRY(builder.add(node.op().clone(), std::move(operands)));
  if (moved->output()->shape() != x->shape()) return false;
  std::vector<Value*> view_operands = view->inputs();
  view_operands[0] = moved->output();
  Node* result = TRY(builder.add(view->op().clone(), std::move(view_operands)));
  result->origins = view->origins;
  if (result->output()->type() != node.output()->type()) return false;
  graph.replace_all_uses(node.output(), result->output());
  return true;
}

// cast(cast(x)), the first one losing nothing.
Result<bool> merge_casts(Graph& graph, Node& node) {
  const Cast* outer = node.as<Cast>();
  const Cast* inner = outer == nullptr ? nullptr : op_behind<Cast>(node.input(0));
  if (inner == nullptr) return false;
  Value* x = node.input(0)->producer()->input(0);
  const DType from = x->dtype(), middle = inner->to;
  const auto bits = [](DType d) { return dtype_size(d); };
  const bool exact = (is_int(from) && is_int(middle) && bits(middle) > bits(from)) ||
                     (is_float(from) && is_float(middle) && bits(middle) > bits(from)) ||
                     (from == DType::boolean && (is_int(middle) || is_float(middle)));
  if (!exact || (is_int(from) && !is_signed_int(middle) && is_signed_int(from))) return false;
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({node.input(0)->producer(), &node}));
  if (from == outer->to)
    replace_node(graph, node, x);
  else
    replace_node(graph, node, TRY(builder.op(Cast{outer->to}, {x})));
  return true;
}

// The spatial dimension (0, 1, …) of size 1 that a view has just put into `value`; -1 for none.
int inserted_spatial(const Value* value) {
  const Node* view = value->producer();
  if (view == nullptr || !(view->is("expand_dims") || view->is("reshape"))) return -1;
  const Shape &before = view->input(0)->shape(), &after = value->shape();
  if (!before.ranked() || !after.ranked() || after.rank() != before.rank() + 1 || before.rank() < 3)
    return -1;
  for (int at = 1; at + 1 < after.rank(); ++at) {
    if (after[at] != Dim(1)) continue;
    bool same = true;
    int unknown = 0;
    for (int i = 0; i < before.rank(); ++i) {
      const Dim d = before[i], e = after[i < at ? i : i + 1];
      same &= d == e;
      unknown += !d.known() && !d.is_symbol();
    }
    if (same && (unknown <= 1 || view->is("expand_dims"))) return at - 1;
  }
  return -1;
}

// conv over a dimension that was inserted only for it = conv over the others.
Result<bool> drop_spatial_dimension(Graph& graph, Node& node) {
  const Conv* conv = node.as<Conv>();
  if (conv == nullptr || node.input(3) != nullptr || conv->auto_pad != AutoPad::none) return false;
  const int axis = inserted_spatial(node.input(0));
  const Shape& w = node.input(1)->shape();
  const int spatial = node.input(0)->shape().rank() - 2;
  if (axis < 0 || spatial < 2 || !w.is_static() || w.rank() != spatial + 2 || w[axis] != Dim(1))
    return false;
  const auto at = static_cast<size_t>(axis);
  Conv less = *conv;
  if (!less.pads.empty()) {
    if (less.pads.size() != 2 * static_cast<size_t>(spatial) || less.pads[at] != 0 ||
        less.pads[at + static_cast<size_t>(spatial)] != 0)
      return false;
    less.pads.erase(less.pads.begin() + axis + spatial);
    less.pads.erase(less.pads.begin() + axis);
  }
  for (auto* list : {&less.strides, &less.dilations})
    if (!list->empty()) list->erase(list->begin() + axis);
  std::vector<int64_t> filter = w.sizes();
  filter.erase(filter.begin() + axis);
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({node.input(0)->producer(), &node}));
  Value* weights = TRY(builder.op("reshape", {node.input(1), builder.ints(filter)}));
  Value* y = TRY(builder.op(less, {node.input(0)->producer()->input(0), weights, node.input(2)}));
  Value* expanded = TRY(builder.op("expand_dims", {y}, {{"axes", std::vector<int64_t>{axis + 1}}}));
  if (!is_compatible(node.output()->type(), expanded->type())) return false;
  graph.replace_all_uses(node.output(), expanded);
  return true;
}

// Dilation as TensorFlow used to write it: batch_to_space(conv(space_to_batch(x))).
Result<bool> recognise_dilation(Graph& graph, Node& node) {
  if (node.as<BatchToSpace>() == nullptr) return false;
  const Conv* conv = op_behind<Conv>(node.input(0));
  if (conv == nullptr || conv->auto_pad != AutoPad::none || !has_single_use(graph, node.input(0)))
    return false;
  Node* product = node.input(0)->producer();
  if (op_behind<SpaceToBatch>(product->input(0)) == nullptr || product->input(3) != nullptr)
    return false;
  const Node* split = product->input(0)->producer();
  const Tensor* constants[] = {split->input(1)->constant(), split->input(2)->constant(),
                               node.input(1)->constant(), node.input(2)->constant()};
  for (const Tensor* t : constants)
    if (t == nullptr) return false;
  const auto block = constants[0]->to_ints(), pads = constants[1]->to_ints(),
             crops = constants[3]->to_ints();
  const auto n = static_cast<size_t>(std::max(product->input(0)->shape().rank() - 2, 0));
  const auto all = [](const std::vector<int64_t>& list, int64_t value) {
    return std::ranges::all_of(list, [&](int64_t v) { return v == value; });
  };
  if (n == 0 || block.size() != n || pads.size() != 2 * n || crops.size() != 2 * n ||
      block != constants[2]->to_ints() || !all(conv->strides, 1) || !all(conv->pads, 0) ||
      !all(conv->dilations, 1))
    return false;
  Conv dilated = *conv;
  dilated.dilations = block;
  dilated.pads.assign(2 * n, 0);
  for (size_t i = 0; i < n; ++i) {
    dilated.pads[i] = pads[2 * i] - crops[2 * i];
    dilated.pads[i + n] = pads[2 * i + 1] - crops[2 * i + 1];
    if (dilated.pads[i] < 0 || dilated.pads[i + n] < 0) return false;
  }
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({split, product, &node}));
  Value* y = TRY(builder.op(dilated, {split->input(0), product->input(1), product->input(2)}));
  if (!is_compatible(node.output()->type(), y->type())) return false;
  graph.replace_all_uses(node.output(), y);
  return true;
}

constexpr Rule kRules[] = {
    {"absorb-transpose", "matmul(transpose(x), y) = matmul(x, y){transpose_a}", absorb_transpose},
    {"drop-reshapes-around-matmul", "reshape(matmul(reshape(x), w)) = matmul(x, w)",
     drop_reshapes_around},
    {"unmerge-batch", "reshape(matmul(reshape(x), reshape(y))) = matmul(x, y)", unmerge_batch},
    {"sink-split-bias", "reshape(x) + b = reshape(x + flat b)", sink_split_bias},
    {"sink-view", "f(reshape(matmul(x, y))) = reshape(f(matmul(x, y)))", sink_view},
    {"merge-casts", "cast(cast(x)) = cast(x), the first losing nothing", merge_casts},
    {"drop-spatial-dimension", "conv over a dimension of size 1 inserted for it is one without",
     drop_spatial_dimension},
    {"recognise-dilation", "batch_to_space(conv(space_to_batch(x))) = conv(x){dilations}",
     recognise_dilation},
};

}  // namespace

std::span<const Rule> linear_rules() {
  return kRules;
}

}  // namespace tenon
