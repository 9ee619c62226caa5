#include "quant/rescale.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <unordered_set>

#include "ops/conv.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "quant/byte_layers.h"
#include "quant/plan.h"
#include "quant/quantize.h"

namespace tenon::quant {
namespace {

// Factors nearer to 1 than this change nothing worth a new calibration; larger ones than the other
// are not believed.
constexpr double kLeastFactor = 1.2, kMostFactor = 1e4;

// A constant array seen as [outer, channels, inner].
struct Channels {
  int64_t outer = 1, count = 0, inner = 1;
  int64_t of(int64_t i) const { return i / inner % count; }
};

Channels along(const Tensor& t, int axis) {
  Channels c;
  for (int i = 0; i < axis; ++i) c.outer *= t.dim(i);
  c.count = t.dim(axis);
  for (int i = axis + 1; i < t.rank(); ++i) c.inner *= t.dim(i);
  return c;
}

bool is_constant_f32(const Value* v) {
  return v != nullptr && v->constant() != nullptr && v->dtype() == DType::f32;
}

bool is_depthwise(const Node& product) {
  const Conv* conv = product.as<Conv>();
  return conv != nullptr && conv->groups > 1 &&
         conv->groups ==
             product.input(1)->shape()[product.input(1)->shape().rank() - 1].size_or(-1);
}

// Which dimension of the weights the channels of the product's input (or result) are; -1: none.
int input_axis(const Node& product) {
  const int rank = product.input(1)->shape().rank();
  if (is_recurrent(product)) return rank - 2;
  if (const Matmul* matmul = product.as<Matmul>()) {
    if (matmul->transpose_a) return -1;
    return matmul->transpose_b ? rank - 1 : rank - 2;
  }
  if (is_depthwise(product)) return rank - 1;
  return product.as<Conv>()->groups == 1 ? rank - 2 : -1;
}
int output_axis(const Node& product) {
  const Matmul* matmul = product.as<Matmul>();
  const int rank = product.input(1)->shape().rank();
  return matmul != nullptr && matmul->transpose_b ? rank - 2 : rank - 1;
}

bool is_plain_product(const Node& node) {
  return is_product(node) && is_constant_f32(node.input(1)) && node.input(1)->shape().rank() >= 2 &&
         (node.as<Matmul>() == nullptr ||
          (node.input(1)->shape().rank() == 2 && node.as<Matmul>()->alpha == 1));
}

// Whether f(x * s) = f(x) * s by channel for positive s.
bool is_proportional(const Node& node) {
  return node.is("relu") || node.is("leaky_relu") || node.is("max_pool") || node.is("identity") ||
         (support_of(node) == Support::move && node.is("pad"));
}

bool activation_is_proportional(const Node& product) {
  ActivationKind kind = ActivationKind::none;
  if (const auto* conv = product.as<Conv>()) kind = conv->activation;
  if (const auto* matmul = product.as<Matmul>()) kind = matmul->activation;
  return kind == ActivationKind::none || kind == ActivationKind::relu;
}

int input_axis_of_reader(const Node& node) {
  const bool reads = is_plain_product(node) ||
                     (is_recurrent(node) && is_candidate(node) && is_constant_f32(node.input(1)));
  return reads ? input_axis(node) : -1;
}

// The products that read `v`, also through what is proportional; false where anything else does.
bool find_readers(const Graph& graph, const Value* v, std::vector<Node*>& readers) {
  if (graph.is_output(v) || v->uses().empty()) return false;
  return std::ranges::all_of(v->uses(), [&](const Use& use) {
    Node* user = use.user;
    if (use.index != 0) return false;
    if (is_plain_product(*user) && input_axis(*user) >= 0) {
      readers.push_back(user);
      return true;
    }
    return is_proportional(*user) && user->output_count() == 1 &&
           find_readers(graph, user->output(), readers);
  });
}

// The products and recurrent layers that read `v` itself.
std::vector<Node*> direct_readers(const Value* v) {
  std::vector<Node*> readers;
  for (const Use& use : v->uses())
    if (use.index == 0 && input_axis_of_reader(*use.user) >= 0) readers.push_back(use.user);
  return readers;
}

// The values that hang on no layer's result.
std::unordered_set<const Value*> before_layers(const Graph& graph) {
  std::unordered_set<const Value*> values;
  for (const auto& input : graph.inputs()) values.insert(input.get());
  for (const auto& node : graph.nodes()) {
    const bool is_before = !is_candidate(*node) && !node->is("const") && node->regions().empty() &&
                           std::ranges::all_of(node->inputs(), [&](const Value* v) {
                             return v == nullptr || v->constant() != nullptr || values.contains(v);
                           });
    for (int i = 0; is_before && i < node->output_count(); ++i) values.insert(node->output(i));
  }
  return values;
}

// The largest weight that each channel is multiplied by.
void widen(const Node& reader, std::vector<double>& largest) {
  const Tensor& w = *reader.input(1)->constant();
  const Channels channels = along(w, input_axis(reader));
  if (channels.count != static_cast<int64_t>(largest.size())) return largest.clear();
  for (int64_t i = 0; i < w.elements(); ++i) {
    double& most = largest[static_cast<size_t>(channels.of(i))];
    most = std::max(most, std::abs(static_cast<double>(w.data<float>()[i])));
  }
}

Status multiply(Graph& graph, Node& node, int operand, int axis, std::span<const double> factors) {
  const Tensor& t = *node.input(operand)->constant();
  const Channels channels = along(t, axis);
  if (channels.count != static_cast<int64_t>(factors.size()))
    return internal_error("factors of another number of channels");
  Tensor scaled = TRY(Tensor::allocate(DType::f32, t.dims()));
  for (int64_t i = 0; i < t.elements(); ++i)
    scaled.mutable_data<float>()[i] = static_cast<float>(
        static_cast<double>(t.data<float>()[i]) * factors[static_cast<size_t>(channels.of(i))]);
  Builder b(graph, &node);
  node.set_input(operand, b.constant(scaled));
  return {};
}

// Has them read `v` multiplied by channel.
Status multiply_input(Graph& graph, Value* v, const std::vector<Node*>& readers,
                      std::span<const double> factors) {
  const std::vector<float> all(factors.begin(), factors.end());
  Builder b(graph, readers.front());
  Value* scaled = TRY(b.op("mul", {v, b.constant(Tensor::vector(all))}));
  for (Node* reader : readers) reader->set_input(0, scaled);
  graph.sort();
  return {};
}

// The operands that multiply and add by channel in what makes `v`: weights and bias, gamma and
// beta.
struct Source {
  Node* node;
  std::vector<std::pair<int, int>> operands;  // and the dimension of the channels
};

std::optional<Source> source_of(Node& node, Rescaling kind) {
  Source s{&node, {}};
  if (kind == Rescaling::between_products) {
    if (!is_plain_product(node) || !activation_is_proportional(node) || node.input(3) != nullptr)
      return std::nullopt;
    s.operands.emplace_back(1, output_axis(node));
    if (node.input(2) != nullptr) s.operands.emplace_back(2, 0);
  } else {
    if (node.as<LayerNorm>() == nullptr && node.as<RmsNorm>() == nullptr) return std::nullopt;
    if (node.input(1) == nullptr) return std::nullopt;
    for (const int i : {1, 2})
      if (node.input(i) != nullptr) s.operands.emplace_back(i, node.input(i)->shape().rank() - 1);
  }
  for (const auto& [operand, axis] : s.operands) {
    if (!is_constant_f32(node.input(operand)) || axis < 0) return std::nullopt;
    if (operand == 2 && kind == Rescaling::between_products && node.input(2)->shape().rank() != 1)
      return std::nullopt;
  }
  return s;
}

}  // namespace

Result<std::vector<std::string>> rescale_channels(Graph& graph,
                                                  const FunctionStatistics& statistics,
                                                  Rescaling kind, double part) {
  std::vector<std::string> rescaled;
  std::vector<NamedValue> values = observed_values(graph);
  const bool of_inputs = kind == Rescaling::of_inputs;
  const auto before = of_inputs ? before_layers(graph) : std::unordered_set<const Value*>();
  for (const NamedValue& v : values) {
    Node* producer = v.value->producer();
    const auto seen = statistics.tensors.find(v.name);
    if (seen == statistics.tensors.end()) continue;
    std::optional<Source> source;
    std::vector<Node*> readers;
    if (of_inputs) {
      if (before.contains(v.value)) readers = direct_readers(v.value);
      if (readers.empty()) continue;
    } else {
      if (producer != nullptr) source = source_of(*producer, kind);
      if (!source || !find_readers(graph, v.value, readers)) continue;
    }
    const std::vector<float>& sizes = seen->second.channel_max_abs;
    std::vector<double> weights(sizes.size());
    for (const Node* reader : readers)
      if (!weights.empty()) widen(*reader, weights);
    if (weights.empty()) continue;
    // Weights of depthwise convolutions have a scale for each channel: factors cost them nothing.
    const bool free = std::ranges::all_of(readers, [](const Node* r) { return is_depthwise(*r); });
    const double taken = free ? 1 : part;
    std::vector<double> factors(sizes.size(), 1), inverse(sizes.size(), 1);
    double mean = 0;
    int64_t used = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (!(sizes[i] > 0) || !(weights[i] > 0)) continue;
      factors[i] = std::pow(static_cast<double>(sizes[i]), taken) / std::pow(weights[i], 1 - taken);
      mean += std::log(factors[i]);
      ++used;
    }
    if (used == 0) continue;
    mean = std::exp(mean / static_cast<double>(used));
    double most = 1;
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (!(sizes[i] > 0) || !(weights[i] > 0)) continue;
      // A power of two: no rounding.
      factors[i] = std::exp2(
          std::round(std::log2(std::clamp(factors[i] / mean, 1 / kMostFactor, kMostFactor))));
      inverse[i] = 1 / factors[i];
      most = std::max({most, factors[i], inverse[i]});
    }
    if (most < kLeastFactor) continue;
    if (source)
      for (const auto& [operand, axis] : source->operands)
        TRY(multiply(graph, *source->node, operand, axis, inverse));
    else
      TRY(multiply_input(graph, v.value, readers, inverse));
    for (Node* reader : readers) TRY(multiply(graph, *reader, 1, input_axis(*reader), factors));
    rescaled.push_back(v.name);
  }
  return rescaled;
}

}  // namespace tenon::quant
