// Finds what models spell out in small ops: activations, softmax, upsampling.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/reshape.h"
#include "ops/resize.h"
#include "passes/passes.h"
#include "passes/spelling.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

// Replaces the root by an op on `x`.
Result<bool> rewrite(Graph& graph, Node& root, Value* x, std::string_view op,
                     std::vector<Builder::Attr> attrs = {}) {
  Builder builder(graph, &root);
  builder.set_origins(origins_between(root, x));
  const auto y = builder.op(op, {x}, std::move(attrs));
  if (!y.ok() || (*y)->type() != root.output()->type()) return false;
  graph.replace_all_uses(root.output(), *y);
  return true;
}

bool is_result(Value* value, std::string_view op) {
  return value->producer() != nullptr && value->producer()->is(op) && value->index() == 0;
}

// The single axis a reduction with kept dimensions goes over, when it is the last one of its input.
bool reduces_last_axis(const Node& node) {
  const Shape& x = node.input(0)->shape();
  if (!x.ranked() || x.rank() == 0) return false;
  const auto axes = std::get<std::vector<int64_t>>(node.op().get(0));
  const bool keep = std::get<bool>(node.op().get(1));
  return keep && axes.size() == 1 && (axes[0] == -1 || axes[0] == x.rank() - 1);
}

constexpr double kTolerance = 1e-5;  // constants are rounded to float, or typed by hand

bool near(double a, double b) {
  return std::abs(a - b) <= kTolerance * std::max(1e-3, std::abs(b));
}

// Whether all terms are x.
bool is_power(const Product& p, Value* x, size_t n) {
  return p.terms.size() == n && std::ranges::all_of(p.terms, [&](Value* v) { return v == x; });
}

// The factor of a product of x and `other` alone.
std::optional<double> factor_of(Value* product, Value* x, Value* other) {
  const Product p = product_of(product, x);
  if (p.terms.size() != 2 ||
      !((p.terms[0] == x && p.terms[1] == other) || (p.terms[1] == x && p.terms[0] == other)))
    return std::nullopt;
  return p.factor;
}

// k * (x + 0.044715 x^3), or with x taken out.
bool is_tanh_argument(Value* value, Value* x) {
  constexpr double kScale = 0.7978845608, kCubic = 0.044715;
  const Product p = product_of(value, x);
  if (!near(p.factor, kScale)) return false;
  const bool factored = p.terms.size() == 2 && (p.terms[0] == x || p.terms[1] == x);
  if (p.terms.size() != (factored ? 2 : 1)) return false;
  const auto terms = sum_of(p.terms[factored && p.terms[0] == x ? 1 : 0], x);
  if (terms.size() != 2 || terms[0].is_negated || terms[1].is_negated) return false;
  for (size_t i = 0; i < 2; ++i) {
    const Product cubic = product_of(terms[i].value, x);
    const bool rest = factored ? splat_value(terms[1 - i].value) == 1.0 : terms[1 - i].value == x;
    if (rest && near(cubic.factor, kCubic) && is_power(cubic, x, factored ? 2 : 3)) return true;
  }
  return false;
}

// scale * (1 + f(u)): f's result, or null.
Value* one_plus(Value* value, std::string_view op, double& scale) {
  const auto terms = sum_of(value);
  if (terms.size() != 2 || terms[0].is_negated || terms[1].is_negated) return nullptr;
  for (size_t i = 0; i < 2; ++i) {
    const auto constant = splat_value(terms[i].value);
    Value* f = unscaled(terms[1 - i].value, scale);
    if (constant && is_result(f, op) && near(*constant, scale)) return f;
  }
  return nullptr;
}

