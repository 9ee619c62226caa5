// Finds layer and root-mean-square normalisations that models spell out in small ops, with or
// without a scale and a shift.
#include <algorithm>

#include "ops/norm.h"
#include "passes/passes.h"
#include "passes/spelling.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

// The operand of a mean over the last axis that keeps it; null for anything else.
Value* mean_operand(Value* value) {
  const Node* node = value->producer();
  if (node == nullptr || !node->is("mean")) return nullptr;
  const Shape& x = node->input(0)->shape();
  if (!x.ranked() || x.rank() == 0 || !std::get<bool>(node->op().get(1))) return nullptr;
  const auto axes = std::get<std::vector<int64_t>>(node->op().get(0));
  return axes.size() == 1 && (axes[0] == -1 || axes[0] == x.rank() - 1) ? node->input(0) : nullptr;
}

// The root of a square, however it is written: x where the value is x * x.
Value* square_operand(Value* value) {
  const Node* node = value->producer();
  if (node == nullptr) return nullptr;
  if (node->is("square") || (node->is("pow") && splat_value(node->input(1)) == 2.0) ||
      (node->is("mul") && node->input(0) == node->input(1)))
    return node->input(0);
  return nullptr;
}

// (a - b)^2 of this pair, either way round.
bool is_squared_difference(Value* value, Value* a, Value* b) {
  const Node* node = value->producer();
  if (node == nullptr) return false;
  if (!node->is("squared_difference")) {
    Value* root = square_operand(value);
    node = root == nullptr ? nullptr : root->producer();
    if (node == nullptr || !node->is("sub")) return false;
  }
  return (node->input(0) == a && node->input(1) == b) ||
         (node->input(0) == b && node->input(1) == a);
}

// The variance of x, whose mean is mu.
bool is_variance(Value* value, Value* x, Value* mu) {
  if (Value* squares = mean_operand(value)) return is_squared_difference(squares, x, mu);
  const Node* node = value->producer();
  if (node == nullptr) return false;
  if (node->is("relu")) return is_variance(node->input(0), x, mu);  // for what rounding leaves
  if (!node->is("sub") || square_operand(node->input(1)) != mu) return false;
  Value* squares = mean_operand(node->input(0));
  return squares != nullptr && square_operand(squares) == x;
}

// sqrt(v + epsilon), or one over it.
struct Deviation {
  Value* of = nullptr;
  double epsilon = 0;
  bool is_inverse = false;
};

std::optional<Deviation> deviation(Value* value) {
  const Node* node = value->producer();
  Deviation d;
  if (node != nullptr &&
      (node->is("reciprocal") || (node->is("div") && splat_value(node->input(0)) == 1.0))) {
    d.is_inverse = true;
    node = node->input(node->is("div") ? 1 : 0)->producer();
  }
  if (node == nullptr) return std::nullopt;
  const double exponent = node->is("sqrt")    ? 0.5
                          : node->is("rsqrt") ? -0.5
                          : node->is("pow")   ? splat_value(node->input(1)).value_or(0)
                                              : 0;
  if (exponent == -0.5)
    d.is_inverse = !d.is_inverse;
  else if (exponent != 0.5)
    return std::nullopt;
  const Node* sum = node->input(0)->producer();
  if (sum == nullptr || !sum->is("add")) return std::nullopt;
  for (int i = 0; i < 2; ++i)
    if (const auto epsilon = splat_value(sum->input(i)); epsilon && *epsilon >= 0) {
      d.of = sum->input(1 - i);
      d.epsilon = *epsilon;
      return d;
    }
  return std::nullopt;
}

// a / deviation or a * (1 / deviation).
std::optional<Deviation> divided(const Node& node, Value*& a) {
  for (int i = 0; i < 2; ++i) {
    const auto d = deviation(node.input(1 - i));
    if (!d || !(node.is("mul") ? d->is_inverse : node.is("div") && i == 0 && !d->is_inverse))
      continue;
    a = node.input(i);
    return d;
  }
  return std::nullopt;
}

// A constant with one value per element of the last axis of `x`, as a vector.
Value* last_axis_vector(Builder& builder, Value* v, Value* x) {
  const Tensor* t = v->constant();
  const Shape& shape = x->shape();
  if (t == nullptr || t->dtype() != x->dtype() || !shape.ranked() || shape.rank() == 0 ||
      t->rank() > shape.rank())
    return nullptr;
  const Dim n = shape[shape.rank() - 1];
  if (!n.known() || t->elements() != n.size() || t->rank() == 0 ||
      t->dim(t->rank() - 1) != n.size())
    return nullptr;
  return t->rank() == 1 ? v : builder.constant(t->reshaped({n.size()}));
}

struct Norm {
  Value* x = nullptr;
  double epsilon = 0;
  Value* gamma = nullptr;  // null: ones
  Value* beta = nullptr;   // null: zeros
};

Result<bool> replace_by(Graph& graph, Node& node, std::string_view op, const Norm& norm) {
  Builder builder(graph, &node);
  builder.set_origins(origins_between(node, norm.x));
  std::vector<Value*> operands{norm.x, norm.gamma, norm.beta};
  while (operands.back() == nullptr) operands.pop_back();
  const auto y =
      builder.op(op, std::move(operands), {{"axis", int64_t{-1}}, {"epsilon", norm.epsilon}});
  if (!y.ok() || (*y)->type() != node.output()->type()) return false;
  graph.replace_all_uses(node.output(), *y);
  return true;
}

