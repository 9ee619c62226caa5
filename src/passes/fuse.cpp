// What convolutions and matrix products take in: scales, biases, residuals, activations, padding.
#include <algorithm>
#include <cmath>

#include "ops/matmul.h"
#include "passes/passes.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

bool is_producer(const Node* node) {
  return node != nullptr && (node->is("conv") || node->is("matmul") || node->is("conv_transpose"));
}

AttrValue attr(const Node& node, std::string_view name) {
  const auto fields = node.def().fields;
  for (size_t i = 0; i < fields.size(); ++i)
    if (fields[i].name == name) return node.op().get(i);
  return int64_t{0};
}

bool attr_is(const Node& node, std::string_view name, const AttrValue& value) {
  return attr_equal(attr(node, name), value);
}

bool has_activation(const Node& node) {
  return !attr_is(node, "activation", std::string("none"));
}

// The conv or matmul behind operand i of `node`, when only this node reads it and nothing was
// applied to its result that the fusion would have to go before.
Node* open_producer(const Graph& graph, const Node& node, int i) {
  const Value* x = node.input(i);
  if (x == nullptr || !is_producer(x->producer()) || !has_single_use(graph, x)) return nullptr;
  Node* producer = x->producer();
  return has_activation(*producer) || producer->input(3) != nullptr ? nullptr : producer;
}

// A constant of one value per output channel: dims […1, M], M the last dimension of `like`.
const Tensor* per_channel(const Value* value, const Value* like) {
  const Tensor* t = value == nullptr ? nullptr : value->constant();
  if (t == nullptr || t->dtype() != DType::f32 || !like->shape().ranked()) return nullptr;
  const int rank = like->shape().rank();
  if (rank == 0) return nullptr;
  const Dim channels = like->shape()[rank - 1];
  if (!channels.known() || t->elements() != channels.size() || t->rank() > rank) return nullptr;
  if (t->rank() == 0 || t->dim(t->rank() - 1) != channels.size()) return nullptr;
  return t;
}

// The output channel that each weight is for, repeating itself; empty where there are not so many.
std::vector<size_t> output_channels(const Node& producer, const Tensor& w, int64_t channels) {
  const int64_t last = w.dim(w.rank() - 1);
  std::vector<size_t> result;
  if (!producer.is("conv_transpose")) {
    for (int64_t m = 0; m < channels && last == channels; ++m)
      result.push_back(static_cast<size_t>(m));
    return result;
  }
  // [spatial…, M / groups, C]: the group of the input channel says which part of M it is.
  const int64_t groups = std::get<int64_t>(attr(producer, "groups"));
  const int64_t own = w.dim(w.rank() - 2);
  if (groups < 1 || own * groups != channels || last % groups != 0) return result;
  for (int64_t m = 0; m < own; ++m)
    for (int64_t c = 0; c < last; ++c)
      result.push_back(static_cast<size_t>(c / (last / groups) * own + m));
  return result;
}

// Replaces the producer by one with weights w*scale and bias bias*scale + shift.
Result<bool> scale_producer(Graph& graph, Node& node, Node& producer,
                            const std::vector<float>& scale, const std::vector<float>& shift) {
  const Tensor* w = producer.input(1)->constant();
  if (producer.output()->type() != node.output()->type()) return false;
  if (w == nullptr || w->dtype() != DType::f32 || w->rank() < 2) return false;
  if (producer.is("matmul") && attr_is(producer, "transpose_b", true)) return false;
  const auto m = static_cast<int64_t>(scale.size());
  const auto channel = output_channels(producer, *w, m);
  if (channel.empty()) return false;
  const Value* old_bias = producer.input(2);
  if (old_bias != nullptr &&
      (old_bias->constant() == nullptr || old_bias->constant()->elements() != m))
    return false;
  Tensor weights = TRY(Tensor::allocate(DType::f32, w->dims()));
  const float* src = w->data<float>();
  float* dst = weights.mutable_data<float>();
  for (int64_t i = 0; i < w->elements(); ++i)
    dst[i] = src[i] * scale[channel[static_cast<size_t>(i) % channel.size()]];
  Tensor bias = TRY(Tensor::allocate(DType::f32, std::span(&m, 1)));
  for (int64_t i = 0; i < m; ++i) {
    const auto u = static_cast<size_t>(i);
    const float old = old_bias == nullptr ? 0.0f : old_bias->constant()->data<float>()[i];
    bias.mutable_data<float>()[i] = old * scale[u] + shift[u];
  }
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({&producer, &node}));
  Node* fused =
      TRY(builder.add(producer.op().clone(),
                      {producer.input(0), builder.constant(weights), builder.constant(bias)}));
  graph.replace_all_uses(node.output(), fused->output());
  return true;
}

