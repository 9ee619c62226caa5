// Finds what models spell out in small ops: normalisations, activations, softmax.
#include <algorithm>
#include <cmath>

#include "passes/passes.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

std::vector<std::string> origins_of(const Match& match, const Node& root) {
  std::vector<std::string> names = root.origins;
  for (const Node* node : match.inner())
    for (const std::string& name : node->origins)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

// Replaces the root by a new op on `operands`.
Result<bool> rewrite(Graph& graph, Node& root, const Match& match, std::string_view op,
                     std::vector<Value*> operands, std::vector<Builder::Attr> attrs = {}) {
  const TensorType type = root.output()->type();
  Builder builder(graph, &root);
  builder.set_origins(origins_of(match, root));
  Value* y = TRY(builder.op(op, std::move(operands), std::move(attrs)));
  if (y->type() != type) return false;
  graph.replace_all_uses(root.output(), y);
  return true;
}

// The single axis a reduction with kept dimensions goes over, when it is the last one of its input.
bool reduces_last_axis(const Node& node) {
  const Shape& x = node.input(0)->shape();
  if (!x.ranked() || x.rank() == 0) return false;
  const auto axes = std::get<std::vector<int64_t>>(node.op().get(0));
  const bool keep = std::get<bool>(node.op().get(1));
  return keep && axes.size() == 1 && (axes[0] == -1 || axes[0] == x.rank() - 1);
}

// A constant with one value per element of the last axis of `x`, as a vector.
Value* last_axis_vector(Graph& graph, Node& before, Value* v, const Value* x) {
  const Tensor* t = v->constant();
  const Shape& shape = x->shape();
  if (t == nullptr || !shape.ranked() || shape.rank() == 0) return nullptr;
  const Dim n = shape[shape.rank() - 1];
  if (!n.known() || t->elements() != n.size() || t->rank() == 0 ||
      t->dim(t->rank() - 1) != n.size())
    return nullptr;
  if (t->rank() == 1) return v;
  Builder builder(graph, &before);
  return builder.constant(t->reshaped({n.size()}));
}

Result<bool> recognise_layer_norm(Graph& graph, Node& node) {
  static const Pattern kPatterns[] = {
      // Keras: x * s + (beta - mean * s), s = gamma / sqrt(var + eps)
      Pattern("mu = mean(x); var = mean(squared_difference(x, mu)); "
              "s = mul(rsqrt(add(var, eps)), gamma); add(mul(x, s), sub(beta, mul(mu, s)))"),
      Pattern("mu = mean(x); var = sub(mean(square(x)), square(mu)); "
              "s = mul(rsqrt(add(var, eps)), gamma); add(mul(x, s), sub(beta, mul(mu, s)))"),
      Pattern("mu = mean(x); var = mean(squared_difference(x, mu)); "
              "s = mul(rsqrt(add(var, eps)), gamma); add(mul(x, s), add(mul(neg(mu), s), beta))"),
      // ONNX exporters: (x - mean) / sqrt(mean((x - mean)^2) + eps) * gamma + beta
      Pattern("mu = mean(x); d = sub(x, mu); var = mean(pow(d, 2)); "
              "add(mul(div(d, sqrt(add(var, eps))), gamma), beta)"),
      Pattern("mu = mean(x); d = sub(x, mu); var = mean(mul(d, d)); "
              "add(mul(div(d, sqrt(add(var, eps))), gamma), beta)"),
      Pattern("mu = mean(x); d = sub(x, mu); var = mean(square(d)); "
              "add(mul(div(d, sqrt(add(var, eps))), gamma), beta)"),
      Pattern("mu = mean(x); d = sub(x, mu); var = mean(square(d)); "
              "add(mul(mul(d, rsqrt(add(var, eps))), gamma), beta)"),
  };
  if (!node.is("add")) return false;
  for (const Pattern& pattern : kPatterns) {
    Match m;
    if (!pattern.match(node, m) || !reduces_last_axis(m.node("mu"))) continue;
    const Node& var = m.node("var");
    if (var.is("mean") && !reduces_last_axis(var)) continue;
    const auto epsilon = splat_value(m["eps"]);
    Value* gamma = last_axis_vector(graph, node, m["gamma"], m["x"]);
    Value* beta = last_axis_vector(graph, node, m["beta"], m["x"]);
    if (!epsilon || gamma == nullptr || beta == nullptr) continue;
    return rewrite(graph, node, m, "layer_norm", {m["x"], gamma, beta},
                   {{"axis", int64_t{-1}}, {"epsilon", *epsilon}});
  }
  return false;
}

Result<bool> recognise_rms_norm(Graph& graph, Node& node) {
  static const Pattern kPatterns[] = {
      Pattern("ms = mean(square(x)); mul(mul(x, rsqrt(add(ms, eps))), gamma)"),
      Pattern("ms = mean(pow(x, 2)); mul(div(x, sqrt(add(ms, eps))), gamma)"),
      Pattern("ms = mean(pow(x, 2)); mul(mul(x, reciprocal(sqrt(add(ms, eps)))), gamma)"),
  };
  if (!node.is("mul")) return false;
  for (const Pattern& pattern : kPatterns) {
    Match m;
    if (!pattern.match(node, m) || !reduces_last_axis(m.node("ms"))) continue;
    const auto epsilon = splat_value(m["eps"]);
    Value* gamma = last_axis_vector(graph, node, m["gamma"], m["x"]);
    if (!epsilon || gamma == nullptr) continue;
    return rewrite(graph, node, m, "rms_norm", {m["x"], gamma},
                   {{"axis", int64_t{-1}}, {"epsilon", *epsilon}});
  }
  return false;
}

Result<bool> recognise_gelu(Graph& graph, Node& node) {
  static const Pattern kErf[] = {
      Pattern("mul(mul(0.5, x), add(1, erf(mul(x, 0.70710678))))"),
      Pattern("mul(mul(0.5, x), add(1, erf(div(x, 1.41421356))))"),
      Pattern("mul(0.5, mul(x, add(1, erf(mul(x, 0.70710678)))))"),
      Pattern("mul(0.5, mul(x, add(1, erf(div(x, 1.41421356)))))"),
      Pattern("mul(x, mul(0.5, add(1, erf(mul(x, 0.70710678)))))"),
      Pattern("mul(x, mul(0.5, add(1, erf(div(x, 1.41421356)))))"),
      Pattern("mul(mul(0.5, x), erfc(mul(neg(x), 0.70710678)))"),
      Pattern("mul(mul(0.5, x), erfc(neg(mul(x, 0.70710678))))"),
      Pattern("mul(mul(0.5, x), erfc(mul(x, -0.70710678)))"),
      Pattern("mul(mul(0.5, x), erfc(div(neg(x), 1.41421356)))"),
  };
  static const Pattern kTanh[] = {
      Pattern("mul(mul(0.5, x), add(1, tanh(mul(0.79788456, add(x, mul(0.044715, pow(x, 3)))))))"),
      Pattern("mul(0.5, mul(x, add(1, tanh(mul(0.79788456, add(x, mul(0.044715, pow(x, 3))))))))"),
      Pattern("mul(x, mul(0.5, add(1, tanh(mul(0.79788456, add(x, mul(0.044715, pow(x, 3))))))))"),
      Pattern(
          "mul(x, add(0.5, mul(0.5, tanh(mul(0.79788456, add(x, mul(0.044715, pow(x, 3))))))))"),
  };
  if (!node.is("mul")) return false;
  Match m;
  for (const Pattern& pattern : kErf)
    if (pattern.match(node, m)) return rewrite(graph, node, m, "gelu", {m["x"]});
  for (const Pattern& pattern : kTanh)
    if (pattern.match(node, m))
      return rewrite(graph, node, m, "gelu", {m["x"]}, {{"approximate", std::string("tanh")}});
  return false;
}

bool clips(const Node& node, double low, double high) {
  return std::get<double>(node.op().get(0)) == low && std::get<double>(node.op().get(1)) == high;
}

Result<bool> recognise_hard_sigmoid(Graph& graph, Node& node) {
  static const Pattern kPatterns[] = {Pattern("c = clip(add(x, 3)); mul(c, 0.16666667)"),
                                      Pattern("c = clip(add(x, 3)); div(c, 6)")};
  for (const Pattern& pattern : kPatterns) {
    Match m;
    if (pattern.match(node, m) && clips(m.node("c"), 0, 6))
      return rewrite(graph, node, m, "hard_sigmoid", {m["x"]}, {{"alpha", 1.0 / 6}, {"beta", 0.5}});
  }
  return false;
}

Result<bool> recognise_hard_swish(Graph& graph, Node& node) {
  static const Pattern kPattern("h = hard_sigmoid(x); mul(x, h)");
  static const Pattern kSplit("c = clip(add(x, 3)); mul(mul(x, c), 0.16666667)");
  static const Pattern kDivided("c = clip(add(x, 3)); div(mul(x, c), 6)");
  Match m;
  if (kPattern.match(node, m)) {
    const Node& h = m.node("h");
    const bool standard = std::abs(std::get<double>(h.op().get(0)) - 1.0 / 6) < 1e-6 &&
                          std::get<double>(h.op().get(1)) == 0.5;
    return standard ? rewrite(graph, node, m, "hard_swish", {m["x"]}) : Result<bool>(false);
  }
  for (const Pattern* pattern : {&kSplit, &kDivided})
    if (pattern->match(node, m) && clips(m.node("c"), 0, 6))
      return rewrite(graph, node, m, "hard_swish", {m["x"]});
  return false;
}

Result<bool> recognise_silu(Graph& graph, Node& node) {
  static const Pattern kPattern("mul(x, sigmoid(x))");
  Match m;
  return kPattern.match(node, m) ? rewrite(graph, node, m, "silu", {m["x"]}) : Result<bool>(false);
}

Result<bool> recognise_softmax(Graph& graph, Node& node) {
  static const Pattern kPatterns[] = {
      Pattern("t = reduce_max(x); e = exp(sub(x, t)); s = sum(e); div(e, s)"),
      Pattern("e = exp(x); s = sum(e); div(e, s)")};
  for (const Pattern& pattern : kPatterns) {
    Match m;
    if (!pattern.match(node, m) || !reduces_last_axis(m.node("s"))) continue;
    return rewrite(graph, node, m, "softmax", {m["x"]}, {{"axis", int64_t{-1}}});
  }
  return false;
}

constexpr Rule kRules[] = {
    {"recognise-layer-norm", "(x - mean) / sqrt(var + eps) * gamma + beta over the last axis",
     recognise_layer_norm},
    {"recognise-rms-norm", "x / sqrt(mean(x^2) + eps) * gamma over the last axis",
     recognise_rms_norm},
    {"recognise-gelu", "x / 2 * (1 + erf(x / sqrt 2)) and its tanh approximation", recognise_gelu},
    {"recognise-hard-sigmoid", "clip(x + 3, 0, 6) / 6", recognise_hard_sigmoid},
    {"recognise-hard-swish", "x * hard_sigmoid(x)", recognise_hard_swish},
    {"recognise-silu", "x * sigmoid(x)", recognise_silu},
    {"recognise-softmax", "exp(x - max(x)) / sum(exp(x - max(x))) over the last axis",
     recognise_softmax},
};

}  // namespace

std::span<const Rule> recognise_rules() {
  return kRules;
}

}  // namespace tenon
