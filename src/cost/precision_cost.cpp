#include "cost/precision_cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>

#include "passes/passes.h"
#include "quant/plan.h"

namespace tenon::cost {
namespace {

// Inputs of known sizes, everything behind them inferred.
Result<std::unique_ptr<Graph>> with_sizes(const Graph& graph, const AssumedSizes& sizes) {
  auto copy = graph.clone();
  for (const auto& v : copy->inputs()) {
    TensorType type = v->type();
    if (!type.shape.ranked()) continue;
    for (int i = 0; i < type.shape.rank(); ++i)
      if (!type.shape[i].known()) type.shape[i] = i == 0 ? sizes.batch : sizes.other;
    v->set_type(std::move(type));
  }
  // Sizes that the model does not allow: as they are.
  if (!copy->infer_all().ok()) return graph.clone();
  return copy;
}

bool is_any_product(const Node& node) {
  return quant::is_product(node) || node.is("quantized_conv") || node.is("quantized_matmul");
}

int64_t weights_of(const Node& product) {
  const Value* w = product.input(1);
  int64_t n = 1;
  for (const Dim& d : w->shape().dims()) n *= d.size_or(1);
  return n;
}

// Which layer each node of an optimised graph belongs to.
class Layers {
 public:
  // The products of the graph before, in order.
  explicit Layers(const Graph& prepared) {
    for (const auto& node : prepared.nodes())
      if (quant::is_product(*node)) weights_.push_back(weights_of(*node));
  }

  // Products keep their order and their weights through all passes; some are merged, and integers
  // have products that are no layers.
  void find_products(const Graph& graph) {
    of_node_.clear();
    size_t next = 0;
    for (const auto& node : graph.nodes()) {
      if (!is_any_product(*node)) continue;
      const int64_t weights = weights_of(*node);
      const auto it =
          std::find(weights_.begin() + static_cast<std::ptrdiff_t>(next), weights_.end(), weights);
      if (it == weights_.end()) continue;
      next = static_cast<size_t>(it - weights_.begin()) + 1;
      of_node_[node.get()] = static_cast<int>(next - 1);
    }
  }
  // What a product is fused with in f32 is a step of its own in integers: found by its name.
  void claim_fused() {
    for (const auto& [node, layer] : of_node_)
      if (!node->origins.empty()) of_origin_[node->origins.back()] = layer;
  }
  int of(const Node& node) const {
    if (const auto it = of_node_.find(&node); it != of_node_.end()) return it->second;
    if (node.is("quantize_linear"))
      for (const Use& use : node.output()->uses())
        if (const auto it = of_node_.find(use.user); it != of_node_.end()) return it->second;
    if (node.is("dequantize_linear") && node.input(0)->producer() != nullptr)
      if (const auto it = of_node_.find(node.input(0)->producer()); it != of_node_.end())
        return it->second;
    if (node.origins.empty()) return -1;
    const auto it = of_origin_.find(node.origins.back());
    return it == of_origin_.end() ? -1 : it->second;
  }

