// Products without the residuals and activations that integers have no fused form for; transposed
// convolutions as products where they are; names of tensors.
#include <fmt/format.h>

#include <algorithm>
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

// The activation as an op of its own.
Result<Value*> apply(Builder& builder, const Fused& f, Value* x) {
  const std::string name(kActivationNames[static_cast<size_t>(f.activation)]);
  switch (f.activation) {
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

bool are(const std::vector<int64_t>& values, int64_t wanted) {
  return std::ranges::all_of(values, [&](int64_t v) { return v == wanted; });
}

// Windows that do not overlap: each input pixel gives a block of pixels, as channels of a product
// that are moved. The block is square.
bool gives_blocks(const Node& node) {
  const auto* conv = node.as<ConvTranspose>();
  if (conv == nullptr || conv->groups != 1 || !are(conv->pads, 0) || !are(conv->dilations, 1) ||
      !are(conv->output_padding, 0) || conv->strides.size() != 2)
    return false;
  const Value* bias = node.input(2);
  for (const Value* v : {static_cast<const Value*>(node.input(1)), bias})
    if (v != nullptr && (v->constant() == nullptr || v->dtype() != DType::f32)) return false;
  const Tensor& w = *node.input(1)->constant();
  const int64_t block = conv->strides[0];
  return w.rank() == 4 && block > 1 && conv->strides[1] == block && w.dim(0) == block &&
         w.dim(1) == block && (bias == nullptr || bias->constant()->elements() == w.dim(2));
}

Status multiply_blocks(Graph& graph, Node& node) {
  const ConvTranspose& transposed = *node.as<ConvTranspose>();
  const Tensor& w = *node.input(1)->constant();  // [block, block, M, C]
  const int64_t block = w.dim(0), columns = block * block * w.dim(2), terms = w.dim(3);
  Tensor filter = TRY(Tensor::allocate(DType::f32, std::vector<int64_t>{1, 1, terms, columns}));
  for (int64_t j = 0; j < columns; ++j)
    for (int64_t c = 0; c < terms; ++c)
      filter.mutable_data<float>()[c * columns + j] = w.data<float>()[j * terms + c];
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  std::vector<Value*> operands{node.input(0), builder.constant(filter)};
  if (node.input(2) != nullptr) {
    const Tensor& bias = *node.input(2)->constant();
    Tensor all = TRY(Tensor::allocate(DType::f32, std::vector<int64_t>{columns}));
    for (int64_t j = 0; j < columns; ++j)
      all.mutable_data<float>()[j] = bias.data<float>()[j % bias.elements()];
    operands.push_back(builder.constant(all));
  }
  Conv conv;
  conv.activation = transposed.activation;
  conv.alpha = transposed.alpha;
  conv.beta = transposed.beta;
  Node* product = TRY(builder.add(make_op(conv), std::move(operands)));
  Value* y = TRY(builder.op("depth_to_space", {product->output()}, {{"block", block}}));
  graph.replace_all_uses(node.output(), y);
  graph.erase(&node);
  return {};
}

}  // namespace

Status prepare(Graph& graph) {
  std::vector<Node*> transposed;
  for (const auto& node : graph.nodes())
    if (gives_blocks(*node)) transposed.push_back(node.get());
  for (Node* node : transposed) TRY(multiply_blocks(graph, *node));
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
    if (fused.activation != ActivationKind::none) y = TRY(apply(builder, fused, y));
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