struct Affine {
  std::vector<float> scale, shift;
};

// Batch normalisation with constant parameters as x * scale + shift.
std::optional<Affine> affine_of(const Node& node) {
  if (!node.is("batch_norm")) return std::nullopt;
  const Tensor* parameters[4];
  for (int i = 0; i < 4; ++i) {
    parameters[i] = per_channel(node.input(i + 1), node.output());
    if (parameters[i] == nullptr) return std::nullopt;
  }
  const double epsilon = std::get<double>(attr(node, "epsilon"));
  Affine affine;
  for (int64_t i = 0; i < parameters[0]->elements(); ++i) {
    const double s = parameters[0]->real_at(i) / std::sqrt(parameters[3]->real_at(i) + epsilon);
    affine.scale.push_back(static_cast<float>(s));
    affine.shift.push_back(
        static_cast<float>(parameters[1]->real_at(i) - parameters[2]->real_at(i) * s));
  }
  return affine;
}

Result<bool> fold_batch_norm(Graph& graph, Node& node) {
  if (!node.is("batch_norm")) return false;
  Node* producer = open_producer(graph, node, 0);
  if (producer == nullptr) return false;
  const auto affine = affine_of(node);
  return affine ? scale_producer(graph, node, *producer, affine->scale, affine->shift)
                : Result<bool>(false);
}

// The scale and shift per channel of what comes before a product.
std::optional<Affine> affine_before(const Node& node) {
  if (node.is("batch_norm")) return affine_of(node);
  if (!node.is("mul")) return std::nullopt;
  for (int i = 0; i < 2; ++i)
    if (const Tensor* t = per_channel(node.input(i), node.output());
        t != nullptr && node.input(1 - i)->type() == node.output()->type())
      return Affine{{t->span<float>().begin(), t->span<float>().end()},
                    std::vector<float>(static_cast<size_t>(t->elements()))};
  return std::nullopt;
}

// conv(x * s + t) = conv(x) with weights that are scaled and a bias. A shift does not go through
// padding, which would not be shifted.
Result<bool> fold_scale_before(Graph& graph, Node& node) {
  if ((!node.is("conv") && !node.is("matmul")) || !has_single_use(graph, node.input(0)))
    return false;
  Node* before = node.input(0)->producer();
  const auto affine = before == nullptr ? std::nullopt : affine_before(*before);
  const Tensor* w = node.input(1)->constant();
  const Value* old_bias = node.input(2);
  if (!affine || w == nullptr || w->dtype() != DType::f32 || w->rank() < 2 ||
      (old_bias != nullptr && old_bias->constant() == nullptr))
    return false;
  const bool is_conv = node.is("conv");
  const bool shifts = std::ranges::any_of(affine->shift, [](float t) { return t != 0; });
  if (is_conv && shifts &&
      (!attr_is(node, "auto_pad", std::string("none")) ||
       std::ranges::any_of(std::get<std::vector<int64_t>>(attr(node, "pads")),
                           [](int64_t p) { return p != 0; })))
    return false;
  if (!is_conv && (w->rank() != 2 || attr_is(node, "transpose_a", true) ||
                   attr_is(node, "transpose_b", true) || !attr_is(node, "alpha", 1.0)))
    return false;
  const int64_t groups = is_conv ? std::get<int64_t>(attr(node, "groups")) : 1;
  const int64_t m = w->dim(w->rank() - 1), own = w->dim(w->rank() - 2);
  if (groups < 1 || m % groups != 0 || own * groups != static_cast<int64_t>(affine->scale.size()))
    return false;
  Tensor weights = TRY(Tensor::allocate(DType::f32, w->dims()));
  std::vector<double> sums(static_cast<size_t>(m));
  for (int64_t i = 0; i < w->elements(); ++i) {
    const int64_t to = i % m;
    const auto from = static_cast<size_t>(to / (m / groups) * own + i / m % own);
    weights.mutable_data<float>()[i] = w->data<float>()[i] * affine->scale[from];
    sums[static_cast<size_t>(to)] += double{w->data<float>()[i]} * affine->shift[from];
  }
  std::vector<float> bias(static_cast<size_t>(m));
  if (old_bias != nullptr && old_bias->constant()->elements() != m) return false;
  for (size_t i = 0; i < bias.size(); ++i)
    bias[i] = static_cast<float>(
        sums[i] + (old_bias == nullptr ? 0.0f : old_bias->constant()->data<float>()[i]));
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({before, &node}));
  std::vector<Value*> operands = node.inputs();
  if (operands.size() < 3) operands.resize(3);
  const bool swapped = !before->is("batch_norm") && before->input(0)->constant() != nullptr;
  operands[0] = before->input(swapped ? 1 : 0);
  operands[1] = builder.constant(weights);
  if (shifts || old_bias != nullptr) operands[2] = builder.constant(Tensor::vector(bias));
  while (operands.back() == nullptr) operands.pop_back();
  Value* y = TRY(builder.add(node.op().clone(), std::move(operands)))->output();
  if (!is_compatible(node.output()->type(), y->type())) return false;
  graph.replace_all_uses(node.output(), y);
  return true;
}

