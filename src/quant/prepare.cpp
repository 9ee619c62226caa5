// Products without the residuals and activations that integers have no fused form for; transposed
// convolutions as products where they are; names of tensors.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "ops/conv.h"
#include "ops/conv_transpose.h"
#include "ops/matmul.h"
#include "quant/quantize.h"

namespace tenon::quant {
namespace {

struct Fused {
  ActivationKind activation = ActivationKind::none;
  double alpha = 0, beta = 0;
};

Fused fused_of(const Node& node) {
  if (const auto* conv = node.as<Conv>()) return {conv->activation, conv->alpha, conv->beta};
  const auto* matmul = node.as<Matmul>();
  return {matmul->activation, matmul->act_alpha, matmul->act_beta};
}

std::unique_ptr<Op> without_activation(const Node& node) {
  if (const auto* conv = node.as<Conv>()) {
    Conv plain = *conv;
    plain.activation = ActivationKind::none;
    plain.alpha = plain.beta = 0;
    return make_op(plain);
  }
  Matmul plain = *node.as<Matmul>();
  plain.activation = ActivationKind::none;
  plain.act_alpha = plain.act_beta = 0;
  return make_op(plain);
}

Result<Tensor> times(const Tensor& w, double factor) {
  Tensor scaled = TRY(Tensor::allocate(DType::f32, w.dims()));
  for (int64_t i = 0; i < w.elements(); ++i)
    scaled.mutable_data<float>()[i] =
        static_cast<float>(static_cast<double>(w.data<float>()[i]) * factor);
  return scaled;
}

// A factor of the product becomes one of its constant weights, and there is a bias to correct.
Status complete(Graph& graph, Node& node) {
  const auto* matmul = node.as<Matmul>();
  const Tensor* w = node.input(1)->constant();
  if (w == nullptr || w->dtype() != DType::f32 || w->rank() < 2) return {};
  const bool scaled = matmul != nullptr && matmul->alpha != 1;
  if (!scaled && node.input(2) != nullptr) return {};
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  std::vector<Value*> operands = node.inputs();
  operands.resize(std::max<size_t>(operands.size(), 3));
  std::unique_ptr<Op> op = node.op().clone();
  if (scaled) {
    operands[1] = builder.constant(TRY(times(*w, matmul->alpha)));
    TRY(set_attr(*op, "alpha", 1.0));
  }
  if (operands[2] == nullptr) {
    const bool transposed = matmul != nullptr && matmul->transpose_b;
    const int64_t channels = w->dim(transposed ? w->rank() - 2 : w->rank() - 1);
    operands[2] = builder.constant(TRY(Tensor::zeros(DType::f32, std::span(&channels, 1))));
  }
  Node* product = TRY(builder.add(std::move(op), std::move(operands)));
  graph.replace_all_uses(node.output(), product->output());
  graph.erase(&node);
  return {};
}

int64_t at_or(const std::vector<int64_t>& values, size_t i, int64_t otherwise) {
  return i < values.size() ? values[i] : otherwise;
}

// A dimension of a transposed convolution as one of a convolution by steps of 1: each window of
// `taps` inputs gives a block of outputs, the first input lying `begin` before the block.
struct BlockDim {
  int64_t taps = 1, begin = 0, end = 0;       // of the convolution, and its pads
  int64_t crop_begin = 0, crop_end = 0;       // of the blocks
  int64_t kernel = 1, stride = 1, shift = 0;  // of what it was
  // Which of its taps stands in tap `d` for output r of a block; it may have none.
  int64_t source(int64_t d, int64_t r) const { return r + shift - (d - begin) * stride; }
};

std::optional<BlockDim> block_dim(const ConvTranspose& conv, int64_t kernel, size_t i) {
  BlockDim d;
  d.kernel = kernel;
  d.stride = at_or(conv.strides, i, 1);
  const int64_t pad = at_or(conv.pads, i, 0), after = at_or(conv.pads, i + 2, 0);
  const int64_t extra = at_or(conv.output_padding, i, 0), s = d.stride;
  const int64_t least = (kernel + s - 1) / s;
  // Blocks that begin where the result does, if that takes no more taps than whole blocks.
  const int64_t surplus = kernel - s - pad - after + extra;
  const int64_t first = -((kernel - 1 - pad) / s), last = (s - 1 + pad) / s;
  d.taps = last - first + 1;
  d.begin = -first;
  d.end = surplus / s + last;
  d.shift = pad;
  if (kernel > pad && surplus % s == 0 && d.taps <= least && d.end >= 0) return d;
  d.taps = least;
  d.begin = d.end = least - 1;
  d.shift = 0;
  d.crop_begin = pad;
  d.crop_end = least * s - kernel + after - extra;
  return d.crop_end < 0 ? std::nullopt : std::optional(d);
}

// Each input pixel gives, with its neighbours where windows overlap, a block of pixels, as channels
// of a product that are moved. The block is square, and few of the product's weights are zeros.
std::optional<std::array<BlockDim, 2>> blocks_of(const Node& node) {
  const auto* conv = node.as<ConvTranspose>();
  if (conv == nullptr || conv->groups != 1 || conv->strides.size() != 2 ||
      std::ranges::any_of(conv->dilations, [](int64_t d) { return d != 1; }))
    return std::nullopt;
  const Value* bias = node.input(2);
  for (const Value* v : {static_cast<const Value*>(node.input(1)), bias})
    if (v != nullptr && (v->constant() == nullptr || v->dtype() != DType::f32)) return std::nullopt;
  const Tensor& w = *node.input(1)->constant();
  const int64_t block = conv->strides[0];
  if (w.rank() != 4 || block < 2 || conv->strides[1] != block ||
      (bias != nullptr && bias->constant()->elements() != w.dim(2)))
    return std::nullopt;
  const auto h = block_dim(*conv, w.dim(0), 0), v = block_dim(*conv, w.dim(1), 1);
  if (!h || !v || h->taps * v->taps * block * block > 2 * w.dim(0) * w.dim(1)) return std::nullopt;
  return std::array{*h, *v};
}

// [taps, taps, C, block * block * M] of [kernel, kernel, M, C].
Result<Tensor> block_filter(const Tensor& w, const std::array<BlockDim, 2>& dims) {
  const auto& [h, v] = dims;
  const int64_t block = h.stride, m = w.dim(2), terms = w.dim(3), columns = block * block * m;
  Tensor filter =
      TRY(Tensor::zeros(DType::f32, std::vector<int64_t>{h.taps, v.taps, terms, columns}));
  for (int64_t i = 0; i < h.taps * v.taps * block * block; ++i) {
    const int64_t phase = i % (block * block), tap = i / (block * block);
    const int64_t kh = h.source(tap / v.taps, phase / block);
    const int64_t kw = v.source(tap % v.taps, phase % block);
    if (kh < 0 || kh >= h.kernel || kw < 0 || kw >= v.kernel) continue;
    for (int64_t j = 0; j < m * terms; ++j)
      filter.mutable_data<float>()[(tap * terms + j % terms) * columns + phase * m + j / terms] =
          w.data<float>()[(kh * v.kernel + kw) * m * terms + j];
  }
  return filter;
}

Status multiply_blocks(Graph& graph, Node& node, const std::array<BlockDim, 2>& dims) {
  const ConvTranspose& transposed = *node.as<ConvTranspose>();
  const auto& [h, v] = dims;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  std::vector<Value*> operands{
      node.input(0), builder.constant(TRY(block_filter(*node.input(1)->constant(), dims)))};
  if (node.input(2) != nullptr) {
    const Tensor& bias = *node.input(2)->constant();
    const int64_t columns = h.stride * h.stride * bias.elements();
    Tensor all = TRY(Tensor::allocate(DType::f32, std::vector<int64_t>{columns}));
    for (int64_t j = 0; j < columns; ++j)
      all.mutable_data<float>()[j] = bias.data<float>()[j % bias.elements()];
    operands.push_back(builder.constant(all));
  }
  Conv conv;
  conv.pads = {h.begin, v.begin, h.end, v.end};
  conv.activation = transposed.activation;
  conv.alpha = transposed.alpha;
  conv.beta = transposed.beta;
  Node* product = TRY(builder.add(make_op(conv), std::move(operands)));
  Value* y = TRY(builder.op("depth_to_space", {product->output()}, {{"block", h.stride}}));
  if (h.crop_begin + h.crop_end + v.crop_begin + v.crop_end > 0) {
    const auto end = [](int64_t crop) {
      return crop > 0 ? -crop : std::numeric_limits<int64_t>::max();
    };
    y = TRY(builder.op("slice",
                       {y, builder.ints({h.crop_begin, v.crop_begin}),
                        builder.ints({end(h.crop_end), end(v.crop_end)})},
                       {{"axes", std::vector<int64_t>{1, 2}}}));
  }
  graph.replace_all_uses(node.output(), y);
  graph.erase(&node);
  return {};
}

}  // namespace

Result<Value*> activated(Builder& builder, const Node& product, Value* x) {
  const Fused f = fused_of(product);
  const std::string name(kActivationNames[static_cast<size_t>(f.activation)]);
  switch (f.activation) {
    case ActivationKind::none:
      return x;
    case ActivationKind::clip:
      return builder.op(name, {x}, {{"min", f.alpha}, {"max", f.beta}});
    case ActivationKind::leaky_relu:
    case ActivationKind::elu:
      return builder.op(name, {x}, {{"alpha", f.alpha}});
    case ActivationKind::hard_sigmoid:
      return builder.op(name, {x}, {{"alpha", f.alpha}, {"beta", f.beta}});
    case ActivationKind::gelu_erf:
      return builder.op("gelu", {x});
    case ActivationKind::gelu_tanh:
      return builder.op("gelu", {x}, {{"approximate", std::string("tanh")}});
    default:
      return builder.op(name, {x});
  }
}

Status prepare(Graph& graph) {
  std::vector<Node*> transposed;
  for (const auto& node : graph.nodes())
    if (node->as<ConvTranspose>() != nullptr) transposed.push_back(node.get());
  for (Node* node : transposed)
    if (const auto blocks = blocks_of(*node)) TRY(multiply_blocks(graph, *node, *blocks));
  std::vector<Node*> order;
  for (const auto& node : graph.nodes()) order.push_back(node.get());
  for (Node* node : order) {
    const bool conv = node->as<Conv>() != nullptr;
    if ((!conv && node->as<Matmul>() == nullptr) || node->output()->dtype() != DType::f32) continue;
    const Fused fused = fused_of(*node);
    if (fused.activation <= ActivationKind::clip && node->input(3) == nullptr) {
      TRY(complete(graph, *node));
      continue;
    }
    Value* residual = node->input(3);
    if (!is_fusable(fused.activation)) continue;
    Builder builder(graph, node);
    // What was fused last stands last.
    std::vector<std::string> origins = node->origins;
    const auto take_last = [&](size_t count) -> std::vector<std::string> {
      if (origins.size() < 2) return origins;
      count = std::min(count, origins.size() - 1);
      const auto first = origins.end() - static_cast<std::ptrdiff_t>(count);
      std::vector<std::string> last(first, origins.end());
      origins.erase(first, origins.end());
      return last;
    };
    // Models have a silu as a sigmoid and a product.
    const size_t nodes = fused.activation == ActivationKind::silu ? 2 : 1;
    const auto of_activation =
        fused.activation == ActivationKind::none ? origins : take_last(nodes);
    const auto of_sum = residual == nullptr ? origins : take_last(1);
    builder.set_origins(origins);
    std::vector<Value*> operands{node->input(0), node->input(1)};
    if (node->input(2) != nullptr) operands.push_back(node->input(2));
    Node* plain = TRY(builder.add(without_activation(*node), std::move(operands)));
    Value* y = plain->output();
    builder.set_origins(of_sum);
    if (residual != nullptr) y = TRY(builder.op("add", {y, residual}));
    builder.set_origins(of_activation);
    y = TRY(activated(builder, *node, y));
    graph.replace_all_uses(node->output(), y);
    graph.erase(node);
    TRY(complete(graph, *plain));
  }
  return {};
}

std::vector<NamedValue> observed_values(const Graph& graph) {
  std::vector<NamedValue> values;
  std::map<std::string, int> uses;
  const auto add = [&](Value* value, std::string name) {
    if (value->type().is_list || value->dtype() != DType::f32 || value->type().is_none()) return;
    const int n = ++uses[name];
    if (n > 1) name += fmt::format("#{}", n);
    values.push_back({value, std::move(name)});
  };
  for (const auto& input : graph.inputs())
    add(input.get(), input->name.empty() ? fmt::format("input {}", values.size()) : input->name);
  for (const auto& node : graph.nodes()) {
    if (node->is("const")) continue;
    const std::string name =
        node->origins.empty() ? std::string(node->def().name) : node->origins.back();
    for (int i = 0; i < node->output_count(); ++i)
      add(node->output(i), i == 0 ? name : fmt::format("{}:{}", name, i));
  }
  return values;
}

}  // namespace tenon::quant