// What x may be, by the argument of f.
std::vector<Value*> candidates(Value* f) {
  std::vector<Value*> list{f->producer()->input(0)};
  for (double factor = 1; list.size() < 4;) {
    Value* inner = unscaled(list.back(), factor, true);
    if (inner == list.back()) break;
    list.push_back(inner);
  }
  if (!is_result(f, "tanh")) return list;
  for (size_t i = 0, n = list.size(); i < n; ++i)
    if (const Node* node = list[i]->producer();
        node != nullptr && (node->is("add") || node->is("mul")))
      list.insert(list.end(), {node->input(0), node->input(1)});
  return list;
}

// x / 2 * (1 + erf(x / sqrt 2)), or with erfc or the approximation by tanh.
Result<bool> recognise_gelu(Graph& graph, Node& node) {
  constexpr double kRootOfHalf = 0.70710678;
  if (!node.is("mul") && !node.is("div")) return false;
  for (Value* term : product_of(node.output()).terms)
    for (const std::string_view op : {"erf", "erfc", "tanh"}) {
      double scale = 1;
      Value* f = op != "erfc" ? one_plus(term, op, scale) : is_result(term, op) ? term : nullptr;
      if (f == nullptr) continue;
      for (Value* x : candidates(f)) {
        const auto factor = factor_of(node.output(), x, term);
        if (!factor || !near(*factor * scale, 0.5)) continue;
        Value* argument = f->producer()->input(0);
        if (op == "tanh") {
          if (is_tanh_argument(argument, x))
            return rewrite(graph, node, x, "gelu", {{"approximate", std::string("tanh")}});
          continue;
        }
        const Product p = product_of(argument, x);
        if (is_power(p, x, 1) && near(p.factor, op == "erf" ? kRootOfHalf : -kRootOfHalf))
          return rewrite(graph, node, x, "gelu");
      }
    }
  return false;
}

bool clips(const Node& node, double low, double high) {
  return node.is("clip") && std::get<double>(node.op().get(0)) == low &&
         std::get<double>(node.op().get(1)) == high;
}

// x where the value is x + 3, else null.
Value* plus_three(Value* value) {
  const Node* node = value->producer();
  if (node == nullptr || !node->is("add")) return nullptr;
  for (int i = 0; i < 2; ++i)
    if (splat_value(node->input(i)) == 3.0) return node->input(1 - i);
  return nullptr;
}

// Bounds by max, min and relu become one clip.
Result<bool> recognise_clip(Graph& graph, Node& node) {
  if (!node.is("max") && !node.is("min") && !node.is("relu") && !node.is("clip")) return false;
  if (node.output()->dtype() != DType::f32) return false;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double low = -kInfinity, high = kInfinity;
  Value* x = node.output();
  int count = 0;
  while (const Node* bound = x->producer()) {
    double from = -kInfinity, to = kInfinity;
    Value* inner = bound->input_count() == 0 ? nullptr : bound->input(0);
    if (bound->is("relu")) {
      from = 0;
    } else if (bound->is("clip")) {
      from = std::get<double>(bound->op().get(0));
      to = std::get<double>(bound->op().get(1));
    } else if (bound->is("max") || bound->is("min")) {
      const int at = splat_value(bound->input(0)) ? 0 : 1;
      const auto constant = splat_value(bound->input(at));
      inner = bound->input(1 - at);
      if (!constant || *constant != *constant || inner->type() != bound->output()->type()) break;
      (bound->is("max") ? from : to) = *constant;
    } else {
      break;
    }
    // What is outside applies last.
    if (count > 0 && !has_single_use(graph, x)) break;
    low = count == 0 ? from : std::clamp(from, low, high);
    high = count == 0 ? to : std::clamp(to, low, high);
    if (low > high) return false;
    x = inner;
    ++count;
  }
  const bool is_bound = node.is("relu") || node.is("clip");
  if (count < (is_bound ? 2 : 1) && !(clips(node, 0, kInfinity))) return false;
  if (low == 0 && high == kInfinity) return rewrite(graph, node, x, "relu");
  return rewrite(graph, node, x, "clip", {{"min", low}, {"max", high}});
}