// What no producer took in becomes pointwise, to be fused with its neighbours.
Result<bool> expand_batch_norm(Graph& graph, Node& node) {
  const auto affine = affine_of(node);
  if (!affine) return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Value* scaled =
      TRY(builder.op("mul", {node.input(0), builder.constant(Tensor::vector(affine->scale))}));
  Value* y = TRY(builder.op("add", {scaled, builder.constant(Tensor::vector(affine->shift))}));
  if (y->type() != node.output()->type()) return false;
  graph.replace_all_uses(node.output(), y);
  return true;
}

// The constant, per channel or a scalar, that `node` combines with its operand i, for each channel.
std::optional<std::vector<float>> channel_values(const Node& node, int i) {
  const Value* value = node.input(1 - i);
  const Shape& y = node.output()->shape();
  std::vector<float> factor;
  if (const Tensor* t = per_channel(value, node.output())) {
    factor.assign(t->span<float>().begin(), t->span<float>().end());
  } else {
    const Tensor* scalar = value->constant();
    if (scalar == nullptr || scalar->dtype() != DType::f32 || scalar->elements() != 1 ||
        !y.ranked() || y.rank() == 0 || scalar->rank() > y.rank() || !y[y.rank() - 1].known())
      return std::nullopt;
    factor.assign(static_cast<size_t>(y[y.rank() - 1].size()), scalar->data<float>()[0]);
  }
  return factor;
}

// The factor of `mul` or `div`.
std::optional<std::vector<float>> channel_factor(const Node& node, int i) {
  auto factor = channel_values(node, i);
  if (!factor || !node.is("div")) return factor;
  for (float& f : *factor) {
    if (f == 0) return std::nullopt;
    f = 1 / f;
  }
  return factor;
}

Result<bool> fold_channel_scale(Graph& graph, Node& node) {
  if (!node.is("mul") && !node.is("div")) return false;
  for (int i = 0; i < (node.is("mul") ? 2 : 1); ++i) {
    Node* producer = open_producer(graph, node, i);
    if (producer == nullptr) continue;
    const auto factor = channel_factor(node, i);
    if (!factor) continue;
    return scale_producer(graph, node, *producer, *factor, std::vector<float>(factor->size()));
  }
  return false;
}

// A scale of a product of two activations goes into its attribute.
Result<bool> fold_alpha(Graph& graph, Node& node) {
  if (!node.is("mul") && !node.is("div")) return false;
  for (int i = 0; i < (node.is("mul") ? 2 : 1); ++i) {
    Node* producer = open_producer(graph, node, i);
    const auto factor = splat_value(node.input(1 - i));
    if (producer == nullptr || !factor || producer->input_count() != 2 || *factor == 0 ||
        producer->as<Matmul>() == nullptr || node.output()->dtype() != DType::f32 ||
        producer->output()->type() != node.output()->type())
      continue;
    Matmul scaled = *producer->as<Matmul>();
    scaled.alpha *= node.is("mul") ? *factor : 1 / *factor;
    Builder builder(graph, &node);
    builder.set_origins(merge_origins({producer, &node}));
    Value* y = TRY(builder.op(scaled, producer->inputs()));
    graph.replace_all_uses(node.output(), y);
    return true;
  }
  return false;
}

Result<bool> fuse_bias(Graph& graph, Node& node) {
  if (!node.is("add") && !node.is("sub")) return false;
  for (int i = 0; i < (node.is("add") ? 2 : 1); ++i) {
    Node* producer = open_producer(graph, node, i);
    if (producer == nullptr || producer->output()->type() != node.output()->type()) continue;
    auto bias = channel_values(node, i);
    if (!bias) continue;
    if (node.is("sub"))
      for (float& b : *bias) b = -b;
    Tensor sum = Tensor::vector(*bias);
    float* p = sum.mutable_data<float>();
    if (const Value* old = producer->input(2)) {
      if (old->constant() == nullptr || old->constant()->elements() != sum.elements()) continue;
      for (int64_t k = 0; k < sum.elements(); ++k) p[k] += old->constant()->data<float>()[k];
    }
    Builder builder(graph, &node);
    builder.set_origins(merge_origins({producer, &node}));
    Node* fused = TRY(builder.add(producer->op().clone(),
                                  {producer->input(0), producer->input(1), builder.constant(sum)}));
    graph.replace_all_uses(node.output(), fused->output());
    return true;
  }
  return false;
}