// (x - mean) / sqrt(var + eps).
Result<bool> recognise_normalised(Graph& graph, Node& node) {
  Value* d = nullptr;
  const auto deviation = divided(node, d);
  const Node* difference = d == nullptr ? nullptr : d->producer();
  if (!deviation || difference == nullptr || !difference->is("sub")) return false;
  Value *x = difference->input(0), *mu = difference->input(1);
  if (mean_operand(mu) != x || !is_variance(deviation->of, x, mu)) return false;
  return replace_by(graph, node, "layer_norm", {x, deviation->epsilon});
}

// x * s - mean * s + beta in any order, s = gamma / sqrt(var + eps), as Keras writes it.
Result<bool> recognise_scaled(Graph& graph, Node& node) {
  std::vector<Term> terms = sum_of(node.output());
  if (terms.size() < 2 || terms.size() > 3) return false;
  for (size_t i = 0; i < terms.size(); ++i) {
    const Node* scaled = terms[i].is_negated ? nullptr : terms[i].value->producer();
    if (scaled == nullptr || !scaled->is("mul")) continue;
    for (int side = 0; side < 2; ++side) {
      Value *x = scaled->input(side), *s = scaled->input(1 - side);
      for (size_t k = 0; k < terms.size(); ++k) {
        const auto factors = product_of(terms[k].value, s);
        if (k == i || factors.terms.size() != 2) continue;
        const bool first = factors.terms[0] == s;
        Value* mu = factors.terms[first ? 1 : 0];
        if ((!first && factors.terms[1] != s) || mean_operand(mu) != x ||
            factors.factor != (terms[k].is_negated ? 1.0 : -1.0))
          continue;
        Builder builder(graph, &node);
        Norm norm{x};
        auto d = deviation(s);
        const Node* product = s->producer();
        for (int at = 0; !d && at < 2 && product->is("mul"); ++at) {
          d = deviation(product->input(at));
          norm.gamma = last_axis_vector(builder, product->input(1 - at), x);
          if (norm.gamma == nullptr) d.reset();
        }
        if (!d || !d->is_inverse || !is_variance(d->of, x, mu)) continue;
        norm.epsilon = d->epsilon;
        if (terms.size() == 3) {
          const Term& shift = terms[3 - i - k];
          norm.beta = last_axis_vector(builder, shift.value, x);
          if (norm.beta == nullptr || shift.is_negated) continue;
        }
        return replace_by(graph, node, "layer_norm", norm);
      }
    }
  }
  return false;
}

Result<bool> recognise_layer_norm(Graph& graph, Node& node) {
  if (node.is("mul") || node.is("div")) return recognise_normalised(graph, node);
  return node.is("add") || node.is("sub") ? recognise_scaled(graph, node) : Result<bool>(false);
}

// x / sqrt(mean(x^2) + eps).
Result<bool> recognise_rms_norm(Graph& graph, Node& node) {
  if (!node.is("mul") && !node.is("div")) return false;
  Value* x = nullptr;
  const auto d = divided(node, x);
  Value* squares = d ? mean_operand(d->of) : nullptr;
  if (squares == nullptr || square_operand(squares) != x) return false;
  return replace_by(graph, node, "rms_norm", {x, d->epsilon});
}

// norm(x) * gamma and norm(x) + beta, where the norm has none yet.
Result<bool> absorb_into_norm(Graph& graph, Node& node) {
  const bool shifts = node.is("add");
  if (!shifts && !node.is("mul")) return false;
  for (int i = 0; i < 2; ++i) {
    Node* norm = node.input(i)->producer();
    if (norm == nullptr || !(norm->is("layer_norm") || norm->is("rms_norm")) ||
        !has_single_use(graph, node.input(i)) || std::get<int64_t>(norm->op().get(0)) != -1)
      continue;
    if (norm->input(2) != nullptr || (shifts ? norm->is("rms_norm") : norm->input(1) != nullptr))
      continue;
    Builder builder(graph, &node);
    Value* vector = last_axis_vector(builder, node.input(1 - i), norm->input(0));
    if (vector == nullptr) continue;
    builder.set_origins(merge_origins({&node, norm}));
    std::vector<Value*> operands = norm->inputs();
    operands.resize(shifts ? 3 : 2);
    operands[shifts ? 2 : 1] = vector;
    Value* y = TRY(builder.add(norm->op().clone(), std::move(operands)))->output();
    if (y->type() != node.output()->type()) return false;
    graph.replace_all_uses(node.output(), y);
    return true;
  }
  return false;
}

constexpr Rule kRules[] = {
    {"recognise-layer-norm", "(x - mean) / sqrt(var + eps) over the last axis",
     recognise_layer_norm},
    {"recognise-rms-norm", "x / sqrt(mean(x^2) + eps) over the last axis", recognise_rms_norm},
    {"absorb-into-norm", "layer_norm(x) * gamma + beta = layer_norm(x, gamma, beta)",
     absorb_into_norm},
};

}  // namespace

std::span<const Rule> norm_rules() {
  return kRules;
}

}  // namespace tenon
