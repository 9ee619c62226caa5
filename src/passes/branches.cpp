// Sums of convolutions that read one tensor, as RepVGG and MobileOne are trained: one convolution.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/conv.h"
#include "ops/norm.h"
#include "passes/passes.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

// What is linear in x and is added to a convolution of x: another one, or factors of channels,
// which are one of a single tap.
struct Branch {
  Value* x = nullptr;
  const Node* node = nullptr;       // null: x itself
  const Node* conv = nullptr;       // null: `scale`
  Value* residual = nullptr;        // of a convolution
  std::vector<double> scale, bias;  // of each channel; no bias: empty
};

const Tensor* f32_constant(const Value* value, int64_t elements) {
  const Tensor* t = value == nullptr ? nullptr : value->constant();
  return t != nullptr && t->dtype() == DType::f32 && t->elements() == elements ? t : nullptr;
}

int64_t channels_of(const Value* value) {
  const Shape& shape = value->shape();
  return shape.ranked() && shape.rank() > 0 ? shape[shape.rank() - 1].size_or(-1) : -1;
}

std::vector<double> reals_of(const Tensor& t) {
  return {t.span<float>().begin(), t.span<float>().end()};
}

std::optional<Branch> conv_branch(const Node& node) {
  const Conv* conv = node.as<Conv>();
  if (conv == nullptr || node.output()->dtype() != DType::f32 ||
      node.input(0)->dtype() != DType::f32)
    return std::nullopt;
  const int64_t m = channels_of(node.output());
  const Tensor* w = node.input(1)->constant();
  if (w == nullptr || w->dtype() != DType::f32 || m < 1) return std::nullopt;
  Branch branch{.x = node.input(0), .node = &node, .conv = &node, .residual = node.input(3)};
  if (node.input(2) == nullptr) return branch;
  const Tensor* bias = f32_constant(node.input(2), m);
  if (bias == nullptr) return std::nullopt;
  branch.bias = reals_of(*bias);
  return branch;
}

std::optional<Branch> norm_branch(const Node& node) {
  const BatchNorm* norm = node.as<BatchNorm>();
  if (norm == nullptr) return std::nullopt;
  const int64_t m = channels_of(node.output());
  const Tensor* parameters[4];  // scale, offset, mean, variance
  for (int i = 0; i < 4; ++i)
    if ((parameters[i] = f32_constant(node.input(i + 1), m)) == nullptr) return std::nullopt;
  Branch branch{.x = node.input(0), .node = &node};
  for (int64_t i = 0; i < m; ++i) {
    const double s =
        parameters[0]->real_at(i) / std::sqrt(parameters[3]->real_at(i) + norm->epsilon);
    branch.scale.push_back(s);
    branch.bias.push_back(parameters[1]->real_at(i) - parameters[2]->real_at(i) * s);
  }
  return branch;
}

std::optional<Branch> scale_branch(const Node& node) {
  if (!node.is("mul")) return std::nullopt;
  const int64_t m = channels_of(node.output());
  for (int i = 0; i < 2; ++i) {
    const Tensor* factor = f32_constant(node.input(i), m);
    if (factor == nullptr || factor->rank() == 0 || factor->dim(factor->rank() - 1) != m ||
        node.input(1 - i)->type() != node.output()->type())
      continue;
    return Branch{.x = node.input(1 - i), .node = &node, .scale = reals_of(*factor)};
  }
  return std::nullopt;
}

// Whether what reads the value alone scales channels: a residual keeps it from being folded.
bool is_scaled(const Graph& graph, const Value* value) {
  if (!has_single_use(graph, value)) return false;
  const Node& reader = *value->uses()[0].user;
  return norm_branch(reader).has_value() || scale_branch(reader).has_value();
}

// `value` as a branch of x, where `sum` alone reads it. x itself costs nothing as a residual and
// would take bits from narrow weights: only where it is in the way of more.
std::optional<Branch> branch_of(const Graph& graph, Value* value, Value* x, const Value* sum) {
  if (value == x) {
    const int64_t m = channels_of(x);
    if (m < 1 || !is_scaled(graph, sum)) return std::nullopt;
    return Branch{.x = x, .scale = std::vector<double>(static_cast<size_t>(m), 1.0)};
  }
  const Node* node = value->producer();
  if (node == nullptr || node->output_count() != 1 || !has_single_use(graph, value))
    return std::nullopt;
  auto branch = conv_branch(*node);
  if (branch && node->as<Conv>()->activation != ActivationKind::none) return std::nullopt;
  if (!branch) branch = norm_branch(*node);
  if (!branch) branch = scale_branch(*node);
  return branch && branch->x == x ? branch : std::nullopt;
}