Result<bool> fuse_residual(Graph& graph, Node& node) {
  if (!node.is("add") || node.output()->dtype() != DType::f32) return false;
  for (int i = 0; i < 2; ++i) {
    Node* producer = open_producer(graph, node, i);
    Value* other = node.input(1 - i);
    if (producer == nullptr || other->producer() == producer || producer->is("conv_transpose"))
      continue;
    const Shape& shape = node.output()->shape();
    if (!shape.ranked() || other->shape() != shape || producer->output()->shape() != shape)
      continue;
    bool same = true;
    for (const Dim d : shape.dims()) same &= d.same(d);
    if (!same) continue;
    Builder builder(graph, &node);
    builder.set_origins(merge_origins({producer, &node}));
    Node* fused = TRY(builder.add(producer->op().clone(), {producer->input(0), producer->input(1),
                                                           producer->input(2), other}));
    graph.replace_all_uses(node.output(), fused->output());
    return true;
  }
  return false;
}

struct ActivationCall {
  std::string kind;
  double alpha = 0, beta = 0;
};

std::optional<ActivationCall> as_activation(const Node& node) {
  const auto number = [&](std::string_view name) { return std::get<double>(attr(node, name)); };
  for (const char* kind : {"relu", "sigmoid", "tanh", "silu", "hard_swish", "softplus", "softsign"})
    if (node.is(kind)) return ActivationCall{kind};
  if (node.is("leaky_relu") || node.is("elu"))
    return ActivationCall{std::string(node.def().name), number("alpha")};
  if (node.is("clip")) return ActivationCall{"clip", number("min"), number("max")};
  if (node.is("hard_sigmoid"))
    return ActivationCall{"hard_sigmoid", number("alpha"), number("beta")};
  if (node.is("gelu"))
    return ActivationCall{attr_is(node, "approximate", std::string("tanh")) ? "gelu_tanh"
                                                                            : "gelu_erf"};
  return std::nullopt;
}

Result<bool> fuse_activation(Graph& graph, Node& node) {
  const auto call = as_activation(node);
  if (!call || node.output()->dtype() != DType::f32) return false;
  const Value* x = node.input(0);
  if (!is_producer(x->producer()) || !has_single_use(graph, x) || has_activation(*x->producer()))
    return false;
  Node* producer = x->producer();
  auto op = producer->op().clone();
  const bool conv = !producer->is("matmul");
  TRY(set_attr(*op, "activation", call->kind));
  TRY(set_attr(*op, conv ? "alpha" : "act_alpha", call->alpha));
  TRY(set_attr(*op, conv ? "beta" : "act_beta", call->beta));
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({producer, &node}));
  const auto fused = builder.add(std::move(op), producer->inputs());
  if (!fused.ok()) return false;  // not one that the op has
  graph.replace_all_uses(node.output(), (*fused)->output());
  return true;
}

constexpr Rule kRules[] = {
    {"fold-batch-norm", "batch_norm(conv(x, w, b)) = conv(x, w*s, b*s + t)", fold_batch_norm},
    {"fold-channel-scale", "conv(x, w, b) * s = conv(x, w*s, b*s), s per channel",
     fold_channel_scale},
    {"fold-scale-before", "conv(x*s + t) = conv(x, w*s, b + sum(w*t)), unless padding is shifted",
     fold_scale_before},
    {"fold-alpha", "matmul(x, y) * s = matmul(x, y){alpha=s}", fold_alpha},
    {"fuse-bias", "conv(x, w) + b = conv(x, w, b), b per channel", fuse_bias},
    {"fuse-residual", "conv(x, w, b) + r = conv(x, w, b, r)", fuse_residual},
    {"fuse-activation", "relu(conv(x, …)) = conv(x, …){activation=relu}", fuse_activation},
};

constexpr Rule kExpandRules[] = {
    {"expand-batch-norm", "batch_norm(x) = x * s + t, constant per channel", expand_batch_norm},
};

}  // namespace

std::span<const Rule> expand_rules() {
  return kExpandRules;
}

std::span<const Rule> fuse_rules() {
  return kRules;
}

}  // namespace tenon
