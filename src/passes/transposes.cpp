// Moves transposes towards the outputs, past what works element by element, so that they meet their
// inverses and vanish. This is how models written channels-first come to run channels-last.
#include <algorithm>

#include "ops/concat.h"
#include "ops/reshape.h"
#include "ops/slice.h"
#include "passes/passes.h"

namespace tenon {
namespace {

using Perm = std::vector<int64_t>;

// The permutation of the transpose that computes `value`; empty when it is no transpose.
Perm perm_of(const Value* value) {
  const Node* node = value == nullptr ? nullptr : value->producer();
  if (node == nullptr || !node->is("transpose")) return {};
  return std::get<std::vector<int64_t>>(node->op().get(0));
}

Perm inverse(const Perm& perm) {
  Perm result(perm.size());
  for (size_t i = 0; i < perm.size(); ++i)
    result[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  return result;
}

// Puts op(operands) before `node` and its transpose in the node's place.
Result<bool> sink(Graph& graph, Node& node, std::unique_ptr<Op> op, std::vector<Value*> operands,
                  const Perm& perm) {
  const TensorType type = node.output()->type();
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Node* moved = TRY(builder.add(std::move(op), std::move(operands)));
  Value* y = TRY(builder.op("transpose", {moved->output()}, {{"perm", perm}}));
  if (y->dtype() != type.dtype || !merge_shapes(y->shape(), type.shape)) return false;
  graph.replace_all_uses(node.output(), y);
  return true;
}

Result<bool> sink_unary(Graph& graph, Node& node) {
  const bool is_unary = node.input_count() == 1 && node.output_count() == 1 &&
                        (node.def().has(kPointwise) || node.is("cast"));
  if (!is_unary && !node.is("byte_lookup")) return false;
  const Perm perm = perm_of(node.input(0));
  if (perm.empty()) return false;
  std::vector<Value*> operands = node.inputs();
  operands[0] = node.input(0)->producer()->input(0);
  return sink(graph, node, node.op().clone(), std::move(operands), perm);
}

// Whether a transpose by `perm` moves only dimensions of size 1: a view.
bool moves_only_ones(const Shape& x, const Perm& perm) {
  if (!x.ranked() || x.rank() != static_cast<int>(perm.size())) return false;
  int64_t last = -1;
  for (const int64_t axis : perm) {
    const Dim d = x[static_cast<int>(axis)];
    if (d == Dim(0)) return false;
    if (d == Dim(1)) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

// What `untransposed` can give without moving data at run time.
bool can_be_untransposed(const Value* value, const Perm& perm) {
  return value != nullptr && (perm_of(value) == perm || value->constant() != nullptr ||
                              moves_only_ones(value->shape(), inverse(perm)));
}

// A value seen through the inverse of `perm`: a transpose's operand, a splat, or a constant or
// dimensions of size 1 moved.
Result<Value*> untransposed(Builder& builder, Value* value, const Perm& perm) {
  const Perm own = perm_of(value);
  if (own == perm) return value->producer()->input(0);
  const Tensor* t = value->constant();
  if (t == nullptr) return builder.op("transpose", {value}, {{"perm", inverse(perm)}});
  if (t->elements() == 1) return value;
  std::vector<int64_t> dims(perm.size(), 1);
  std::copy(t->dims().begin(), t->dims().end(), dims.end() - t->rank());
  Value* full =
      t->rank() == static_cast<int>(perm.size()) ? value : builder.constant(t->reshaped(dims));
  return builder.op("transpose", {full}, {{"perm", inverse(perm)}});
}

// Whether transposes by `perm` are among the operands as views alone and others would need such a
// view to follow: they would take turns for ever.
bool exchanges_views(const Node& node, const Perm& perm) {
  bool needs_views = false;
  for (const Value* v : node.inputs())
    if (perm_of(v) != perm)
      needs_views |= v->constant() == nullptr;
    else if (!moves_only_ones(v->producer()->input(0)->shape(), perm))
      return false;
  return needs_views;
}

// Pointwise ops of several operands, at least one of them transposed, the others alike or such that
// nothing has to be moved for it.
Result<bool> sink_pointwise(Graph& graph, Node& node) {
  if (node.input_count() < 2 || !node.def().has(kPointwise) || node.output_count() != 1)
    return false;
  Perm perm;
  for (const Value* v : node.inputs())
    if (perm.empty()) perm = perm_of(v);
  for (const Value* v : node.inputs())
    if (perm.empty() || !can_be_untransposed(v, perm)) return false;
  if (node.output()->shape().rank() != static_cast<int>(perm.size()) || exchanges_views(node, perm))
    return false;
  for (const Value* v : node.inputs())
    if (const Tensor* t = v->constant(); t != nullptr && t->rank() > static_cast<int>(perm.size()))
      return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  std::vector<Value*> operands;
  for (Value* v : node.inputs()) operands.push_back(TRY(untransposed(builder, v, perm)));
  return sink(graph, node, node.op().clone(), std::move(operands), perm);
}

Result<bool> sink_concat(Graph& graph, Node& node) {
  if (!node.is("concat") || node.input_count() == 0) return false;
  const Perm perm = perm_of(node.input(0));
  if (perm.empty()) return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  std::vector<Value*> operands;
  for (Value* v : node.inputs()) {
    const Tensor* t = v->constant();
    if (!can_be_untransposed(v, perm) || (t != nullptr && t->elements() == 1)) return false;
    operands.push_back(TRY(untransposed(builder, v, perm)));
  }
  auto axis = std::get<int64_t>(node.op().get(0));
  if (axis < 0) axis += static_cast<int64_t>(perm.size());
  auto op = node.op().clone();
  TRY(op->set(0, perm[static_cast<size_t>(axis)]));
  return sink(graph, node, std::move(op), std::move(operands), perm);
}

// `perm` without the dimensions of the result that are dropped; `is_dropped` says it of x's.
Perm without(const Perm& perm, const std::vector<bool>& is_dropped) {
  std::vector<int64_t> position(perm.size(), -1);
  int64_t next = 0;
  for (size_t d = 0; d < perm.size(); ++d)
    if (!is_dropped[d]) position[d] = next++;
  Perm result;
  for (const int64_t d : perm)
    if (!is_dropped[static_cast<size_t>(d)]) result.push_back(position[static_cast<size_t>(d)]);
  return result;
}

// A reduction over permuted axes; kept dimensions are permuted after it, dropped ones leave the
// rest in the transposed order.
Result<bool> sink_reduction(Graph& graph, Node& node) {
  constexpr std::string_view kReductions[] = {"sum",  "mean", "reduce_max", "reduce_min",
                                              "prod", "all",  "any"};
  if (std::ranges::find(kReductions, node.def().name) == std::end(kReductions)) return false;
  const Perm perm = perm_of(node.input(0));
  auto axes = std::get<std::vector<int64_t>>(node.op().get(0));
  if (perm.empty() || axes.empty()) return false;
  const auto rank = static_cast<int64_t>(perm.size());
  std::vector<bool> reduced(perm.size());
  for (int64_t& axis : axes) {
    axis = perm[static_cast<size_t>(axis < 0 ? axis + rank : axis)];
    reduced[static_cast<size_t>(axis)] = true;
  }
  const Perm result = std::get<bool>(node.op().get(1)) ? perm : without(perm, reduced);
  auto op = node.op().clone();
  TRY(op->set(0, axes));
  return sink(graph, node, std::move(op), {node.input(0)->producer()->input(0)}, result);
}

Result<bool> sink_pad(Graph& graph, Node& node) {
  if (!node.is("pad") || node.input(1)->constant() == nullptr) return false;
  const Perm perm = perm_of(node.input(0));
  const auto pads = node.input(1)->constant()->to_ints();
  if (perm.empty() || pads.size() != 2 * perm.size()) return false;
  for (size_t i = 0; i < node.def().fields.size(); ++i)
    if (node.def().fields[i].name == "axes" && !node.op().is_default(i)) return false;
  std::vector<int64_t> moved(pads.size());
  for (size_t i = 0; i < perm.size(); ++i) {
    moved[static_cast<size_t>(perm[i])] = pads[i];
    moved[static_cast<size_t>(perm[i]) + perm.size()] = pads[i + perm.size()];
  }
  Builder builder(graph, &node);
  std::vector<Value*> operands = node.inputs();
  operands[0] = node.input(0)->producer()->input(0);
  operands[1] = builder.ints(moved);
  return sink(graph, node, node.op().clone(), std::move(operands), perm);
}

Result<bool> sink_slice(Graph& graph, Node& node) {
  const Slice* slice = node.as<Slice>();
  if (slice == nullptr || slice->axes.empty()) return false;
  const Perm perm = perm_of(node.input(0));
  if (perm.empty()) return false;
  const auto rank = static_cast<int64_t>(perm.size());
  std::vector<int64_t> axes = slice->axes;
  for (int64_t& axis : axes) axis = perm[static_cast<size_t>(axis < 0 ? axis + rank : axis)];
  auto op = node.op().clone();
  TRY(op->set(0, axes));
  std::vector<Value*> operands = node.inputs();
  operands[0] = node.input(0)->producer()->input(0);
  return sink(graph, node, std::move(op), std::move(operands), perm);
}

// Parts of a transposed tensor are transposed parts.
Result<bool> sink_split(Graph& graph, Node& node) {
  const Split* split = node.as<Split>();
  const Perm perm = split == nullptr ? Perm() : perm_of(node.input(0));
  if (perm.empty()) return false;
  const auto rank = static_cast<int64_t>(perm.size());
  auto op = node.op().clone();
  TRY(op->set(0, perm[static_cast<size_t>(split->axis < 0 ? split->axis + rank : split->axis)]));
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Node* parts = TRY(builder.add(std::move(op), {node.input(0)->producer()->input(0)}));
  for (int i = 0; i < node.output_count(); ++i)
    graph.replace_all_uses(node.output(i),
                           TRY(builder.op("transpose", {parts->output(i)}, {{"perm", perm}})));
  return true;
}

Result<bool> sink_squeeze(Graph& graph, Node& node) {
  const Squeeze* squeeze = node.as<Squeeze>();
  const Perm perm = squeeze == nullptr ? Perm() : perm_of(node.input(0));
  if (perm.empty() || squeeze->axes.empty()) return false;
  Squeeze moved = *squeeze;
  std::vector<bool> is_dropped(perm.size());
  for (int64_t& axis : moved.axes) {
    axis = perm[static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(perm.size()) : axis)];
    is_dropped[static_cast<size_t>(axis)] = true;
  }
  return sink(graph, node, make_op(moved), {node.input(0)->producer()->input(0)},
              without(perm, is_dropped));
}

Result<bool> sink_softmax(Graph& graph, Node& node) {
  if (!node.is("softmax") && !node.is("log_softmax")) return false;
  const Perm perm = perm_of(node.input(0));
  if (perm.empty()) return false;
  auto axis = std::get<int64_t>(node.op().get(0));
  if (axis < 0) axis += static_cast<int64_t>(perm.size());
  const int64_t moved = perm[static_cast<size_t>(axis)];
  // The kernels want the last axis: do not make a good softmax a strided one.
  if (axis == static_cast<int64_t>(perm.size()) - 1 && moved != axis) return false;
  auto op = node.op().clone();
  TRY(op->set(0, moved));
  return sink(graph, node, std::move(op), {node.input(0)->producer()->input(0)}, perm);
}

// Quantisation by one scale, or by one per index of an axis, which moves along.
Result<bool> sink_quantisation(Graph& graph, Node& node) {
  if (!node.is("quantize_linear") && !node.is("dequantize_linear")) return false;
  const Perm perm = perm_of(node.input(0));
  if (perm.empty()) return false;
  auto op = node.op().clone();
  auto axis = std::get<int64_t>(op->get(0));
  const auto rank = static_cast<int64_t>(perm.size());
  if (axis < 0) axis += rank;
  if (axis >= 0 && axis < rank) TRY(op->set(0, perm[static_cast<size_t>(axis)]));
  std::vector<Value*> operands = node.inputs();
  operands[0] = node.input(0)->producer()->input(0);
  return sink(graph, node, std::move(op), std::move(operands), perm);
}

// A transpose that only moves dimensions of size 1 is a reshape.
Result<bool> transpose_as_reshape(Graph& graph, Node& node) {
  if (!node.is("transpose")) return false;
  const Perm perm = perm_of(node.output());
  const Shape& x = node.input(0)->shape();
  if (perm.empty() || !moves_only_ones(x, perm)) return false;
  int unknown = 0;
  std::vector<int64_t> target;
  for (const int64_t axis : perm) {
    const Dim d = x[static_cast<int>(axis)];
    unknown += !d.known();
    target.push_back(d.size_or(-1));
  }
  if (unknown > 1) return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  replace_node(graph, node, TRY(builder.op("reshape", {node.input(0), builder.ints(target)})));
  return true;
}

// Dimensions of a reshape's operand that become dimensions of its result: products are equal.
struct DimGroup {
  int from = 0, from_end = 0;
  int to = 0, to_end = 0;
};

// The finest grouping; nothing where sizes that are not known are merged or split.
std::optional<std::vector<DimGroup>> dim_groups(const Shape& x, const Shape& y) {
  if (!x.ranked() || !y.ranked()) return std::nullopt;
  std::vector<DimGroup> groups;
  int i = 0, j = 0;
  while (i < x.rank() && j < y.rank()) {
    DimGroup g{i, i + 1, j, j + 1};
    if (!x[i].same(y[j])) {
      if (!x[i].known() || !y[j].known()) return std::nullopt;
      int64_t a = x[i].size(), b = y[j].size();
      while (a != b) {
        int& end = a < b ? g.from_end : g.to_end;
        const Shape& shape = a < b ? x : y;
        if (a == 0 || b == 0 || end >= shape.rank() || !shape[end].known()) return std::nullopt;
        (a < b ? a : b) *= shape[end++].size();
      }
    }
    i = g.from_end;
    j = g.to_end;
    groups.push_back(g);
  }
  // What is left has size 1: it goes with the last group.
  for (; i < x.rank(); ++i)
    if (groups.empty() || x[i] != Dim(1)) return std::nullopt;
  for (; j < y.rank(); ++j)
    if (groups.empty() || y[j] != Dim(1)) return std::nullopt;
  if (groups.empty()) return std::nullopt;
  groups.back().from_end = x.rank();
  groups.back().to_end = y.rank();
  return groups;
}

// The sizes as a reshape takes them; nothing where more than one is not known.
std::optional<std::vector<int64_t>> reshape_target(const std::vector<Dim>& dims) {
  std::vector<int64_t> target;
  for (const Dim d : dims) {
    if (d == Dim(0)) return std::nullopt;
    target.push_back(d.size_or(-1));
  }
  if (std::ranges::count(target, -1) > 1) return std::nullopt;
  return target;
}

// reshape(transpose(x)) = transpose(reshape(x)), where what is merged or split lies together in x.
Result<bool> sink_through_reshape(Graph& graph, Node& node) {
  if (!node.is("reshape") || !has_single_use(graph, node.input(0))) return false;
  const Perm perm = perm_of(node.input(0));
  const auto groups = dim_groups(node.input(0)->shape(), node.output()->shape());
  if (perm.empty() || !groups) return false;
  // Dimensions of size 1 lie anywhere: how many others there are before each.
  Value* x = node.input(0)->producer()->input(0);
  std::vector<int64_t> others;
  int64_t count = 0;
  for (int d = 0; d < x->shape().rank(); ++d) {
    others.push_back(count);
    count += x->shape()[d] != Dim(1);
  }
  std::vector<std::pair<int64_t, const DimGroup*>> order;  // as they lie in x
  for (const DimGroup& g : *groups) {
    int64_t last = -1, place = perm[static_cast<size_t>(g.from)];
    for (int i = g.from; i < g.from_end; ++i) {
      const int64_t axis = perm[static_cast<size_t>(i)];
      const int64_t at = others[static_cast<size_t>(axis)];
      if (x->shape()[static_cast<int>(axis)] == Dim(1)) continue;
      if (last >= 0 && at != last + 1) return false;
      if (last < 0) place = axis;
      last = at;
    }
    order.emplace_back(place, &g);
  }
  std::ranges::sort(order);
  std::vector<Dim> dims;
  Perm moved(static_cast<size_t>(node.output()->shape().rank()));
  for (const auto& [place, g] : order)
    for (int j = g->to; j < g->to_end; ++j) {
      moved[static_cast<size_t>(j)] = static_cast<int64_t>(dims.size());
      dims.push_back(node.output()->shape()[j]);
    }
  const auto target = reshape_target(dims);
  if (!target) return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Value* y = TRY(builder.op("reshape", {x, builder.ints(*target)}));
  y = TRY(builder.op("transpose", {y}, {{"perm", moved}}));
  if (!is_compatible(node.output()->type(), y->type())) return false;
  graph.replace_all_uses(node.output(), y);
  return true;
}

// transpose(reshape(transpose(x))) = reshape(transpose(x)): one movement, where what is merged or
// split stays together to the end. Channels are shuffled like this.
Result<bool> merge_through_reshape(Graph& graph, Node& node) {
  const Perm outer = perm_of(node.output_count() == 0 ? nullptr : node.output());
  const Node* reshape = outer.empty() ? nullptr : node.input(0)->producer();
  if (reshape == nullptr || !reshape->is("reshape")) return false;
  const Perm inner = perm_of(reshape->input(0));
  const auto groups = dim_groups(reshape->input(0)->shape(), reshape->output()->shape());
  if (inner.empty() || !groups) return false;
  Perm perm;
  for (size_t k = 0; k < outer.size();) {
    const auto g = std::ranges::find(*groups, outer[k], [](const DimGroup& d) { return d.to; });
    if (g == groups->end()) return false;
    for (int j = g->to; j < g->to_end; ++j, ++k)
      if (k >= outer.size() || outer[k] != j) return false;
    perm.insert(perm.end(), inner.begin() + g->from, inner.begin() + g->from_end);
  }
  const auto target = reshape_target(node.output()->shape().dims());
  if (!target) return false;
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({reshape, &node}));
  Value* x = reshape->input(0)->producer()->input(0);
  Value* y = TRY(builder.op("transpose", {x}, {{"perm", perm}}));
  y = TRY(builder.op("reshape", {y, builder.ints(*target)}));
  if (!is_compatible(node.output()->type(), y->type())) return false;
  graph.replace_all_uses(node.output(), y);
  return true;
}

constexpr Rule kRules[] = {
    {"merge-transposes-through-reshape", "transpose(reshape(transpose(x))) = reshape(transpose(x))",
     merge_through_reshape},
    {"sink-transpose-reshape", "reshape(transpose(x)) = transpose(reshape(x))",
     sink_through_reshape},
    {"sink-transpose-unary", "f(transpose(x)) = transpose(f(x))", sink_unary},
    {"sink-transpose-pointwise", "f(transpose(x), transpose(y)) = transpose(f(x, y))",
     sink_pointwise},
    {"sink-transpose-concat", "concat(transpose(x), transpose(y)) = transpose(concat(x, y))",
     sink_concat},
    {"sink-transpose-reduction", "sum(transpose(x)) = transpose(sum(x))", sink_reduction},
    {"sink-transpose-pad", "pad(transpose(x)) = transpose(pad(x))", sink_pad},
    {"sink-transpose-slice", "slice(transpose(x)) = transpose(slice(x))", sink_slice},
    {"sink-transpose-split", "split(transpose(x)) = transpose(split(x))", sink_split},
    {"sink-transpose-squeeze", "squeeze(transpose(x)) = transpose(squeeze(x))", sink_squeeze},
    {"sink-transpose-softmax", "softmax(transpose(x)) = transpose(softmax(x))", sink_softmax},
    {"sink-transpose-quantisation", "quantize(transpose(x)) = transpose(quantize(x))",
     sink_quantisation},
    {"transpose-as-reshape", "a transpose that moves only dimensions of size 1",
     transpose_as_reshape},
};

}  // namespace

std::span<const Rule> transpose_rules() {
  return kRules;
}

}  // namespace tenon