// The taps of a branch along one dim: at first, first + step, …, before the first output.
struct Taps {
  int64_t first = 0, count = 1, step = 1, stride = 1, end_pad = 0;
  int64_t last() const { return first + (count - 1) * step; }
};

std::optional<std::vector<Taps>> taps_of(const Branch& branch, size_t spatial) {
  std::vector<Taps> taps(spatial);
  if (branch.conv == nullptr) return taps;
  const Conv& conv = *branch.conv->as<Conv>();
  const Tensor& w = *branch.conv->input(1)->constant();
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < spatial; ++i) {
    const Dim d = branch.x->shape()[static_cast<int>(i) + 1];
    Taps& t = taps[i];
    t.count = w.dim(static_cast<int>(i));
    if (!conv.strides.empty()) t.stride = conv.strides[i];
    if (!conv.dilations.empty()) t.step = conv.dilations[i];
    // Strides of 1 are padded alike whatever the size.
    if (conv.auto_pad != AutoPad::none && t.stride != 1 && !d.known()) return std::nullopt;
    sizes.push_back(d.size_or(1));
  }
  const auto pads = effective_pads(conv, std::span(w.dims()).first(spatial), sizes);
  for (size_t i = 0; i < spatial && !pads.empty(); ++i) {
    taps[i].first = -pads[i];
    taps[i].end_pad = pads[i + spatial];
  }
  return taps;
}

// Those of the sum. Results as many as of a, which b gives, too.
std::optional<Taps> both(const Taps& a, const Taps& b) {
  Taps sum = a;
  if (a.count == 1) sum.step = b.step;
  if (a.stride != b.stride || (b.count > 1 && b.step != sum.step) ||
      (a.first - b.first) % sum.step != 0)
    return std::nullopt;
  sum.first = std::min(a.first, b.first);
  const int64_t last = std::max(a.last(), b.last());
  sum.count = (last - sum.first) / sum.step + 1;
  sum.end_pad = a.end_pad + last - a.last();
  return sum.first <= 0 ? std::optional(sum) : std::nullopt;
}

int64_t count_of(const std::vector<Taps>& taps) {
  return std::accumulate(taps.begin(), taps.end(), int64_t{1},
                         [](int64_t n, const Taps& t) { return n * t.count; });
}

// Adds the branch's weights, times `sign`, where its taps are among those of the sum.
void add_weights(const Branch& branch, double sign, const std::vector<Taps>& own,
                 const std::vector<Taps>& sum, int64_t in_channels, int64_t m, float* to) {
  for (int64_t tap = 0; tap < count_of(own); ++tap) {
    int64_t at = 0, before = 1, rest = tap;
    for (size_t i = own.size(); i-- > 0; rest /= own[i].count) {
      const int64_t offset = own[i].first + rest % own[i].count * own[i].step;
      at += (offset - sum[i].first) / sum[i].step * before;
      before *= sum[i].count;
    }
    float* const row = to + at * in_channels * m;
    if (branch.conv == nullptr) {
      for (int64_t o = 0; o < m; ++o)
        row[o % in_channels * m + o] +=
            static_cast<float>(sign * branch.scale[static_cast<size_t>(o)]);
      continue;
    }
    const float* w = branch.conv->input(1)->constant()->data<float>() + tap * in_channels * m;
    for (int64_t i = 0; i < in_channels * m; ++i) row[i] += static_cast<float>(sign) * w[i];
  }
}

