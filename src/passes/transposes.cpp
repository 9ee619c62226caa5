// Moves transposes towards the outputs, past what works element by element, so that they meet their
// inverses and vanish. This is how models written channels-first come to run channels-last.
#include <algorithm>

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
  if (node.input_count() != 1 || node.output_count() != 1 ||
      !(node.def().has(kPointwise) || node.is("cast")))
    return false;
  const Perm perm = perm_of(node.input(0));
  if (perm.empty()) return false;
  return sink(graph, node, node.op().clone(), {node.input(0)->producer()->input(0)}, perm);
}

// A value seen through the inverse of `perm`: a transpose's operand, a splat, or a constant moved.
Result<Value*> untransposed(Builder& builder, Value* value, const Perm& perm) {
  const Perm own = perm_of(value);
  if (own == perm) return value->producer()->input(0);
  const Tensor* t = value->constant();
  if (t == nullptr) return static_cast<Value*>(nullptr);
  if (t->elements() == 1) return value;
  std::vector<int64_t> dims(perm.size(), 1);
  std::copy(t->dims().begin(), t->dims().end(), dims.end() - t->rank());
  Value* full =
      t->rank() == static_cast<int>(perm.size()) ? value : builder.constant(t->reshaped(dims));
  return builder.op("transpose", {full}, {{"perm", inverse(perm)}});
}

// Pointwise ops of several operands, at least one of them transposed, the others alike or constant.
Result<bool> sink_pointwise(Graph& graph, Node& node) {
  if (node.input_count() < 2 || !node.def().has(kPointwise) || node.output_count() != 1)
    return false;
  Perm perm;
  for (const Value* v : node.inputs()) {
    const Perm own = perm_of(v);
    if (own.empty() && (v == nullptr || v->constant() == nullptr)) return false;
    if (!own.empty() && !perm.empty() && own != perm) return false;
    if (!own.empty()) perm = own;
  }
  if (perm.empty() || node.output()->shape().rank() != static_cast<int>(perm.size())) return false;
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
    if (perm_of(v) != perm && (t == nullptr || t->elements() == 1)) return false;
    operands.push_back(TRY(untransposed(builder, v, perm)));
  }
  auto axis = std::get<int64_t>(node.op().get(0));
  if (axis < 0) axis += static_cast<int64_t>(perm.size());
  auto op = node.op().clone();
  TRY(op->set(0, perm[static_cast<size_t>(axis)]));
  return sink(graph, node, std::move(op), std::move(operands), perm);
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
  Perm result = perm;
  if (!std::get<bool>(node.op().get(1))) {
    std::vector<int64_t> position(perm.size(), -1);
    int64_t next = 0;
    for (size_t d = 0; d < perm.size(); ++d)
      if (!reduced[d]) position[d] = next++;
    result.clear();
    for (const int64_t d : perm)
      if (!reduced[static_cast<size_t>(d)]) result.push_back(position[static_cast<size_t>(d)]);
  }
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
  if (perm.empty() || !x.ranked()) return false;
  int64_t last = -1;
  int unknown = 0;
  std::vector<int64_t> target;
  for (const int64_t axis : perm) {
    const Dim d = x[static_cast<int>(axis)];
    unknown += !d.known();
    target.push_back(d.size_or(-1));
    if (d == Dim(0)) return false;
    if (d == Dim(1)) continue;
    if (axis < last) return false;
    last = axis;
  }
  if (unknown > 1) return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  replace_node(graph, node, TRY(builder.op("reshape", {node.input(0), builder.ints(target)})));
  return true;
}

constexpr Rule kRules[] = {
    {"sink-transpose-unary", "f(transpose(x)) = transpose(f(x))", sink_unary},
    {"sink-transpose-pointwise", "f(transpose(x), transpose(y)) = transpose(f(x, y))",
     sink_pointwise},
    {"sink-transpose-concat", "concat(transpose(x), transpose(y)) = transpose(concat(x, y))",
     sink_concat},
    {"sink-transpose-reduction", "sum(transpose(x)) = transpose(sum(x))", sink_reduction},
    {"sink-transpose-pad", "pad(transpose(x)) = transpose(pad(x))", sink_pad},
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