Result<bool> recognise_hard_sigmoid(Graph& graph, Node& node) {
  if (node.is("clip")) {  // clip(a x + b, 0, 1)
    const Line line = line_of(node.input(0));
    if (!clips(node, 0, 1) || line.scale <= 0 || line.x == node.input(0)) return false;
    return rewrite(graph, node, line.x, "hard_sigmoid",
                   {{"alpha", line.scale}, {"beta", line.shift}});
  }
  if (!node.is("mul") && !node.is("div")) return false;
  double factor = 1;
  Value* clip = unscaled(node.output(), factor);  // clip(x + 3, 0, 6) / 6
  if (!is_result(clip, "clip") || !clips(*clip->producer(), 0, 6) || !near(factor, 1.0 / 6))
    return false;
  const auto x = plus_three(clip->producer()->input(0));
  return x == nullptr
             ? Result<bool>(false)
             : rewrite(graph, node, x, "hard_sigmoid", {{"alpha", 1.0 / 6}, {"beta", 0.5}});
}

Result<bool> recognise_hard_swish(Graph& graph, Node& node) {
  if (!node.is("mul") && !node.is("div")) return false;
  for (Value* gate : product_of(node.output()).terms) {
    const Node* f = gate->producer();
    if (f == nullptr) continue;
    if (f->is("hard_sigmoid")) {
      Value* x = f->input(0);
      const bool standard = near(std::get<double>(f->op().get(0)), 1.0 / 6) &&
                            near(std::get<double>(f->op().get(1)), 0.5);
      if (standard && factor_of(node.output(), x, gate) == 1.0)
        return rewrite(graph, node, x, "hard_swish");
    } else if (clips(*f, 0, 6)) {
      Value* x = plus_three(f->input(0));
      const auto factor = x == nullptr ? std::nullopt : factor_of(node.output(), x, gate);
      if (factor && near(*factor, 1.0 / 6)) return rewrite(graph, node, x, "hard_swish");
    }
  }
  return false;
}

Result<bool> recognise_silu(Graph& graph, Node& node) {
  if (node.is("div")) {  // x / (1 + exp(-x))
    const auto terms = sum_of(node.input(1));
    for (size_t i = 0; i < 2 && terms.size() == 2; ++i) {
      if (splat_value(terms[i].value) != 1.0 || !is_result(terms[1 - i].value, "exp")) continue;
      const Product p = product_of(terms[1 - i].value->producer()->input(0), node.input(0));
      if (is_power(p, node.input(0), 1) && p.factor == -1 && !terms[0].is_negated &&
          !terms[1].is_negated)
        return rewrite(graph, node, node.input(0), "silu");
    }
    return false;
  }
  if (!node.is("mul")) return false;
  for (int i = 0; i < 2; ++i) {
    Value* gate = node.input(i);
    if (is_result(gate, "sigmoid") && gate->producer()->input(0) == node.input(1 - i))
      return rewrite(graph, node, node.input(1 - i), "silu");
  }
  return false;
}

// A resize that repeats whole elements.
bool repeats(const Resize& resize) {
  return resize.mode == ResizeMode::nearest && resize.coordinate == ResizeCoordinate::asymmetric &&
         resize.nearest_rounding == NearestRounding::floor && resize.scales.empty();
}