// sign_a * a + sign_b * b as one convolution, a being one, in the place of `node`.
Result<bool> merge(Graph& graph, Node& node, const Branch& a, double sign_a, const Branch& b,
                   double sign_b) {
  const Conv& conv = *a.conv->as<Conv>();
  const Tensor& w = *a.conv->input(1)->constant();
  const auto spatial = static_cast<size_t>(w.rank() - 2);
  const int64_t m = w.dim(w.rank() - 1), in_channels = w.dim(w.rank() - 2);
  if (b.conv != nullptr && b.conv->input(1)->constant()->rank() != w.rank()) return false;
  if (b.conv != nullptr ? b.conv->as<Conv>()->groups != conv.groups
                        : in_channels * conv.groups != m)
    return false;
  const auto taps_a = taps_of(a, spatial), taps_b = taps_of(b, spatial);
  if (!taps_a || !taps_b) return false;
  std::vector<Taps> taps;
  for (size_t i = 0; i < spatial; ++i) {
    const auto sum = both((*taps_a)[i], (*taps_b)[i]);
    if (!sum) return false;
    taps.push_back(*sum);
  }
  // Not more multiplications than they have: rows and columns of taps are no square.
  if (count_of(taps) > count_of(*taps_a) + (b.conv == nullptr ? 0 : count_of(*taps_b)))
    return false;

  Conv merged = conv;
  merged.auto_pad = AutoPad::none;
  merged.pads.assign(2 * spatial, 0);
  merged.dilations.clear();
  std::vector<int64_t> dims(w.dims().begin(), w.dims().end());
  for (size_t i = 0; i < spatial; ++i) {
    merged.pads[i] = -taps[i].first;
    merged.pads[i + spatial] = taps[i].end_pad;
    merged.dilations.push_back(taps[i].step);
    dims[i] = taps[i].count;
  }
  if (std::ranges::all_of(merged.dilations, [](int64_t d) { return d == 1; }))
    merged.dilations.clear();
  Tensor weights = TRY(Tensor::allocate(DType::f32, dims));
  std::fill_n(weights.mutable_data<float>(), weights.elements(), 0.0f);
  add_weights(a, sign_a, *taps_a, taps, in_channels, m, weights.mutable_data<float>());
  add_weights(b, sign_b, *taps_b, taps, in_channels, m, weights.mutable_data<float>());
  std::vector<float> bias;
  for (size_t i = 0; i < static_cast<size_t>(m) && !(a.bias.empty() && b.bias.empty()); ++i)
    bias.push_back(static_cast<float>((a.bias.empty() ? 0 : sign_a * a.bias[i]) +
                                      (b.bias.empty() ? 0 : sign_b * b.bias[i])));

  Builder builder(graph, &node);
  builder.set_origins(merge_origins({b.node == nullptr ? &node : b.node, a.node, &node}));
  Value* residual = b.residual;
  std::vector<Value*> operands{a.x, builder.constant(weights)};
  if (!bias.empty() || residual != nullptr)
    operands.push_back(bias.empty() ? nullptr : builder.constant(Tensor::vector(bias)));
  if (residual != nullptr) operands.push_back(residual);
  Value* y = TRY(builder.op(std::move(merged), std::move(operands)));
  if (!is_compatible(node.output()->type(), y->type())) return false;
  graph.replace_all_uses(node.output(), y);
  return true;
}

// conv(x, w) whose residual is a branch of x; what that adds itself is the residual then.
Result<bool> merge_residual(Graph& graph, Node& node) {
  if (node.as<Conv>() == nullptr || node.input(3) == nullptr) return false;
  const auto a = conv_branch(node);
  if (!a) return false;
  const auto b = branch_of(graph, node.input(3), a->x, node.output());
  return b ? merge(graph, node, *a, 1, *b, 1) : Result<bool>(false);
}

// The difference of a convolution of x and a branch of x.
Result<bool> merge_difference(Graph& graph, Node& node) {
  if (!node.is("sub")) return false;
  for (int i = 0; i < 2; ++i) {
    const Node* producer = node.input(i)->producer();
    if (producer == nullptr || producer->as<Conv>() == nullptr ||
        node.input(i)->type() != node.output()->type() ||
        node.input(1 - i)->type() != node.output()->type())
      continue;
    const auto a = branch_of(graph, node.input(i), producer->input(0), node.output());
    const auto b = branch_of(graph, node.input(1 - i), producer->input(0), node.output());
    if (!a || !b || a->residual != nullptr || b->residual != nullptr) continue;
    return merge(graph, node, *a, i == 0 ? 1 : -1, *b, i == 0 ? -1 : 1);
  }
  return false;
}

constexpr Rule kRules[] = {
    {"merge-branches", "conv(x, w, b, conv(x, v, c, r)) = conv(x, w + v, b + c, r)",
     merge_residual},
    {"merge-difference", "conv(x, w) - batch_norm(x) = conv(x, w - s, -t), s of each channel",
     merge_difference},
};

}  // namespace

std::span<const Rule> branch_rules() {
  return kRules;
}

}  // namespace tenon
