// Recognises scaled dot-product attention, softmax(scale q k^T + mask) v, however it is spelled.
#include "ops/attention.h"

#include <algorithm>
#include <cmath>

#include "ops/cast.h"
#include "ops/matmul.h"
#include "ops/select.h"
#include "ops/softmax.h"
#include "ops/transpose.h"
#include "passes/passes.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

// What stands in for minus infinity in masks: added to any score it leaves itself.
constexpr double kAsGoodAsNever = -1e30;

// A plain product: nothing fused into it.
const Matmul* plain_matmul(const Value* value) {
  const Node* node = value->producer();
  const Matmul* m = node == nullptr ? nullptr : node->as<Matmul>();
  if (m == nullptr || node->input_count() != 2 || m->activation != ActivationKind::none)
    return nullptr;
  return m;
}

bool is_rank(const Value* value, int rank) {
  return value->shape().ranked() && value->shape().rank() == rank && value->dtype() == DType::f32;
}

Result<Value*> swap_last(Builder& builder, Value* value) {
  const int rank = value->shape().rank();
  std::vector<int64_t> perm;
  for (int i = 0; i < rank; ++i) perm.push_back(i);
  std::swap(perm[static_cast<size_t>(rank) - 1], perm[static_cast<size_t>(rank) - 2]);
  return builder.op("transpose", {value}, {{"perm", perm}});
}

// The chain between the softmax and the product of q and k.
struct Scores {
  const Node* product = nullptr;
  double scale = 1;
  std::vector<const Node*> passed;
  // One mask at most: added, or kept where `condition` holds (or does not, when inverted).
  Value* added = nullptr;
  Value* condition = nullptr;
  bool inverted = false;
  double never = 0;
  double mask_scale = 1;

  bool masked() const { return added != nullptr || condition != nullptr; }
};

// Whether the mask may be given to the op: the scores' shape is what the product has.
bool keeps_shape(const Node& node, const Value* scores) {
  return node.output()->shape() == scores->shape();
}

// Walks up from the softmax's operand. False where something else is in between.
bool find_product(const Graph& graph, Value* value, Scores& s) {
  for (int steps = 0; steps < 8; ++steps) {
    Node* node = value->producer();
    if (node == nullptr || !has_single_use(graph, value)) return false;
    s.passed.push_back(node);
    if (plain_matmul(value) != nullptr) {
      s.product = node;
      return true;
    }
    if (node->is("mul") || node->is("div")) {
      const bool first = !splat_value(node->input(1)) && node->is("mul");
      const auto factor = splat_value(node->input(first ? 0 : 1));
      value = node->input(first ? 1 : 0);
      if (!factor || *factor == 0 || !keeps_shape(*node, value)) return false;
      s.scale *= node->is("mul") ? *factor : 1 / *factor;
      continue;
    }
    if (node->is("add") && !s.masked()) {
      const auto leads_on = [&](const Value* v) {
        const Node* p = v->producer();
        return p != nullptr && keeps_shape(*node, v) && has_single_use(graph, v) &&
               (p->is("matmul") || p->is("mul") || p->is("div"));
      };
      const int side = leads_on(node->input(0)) ? 0 : 1;
      if (!leads_on(node->input(side))) return false;
      s.added = node->input(1 - side);
      s.mask_scale = s.scale;
      value = node->input(side);
      continue;
    }
    if (node->as<Select>() != nullptr && !s.masked()) {
      const auto yes = splat_value(node->input(1)), no = splat_value(node->input(2));
      if (yes.has_value() == no.has_value()) return false;
      s.inverted = yes.has_value();
      s.never = s.inverted ? *yes : *no;
      if (s.never > kAsGoodAsNever || s.scale < 0) return false;
      s.condition = node->input(0);
      s.mask_scale = s.scale;
      value = node->input(s.inverted ? 2 : 1);
      if (!keeps_shape(*node, value)) return false;
      continue;
    }
    return false;
  }
  return false;
}

// The mask as something to add to the scores.
Result<Value*> additive_mask(Builder& builder, const Scores& s) {
  Value* mask = s.added;
  if (s.condition != nullptr) {
    Value* zero = builder.constant(Tensor::scalar(0.0f));
    Value* never = builder.constant(Tensor::scalar(static_cast<float>(s.never)));
    mask = TRY(builder.op("select", s.inverted ? std::vector<Value*>{s.condition, never, zero}
                                               : std::vector<Value*>{s.condition, zero, never}));
  }
  if (mask != nullptr && s.mask_scale != 1) {
    Value* factor = builder.constant(Tensor::scalar(static_cast<float>(s.mask_scale)));
    mask = TRY(builder.op("mul", {mask, factor}));
  }
  return mask;
}

// k or v as the op wants it: the right side of a product, transposed or not.
Result<Value*> upright(Builder& builder, Value* value, bool is_transposed) {
  if (!is_transposed) return value;
  return swap_last(builder, value);
}

// A transpose more is no loss where there is one to merge with.
bool can_be_transposed(const Value* value) {
  const Node* node = value->producer();
  return node != nullptr && (node->as<Transpose>() != nullptr || node->is("const"));
}