 private:
  std::vector<int64_t> weights_;
  std::unordered_map<const Node*, int> of_node_;
  std::unordered_map<std::string, int> of_origin_;
};

std::vector<StepCost> steps_of(const Graph& graph, const Layers& layers, CpuLevel level) {
  std::vector<StepCost> steps;
  for (const auto& node : graph.nodes()) {
    StepCost step;
    step.features = features_of(*node);
    if (step.features.kind.empty()) continue;
    step.op = node->def().name;
    step.name = node->origins.empty() ? "" : node->origins.back();
    step.layer = layers.of(*node);
    step.ns = predicted_ns(step.features, level);
    steps.push_back(std::move(step));
  }
  return steps;
}

}  // namespace

quant::FunctionStatistics assumed_statistics(const Graph& prepared) {
  quant::FunctionStatistics statistics;
  for (const quant::NamedValue& v : quant::observed_values(prepared)) {
    quant::TensorStatistics& s = statistics.tensors[v.name];
    s.count = s.batches = 1;
    s.min = s.average_min = -1;
    s.max = s.average_max = 1;
    s.sum_squares = 1;
  }
  statistics.complete = true;
  return statistics;
}

Result<PrecisionCost> compare_precisions(const Graph& prepared,
                                         const quant::FunctionStatistics& statistics,
                                         const quant::QuantizeOptions& options, CpuLevel level,
                                         const AssumedSizes& sizes) {
  quant::QuantizeOptions structure = options;
  structure.method = quant::Method::min_max;
  structure.methods.clear();
  const auto exact = TRY(with_sizes(prepared, sizes));
  const auto integers = exact->clone();
  Layers layers(*exact);
  PassContext context;
  const auto choices = TRY(quant::quantize(*integers, statistics, structure));
  TRY(optimize(*exact, context));
  TRY(optimize(*integers, context));
  PrecisionCost cost;
  for (const quant::LayerChoice& choice : choices.layers)
    cost.layers.push_back({choice.name, choice.node, choice.op, choice.integer, choice.reason});
  layers.find_products(*exact);
  layers.claim_fused();
  cost.fp32 = steps_of(*exact, layers, level);
  layers.find_products(*integers);
  cost.int8 = steps_of(*integers, layers, level);
  for (const StepCost& step : cost.fp32) {
    cost.fp32_ns += step.ns;
    if (step.layer >= 0) cost.layers[static_cast<size_t>(step.layer)].fp32_ns += step.ns;
  }
  for (const StepCost& step : cost.int8) {
    cost.int8_ns += step.ns;
    if (step.layer >= 0) cost.layers[static_cast<size_t>(step.layer)].int8_ns += step.ns;
  }
  return cost;
}

Result<std::map<std::string, std::string>> slower_in_integers(
    const Graph& prepared, const quant::FunctionStatistics& statistics,
    const quant::QuantizeOptions& options, CpuLevel level) {
  // What is slower by less than this may be an error of the model.
  constexpr double kSlower = 1.15, kWorthIt = 0.99;
  constexpr double kLeastOfLayer = 1e3, kLeastOfModel = 1e4;  // nanoseconds
  const auto is_slower = [&](double int8_ns, double fp32_ns, double least) {
    return int8_ns > kSlower * fp32_ns && int8_ns > fp32_ns + least;
  };
  const auto why = [&](const LayerCost& layer) {
    return fmt::format(
        "8-bit integers would be slower here: {:.3g} us against {:.3g} us in fp32, predicted for "
        "{}; "
        "--force-precision makes them all the same",
        layer.int8_ns / 1e3, layer.fp32_ns / 1e3, kCpuLevels[static_cast<size_t>(level)].doc);
  };
  std::map<std::string, std::string> kept;
  quant::QuantizeOptions current = options;
  PrecisionCost best = TRY(compare_precisions(prepared, statistics, current, level));
  // Without some the conversions around others change: again, while it gets faster.
  constexpr int kRounds = 4;
  for (int round = 0; round < kRounds; ++round) {
    bool more = false;
    for (const LayerCost& layer : best.layers)
      if (layer.integer && is_slower(layer.int8_ns, layer.fp32_ns, kLeastOfLayer))
        more |= current.keep_float.try_emplace(layer.name, why(layer)).second;
    if (!more) break;
    PrecisionCost cost = TRY(compare_precisions(prepared, statistics, current, level));
    if (cost.int8_ns > best.int8_ns * kWorthIt) break;
    best = std::move(cost);
    kept.clear();
    for (const auto& [name, reason] : current.keep_float)
      if (!options.keep_float.contains(name)) kept[name] = reason;
  }
  // All of them, where integers do not pay in the whole.
  if (is_slower(best.int8_ns, best.fp32_ns, kLeastOfModel))
    for (const LayerCost& layer : best.layers)
      if (layer.integer)
        kept.try_emplace(layer.name,
                         "8-bit integers would make the model slower, as predicted; "
                         "--force-precision makes them all the same");
  return kept;
}

}  // namespace tenon::cost
