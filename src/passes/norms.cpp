// Finds normalisations that models spell out in small ops, with or without a scale and a shift.
#include <algorithm>

#include "ops/norm.h"
#include "ops/reshape.h"
#include "ops/transpose.h"
#include "passes/passes.h"
#include "passes/spelling.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

using Axes = std::vector<int64_t>;

// The operand of a mean that keeps its axes, which are or become `axes`; null for anything else.
Value* mean_operand(Value* value, Axes& axes) {
  const Node* node = value->producer();
  if (node == nullptr || !node->is("mean")) return nullptr;
  const Shape& x = node->input(0)->shape();
  if (!x.ranked() || x.rank() == 0 || !std::get<bool>(node->op().get(1))) return nullptr;
  Axes own = std::get<Axes>(node->op().get(0));
  for (int64_t& a : own) a += a < 0 ? x.rank() : 0;
  std::ranges::sort(own);
  if (own.empty() || (!axes.empty() && axes != own)) return nullptr;
  axes = std::move(own);
  return node->input(0);
}

bool is_last_axis(const Axes& axes, const Value* x) {
  return axes.size() == 1 && axes[0] == x->shape().rank() - 1;
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
bool is_variance(Value* value, Value* x, Value* mu, Axes& axes) {
  if (Value* squares = mean_operand(value, axes)) return is_squared_difference(squares, x, mu);
  const Node* node = value->producer();
  if (node == nullptr) return false;
  if (node->is("relu"))
    return is_variance(node->input(0), x, mu, axes);  // for what rounding leaves
  if (!node->is("sub") || square_operand(node->input(1)) != mu) return false;
  Value* squares = mean_operand(node->input(0), axes);
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

// What a normalisation over these axes of a value is, in the words of an op.
struct Layout {
  std::string_view op;
  Value* x = nullptr;  // the op's operand: before its channels were split into groups
  int64_t channels = 0, groups = 1;
};

// Over the last axis; over the spatial ones of [N, spatial…, C]; or over those and the last one of
// [N, spatial…, groups, C / groups].
std::optional<Layout> layout_of(Value* x, const Axes& axes) {
  const Shape& shape = x->shape();
  const int rank = shape.rank();
  if (!shape[rank - 1].known()) return std::nullopt;
  const int64_t last = shape[rank - 1].size();
  if (is_last_axis(axes, x)) return Layout{"layer_norm", x, last};
  if (rank < 3 || x->dtype() != DType::f32) return std::nullopt;
  Axes spatial;
  for (int64_t a = 1; a + 1 < rank; ++a) spatial.push_back(a);
  if (axes == spatial) return Layout{"instance_norm", x, last};
  spatial.back() = rank - 1;  // in place of the groups
  const Node* split = x->producer();
  if (axes != spatial || rank < 4 || split == nullptr || !split->is("reshape") ||
      !shape[rank - 2].known())
    return std::nullopt;
  const Layout groups{"group_norm", split->input(0), last * shape[rank - 2].size(),
                      shape[rank - 2].size()};
  const Shape& before = groups.x->shape();
  if (!before.ranked() || before.rank() != rank - 1 || before[rank - 2] != Dim(groups.channels))
    return std::nullopt;
  for (int i = 0; i + 2 < rank; ++i)
    if (!before[i].same(shape[i])) return std::nullopt;
  return groups;
}

// A constant with a value per channel, as a vector.
Value* channel_vector(Builder& builder, Value* v, const Layout& layout, Value* x) {
  if (layout.op != "group_norm") return last_axis_vector(builder, v, x);
  const Tensor* t = v->constant();
  if (t == nullptr || t->dtype() != DType::f32 || t->elements() != layout.channels ||
      t->rank() < 2 || t->rank() > x->shape().rank() || t->dim(t->rank() - 2) != layout.groups)
    return nullptr;
  return builder.constant(t->reshaped({layout.channels}));
}

struct Norm {
  double epsilon = 0;
  Value* gamma = nullptr;  // null: ones
  Value* beta = nullptr;   // null: zeros
};

Result<bool> replace_by(Graph& graph, Node& node, const Layout& layout, const Norm& norm) {
  Builder builder(graph, &node);
  builder.set_origins(origins_between(node, layout.x));
  const auto filled = [&](float value) {
    return builder.constant(
        Tensor::vector(std::vector<float>(static_cast<size_t>(layout.channels), value)));
  };
  std::vector<Value*> operands{layout.x, norm.gamma, norm.beta};
  std::vector<Builder::Attr> attrs{{"epsilon", norm.epsilon}};
  if (layout.op == "layer_norm" || layout.op == "rms_norm") {
    attrs.push_back({"axis", int64_t{-1}});
    while (operands.back() == nullptr) operands.pop_back();
  } else {
    for (const size_t i : {size_t{1}, size_t{2}})
      if (operands[i] == nullptr) operands[i] = filled(i == 1 ? 1.0f : 0.0f);
  }
  if (layout.groups > 1) attrs.push_back({"groups", layout.groups});
  const auto made = builder.op(layout.op, std::move(operands), std::move(attrs));
  if (!made.ok()) return false;
  Value* y = *made;
  const Shape& shape = node.output()->shape();
  if (y->shape() != shape && layout.op == "group_norm") {
    std::vector<int64_t> target;
    for (const Dim d : shape.dims()) target.push_back(d.size_or(-1));
    if (std::ranges::count(target, -1) > 1 || std::ranges::count(target, 0) > 0) return false;
    y = TRY(builder.op("reshape", {y, builder.ints(target)}));
  }
  if (y->type() != node.output()->type()) return false;
  graph.replace_all_uses(node.output(), y);
  return true;
}

// (x - mean) / sqrt(var + eps).
Result<bool> recognise_normalised(Graph& graph, Node& node) {
  Value* d = nullptr;
  const auto deviation = divided(node, d);
  const Node* difference = d == nullptr ? nullptr : d->producer();
  if (!deviation || difference == nullptr || !difference->is("sub")) return false;
  Value *x = difference->input(0), *mu = difference->input(1);
  Axes axes;
  if (mean_operand(mu, axes) != x || !is_variance(deviation->of, x, mu, axes)) return false;
  const auto layout = layout_of(x, axes);
  return layout ? replace_by(graph, node, *layout, {deviation->epsilon}) : Result<bool>(false);
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
        Axes axes;
        if ((!first && factors.terms[1] != s) || mean_operand(mu, axes) != x ||
            factors.factor != (terms[k].is_negated ? 1.0 : -1.0))
          continue;
        const auto layout = layout_of(x, axes);
        if (!layout) continue;
        Builder builder(graph, &node);
        Norm norm;
        auto d = deviation(s);
        const Node* product = s->producer();
        for (int at = 0; !d && at < 2 && product->is("mul"); ++at) {
          d = deviation(product->input(at));
          norm.gamma = channel_vector(builder, product->input(1 - at), *layout, x);
          if (norm.gamma == nullptr) d.reset();
        }
        if (!d || !d->is_inverse || !is_variance(d->of, x, mu, axes)) continue;
        norm.epsilon = d->epsilon;
        if (terms.size() == 3) {
          const Term& shift = terms[3 - i - k];
          norm.beta = channel_vector(builder, shift.value, *layout, x);
          if (norm.beta == nullptr || shift.is_negated) continue;
        }
        return replace_by(graph, node, *layout, norm);
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
  Axes axes;
  Value* squares = d ? mean_operand(d->of, axes) : nullptr;
  if (squares == nullptr || square_operand(squares) != x || !is_last_axis(axes, x)) return false;
  return replace_by(graph, node, {"rms_norm", x}, {d->epsilon});
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

// The one channel that whole images are normalised as has the same mean and variance in any order.
Result<bool> sink_transpose_norm(Graph& graph, Node& node) {
  if (!node.is(Reshape::name)) return false;
  const Node* norm = node.input(0)->producer();
  if (norm == nullptr || !norm->is(InstanceNorm::name) || !has_single_use(graph, node.input(0)))
    return false;
  const Value* flat = norm->input(0);
  const Node* reshape = flat->producer();
  const Node* moves =
      reshape == nullptr || !reshape->is(Reshape::name) ? nullptr : reshape->input(0)->producer();
  const auto* transpose = moves == nullptr ? nullptr : moves->as<Transpose>();
  if (transpose == nullptr || transpose->perm.empty() || transpose->perm[0] != 0) return false;
  const Shape& shape = moves->output()->shape();
  Value* x = moves->input(0);
  if (node.output()->shape() != shape || !shape.ranked() || !flat->shape().ranked()) return false;
  if (flat->shape()[flat->shape().rank() - 1] != Dim(1) || !flat->shape()[0].same(shape[0]))
    return false;
  std::vector<int64_t> target;
  for (const Dim d : x->shape().dims()) target.push_back(d.size_or(-1));
  if (std::ranges::count(target, -1) > 1 || std::ranges::count(target, 0) > 0) return false;
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({norm, &node}));
  std::vector<Value*> operands = reshape->inputs();
  operands[0] = x;
  Value* y = TRY(builder.add(reshape->op().clone(), operands))->output();
  operands = norm->inputs();
  operands[0] = y;
  y = TRY(builder.add(norm->op().clone(), operands))->output();
  y = TRY(builder.op("reshape", {y, builder.ints(target)}));
  y = TRY(builder.op("transpose", {y}, {{"perm", transpose->perm}}));
  if (!is_compatible(node.output()->type(), y->type())) return false;
  graph.replace_all_uses(node.output(), y);
  return true;
}

constexpr Rule kRules[] = {
    {"recognise-layer-norm",
     "(x - mean) / sqrt(var + eps) over the last axis; by channel or group: instance, group norm",
     recognise_layer_norm},
    {"recognise-rms-norm", "x / sqrt(mean(x^2) + eps) over the last axis", recognise_rms_norm},
    {"absorb-into-norm", "layer_norm(x) * gamma + beta = layer_norm(x, gamma, beta)",
     absorb_into_norm},
    {"sink-transpose-norm", "images normalised as one channel, transposed before: transposed after",
     sink_transpose_norm},
};

}  // namespace

std::span<const Rule> norm_rules() {
  return kRules;
}

}  // namespace tenon