Result<bool> recognise(Graph& graph, Node& node) {
  const Matmul* outer = plain_matmul(node.output_count() == 0 ? nullptr : node.output());
  if (outer == nullptr || outer->transpose_a || outer->alpha != 1) return false;
  Value* p = node.input(0);
  Value* v = node.input(1);
  const Node* softmax = p->producer();
  if (softmax == nullptr || softmax->as<Softmax>() == nullptr || !has_single_use(graph, p))
    return false;
  const int rank = node.output()->shape().rank();
  if (rank != 3 && rank != 4) return false;
  const int64_t axis = softmax->as<Softmax>()->axis;
  if (axis != -1 && axis != rank - 1) return false;
  Scores s;
  if (!find_product(graph, softmax->input(0), s)) return false;
  const Matmul* inner = s.product->as<Matmul>();
  Value* q = s.product->input(0);
  Value* k = s.product->input(1);
  for (const Value* operand :
       {static_cast<const Value*>(q), static_cast<const Value*>(k), static_cast<const Value*>(v)})
    if (!is_rank(operand, rank)) return false;
  if (inner->transpose_a || (!inner->transpose_b && !can_be_transposed(k)) ||
      (outer->transpose_b && !can_be_transposed(v)))
    return false;
  // The op does not broadcast the batch.
  for (int i = 0; i < rank - 2; ++i)
    if (q->shape()[i] != k->shape()[i] || q->shape()[i] != v->shape()[i]) return false;
  const double scale = s.scale * inner->alpha;
  if (scale == 0) return false;
  if (s.masked()) {
    const Value* mask = s.added != nullptr ? s.added : s.condition;
    if (!mask->shape().ranked() || mask->shape().rank() > rank ||
        (s.added != nullptr && mask->dtype() != DType::f32))
      return false;
  }
  Builder builder(graph, &node);
  std::vector<std::string> origins = merge_origins({softmax, &node});
  for (const Node* passed : s.passed)
    for (const std::string& name : passed->origins)
      if (std::find(origins.begin(), origins.end(), name) == origins.end()) origins.push_back(name);
  builder.set_origins(std::move(origins));
  k = TRY(upright(builder, k, !inner->transpose_b));
  v = TRY(upright(builder, v, outer->transpose_b));
  Value* mask = TRY(additive_mask(builder, s));
  std::vector<Value*> operands{q, k, v};
  if (mask != nullptr) operands.push_back(mask);
  if (rank == 3)  // one head
    for (Value*& operand : operands)
      if (operand->shape().rank() == 3)
        operand = TRY(builder.op("expand_dims", {operand}, {{"axes", std::vector<int64_t>{1}}}));
  // Minus infinity in a whole row of the mask: the softmax has no value there.
  auto op =
      builder.op("attention", operands, {{"scale", scale}, {"nan_when_empty", mask != nullptr}});
  if (!op.ok()) return false;
  Value* y = *op;
  if (rank == 3) y = TRY(builder.op("squeeze", {y}, {{"axes", std::vector<int64_t>{1}}}));
  if (!is_compatible(node.output()->type(), y->type())) return false;
  graph.replace_all_uses(node.output(), y);
  return true;
}

// A factor of all queries, or of all keys, scales the scores.
Result<bool> fold_scale(Graph& graph, Node& node) {
  const Attention* op = node.as<Attention>();
  for (int i = 0; op != nullptr && i < 2; ++i) {
    const Node* mul = node.input(i)->producer();
    if (mul == nullptr || !mul->is("mul")) continue;
    for (const int side : {0, 1}) {
      const auto factor = splat_value(mul->input(side));
      if (!factor || *factor == 0 || mul->input(1 - side)->shape() != node.input(i)->shape())
        continue;
      Attention changed = *op;
      const Shape& q = node.input(0)->shape();
      const Dim depth = q.ranked() ? q[3] : Dim();
      if (op->scale == 0 && !depth.known()) continue;
      changed.scale =
          *factor * (op->scale != 0 ? op->scale : 1 / std::sqrt(static_cast<double>(depth.size())));
      std::vector<Value*> operands = node.inputs();
      operands[static_cast<size_t>(i)] = mul->input(1 - side);
      Builder builder(graph, &node);
      builder.set_origins(merge_origins({mul, &node}));
      replace_node(graph, node, TRY(builder.op(changed, std::move(operands))));
      return true;
    }
  }
  return false;
}

// [B,H,S,D] from [B,S,H,D] or back.
bool swaps_heads(const Value* value) {
  const Node* node = value->producer();
  const Transpose* t = node == nullptr ? nullptr : node->as<Transpose>();
  return t != nullptr && t->perm == std::vector<int64_t>{0, 2, 1, 3};
}

// Heads may stay where projections put them: behind the length.
Result<bool> absorb_head_transposes(Graph& graph, Node& node) {
  const Attention* op = node.as<Attention>();
  if (op == nullptr || op->length_first) return false;
  std::vector<Value*> operands = node.inputs();
  for (size_t i = 0; i < 3; ++i) {
    if (!swaps_heads(operands[i])) return false;
    operands[i] = operands[i]->producer()->input(0);
  }
  Attention changed = *op;
  changed.length_first = true;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Value* y = TRY(builder.op(changed, operands));
  y = TRY(builder.op("transpose", {y}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}}));
  if (!is_compatible(node.output()->type(), y->type())) return false;
  graph.replace_all_uses(node.output(), y);
  return true;
}

constexpr Rule kRules[] = {
    {"recognise-attention", "matmul(softmax(scale * matmul(q, k^T) + mask), v)", recognise},
    {"fold-attention-scale", "attention(c * q, k, v) = attention(q, k, v){c * scale}", fold_scale},
    {"absorb-head-transposes",
     "attention(transpose(q), …) = transpose(attention(q, …){length_first})",
     absorb_head_transposes},
};

}  // namespace

std::span<const Rule> attention_rules() {
  return kRules;
}

}  // namespace tenon