// reshape(tile(expand_dims(x))) that repeats each element along a spatial dimension.
Result<bool> recognise_upsampling(Graph& graph, Node& node) {
  if (!node.is("reshape") || !is_result(node.input(0), "tile")) return false;
  const Node& tile = *node.input(0)->producer();
  const Node* expand = tile.input(0)->producer();
  const Tensor* repeats = tile.input(1)->constant();
  const ExpandDims* inserted = expand == nullptr ? nullptr : expand->as<ExpandDims>();
  if (inserted == nullptr || repeats == nullptr || inserted->axes.size() != 1) return false;
  Value* x = expand->input(0);
  const Shape &from = x->shape(), &to = node.output()->shape();
  if (!from.ranked() || !to.ranked() || from.rank() < 3 || from.rank() != to.rank()) return false;
  const int64_t rank = from.rank();
  const int64_t at = inserted->axes[0] + (inserted->axes[0] < 0 ? rank + 1 : 0);  // behind it
  if (at < 2 || at > rank - 1 || repeats->elements() != rank + 1) return false;
  std::vector<int64_t> sizes;
  for (int i = 0; i < rank; ++i) {
    const bool is_repeated = i == at - 1;
    if (repeats->int_at(i < at ? i : i + 1) != 1) return false;
    const Dim expected = is_repeated ? from[i] * Dim(repeats->int_at(at)) : from[i];
    if (!to[i].same(expected)) return false;
    if (i > 0 && i + 1 < rank) {
      if (!to[i].known() || to[i] == Dim(0)) return false;
      sizes.push_back(to[i].size());
    }
  }
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({expand, &tile, &node}));
  const auto y = builder.op(Resize{.coordinate = ResizeCoordinate::asymmetric,
                                   .nearest_rounding = NearestRounding::floor},
                            {x, builder.ints(sizes)});
  if (!y.ok() || (*y)->type() != node.output()->type()) return false;
  replace_node(graph, node, *y);
  return true;
}

// Repetitions along different dimensions are one.
Result<bool> merge_resizes(Graph& graph, Node& node) {
  const Resize* outer = node.as<Resize>();
  Node* inner = outer == nullptr ? nullptr : node.input(0)->producer();
  if (inner == nullptr || inner->as<Resize>() == nullptr || !repeats(*outer) ||
      !repeats(*inner->as<Resize>()) || !has_single_use(graph, node.input(0)))
    return false;
  const Shape &x = inner->input(0)->shape(), &middle = inner->output()->shape(),
              &y = node.output()->shape();
  if (!x.ranked() || !y.ranked()) return false;
  for (int i = 0; i < x.rank(); ++i)
    if (!x[i].same(middle[i]) && !middle[i].same(y[i])) return false;
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({inner, &node}));
  replace_node(graph, node, TRY(builder.op(*outer, {inner->input(0), node.input(1)})));
  return true;
}

Result<bool> recognise_softmax(Graph& graph, Node& node) {
  static const Pattern kPatterns[] = {
      Pattern("t = reduce_max(x); e = exp(sub(x, t)); s = sum(e); div(e, s)"),
      Pattern("e = exp(x); s = sum(e); div(e, s)")};
  for (const Pattern& pattern : kPatterns) {
    Match m;
    if (!pattern.match(node, m) || !reduces_last_axis(m.node("s"))) continue;
    return rewrite(graph, node, m["x"], "softmax", {{"axis", int64_t{-1}}});
  }
  return false;
}

constexpr Rule kRules[] = {
    {"recognise-clip", "min(max(x, a), b) and the like as one clip", recognise_clip},
    {"recognise-gelu", "x / 2 * (1 + erf(x / sqrt 2)) and its tanh approximation", recognise_gelu},
    {"recognise-hard-sigmoid", "clip(a x + b, 0, 1), clip(x + 3, 0, 6) / 6",
     recognise_hard_sigmoid},
    {"recognise-hard-swish", "x * hard_sigmoid(x)", recognise_hard_swish},
    {"recognise-silu", "x * sigmoid(x), x / (1 + exp(-x))", recognise_silu},
    {"recognise-upsampling", "reshape(tile(expand_dims(x))) = resize(x), repeating elements",
     recognise_upsampling},
    {"merge-resizes", "resize(resize(x)) = resize(x), repeating along different dimensions",
     merge_resizes},
    {"recognise-softmax", "exp(x - max(x)) / sum(exp(x - max(x))) over the last axis",
     recognise_softmax},
};

}  // namespace

std::span<const Rule> recognise_rules() {
  return kRules;
}

}  // namespace tenon
