#include "cost/precision_cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>

#include "ops/gather.h"
#include "ops/matmul_nbits.h"
#include "passes/passes.h"
#include "quant/narrow.h"
#include "quant/plan.h"
#include "quant/two_bytes.h"

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

// A layer that multiplies, in any precision.
bool is_any_product(const Node& node) {
  return node.is(MatmulNbits::name) || (quant::is_layer(node) && !node.is(Gather::name));
}

int64_t weights_of(const Node& product) {
  const Value* w = product.input(1);
  const auto* few_bits = product.as<MatmulNbits>();
  int64_t n = few_bits != nullptr && few_bits->bits == 4 ? 2 : 1;  // two to a byte
  if (w == nullptr || !w->shape().ranked()) return 0;
  for (const Dim& d : w->shape().dims()) n *= d.size_or(1);
  return n;
}

// Which layer each node of an optimised graph belongs to.
class Layers {
 public:
  // Those of the graph before, in order.
  explicit Layers(std::span<const Node* const> layers) {
    for (const Node* node : layers) weights_.push_back(weights_of(*node));
  }

  // Products keep their order and their weights through all passes; some are merged, and integers
  // have products that are no layers.
  void find_products(const Graph& graph) {
    of_node_.clear();
    size_t next = 0;
    for (const auto& node : graph.nodes()) {
      if (!is_any_product(*node)) continue;
      if (const auto it = of_node_.find(quant::other_byte_of(*node)); it != of_node_.end()) {
        of_node_[node.get()] = it->second;
        continue;
      }
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
    if (node.is("quantize_linear") || node.is("dynamic_quantize_linear") || node.is("cast"))
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

// The first of the steps that reads what a node gives, behind views, which are no steps; or -1.
int reader_of(const Node& node, const std::unordered_map<const Node*, int>& steps) {
  int first = -1;
  for (int i = 0; i < node.output_count(); ++i)
    for (const Use& use : node.output(i)->uses()) {
      if (use.user == nullptr) continue;
      const auto it = steps.find(use.user);
      const int reader = it != steps.end() ? it->second : reader_of(*use.user, steps);
      if (reader >= 0 && (first < 0 || reader < first)) first = reader;
    }
  return first;
}

std::vector<StepCost> steps_of(const Graph& graph, const Layers& layers, CpuLevel level) {
  std::vector<StepCost> steps;
  std::unordered_map<const Node*, int> index;
  std::vector<const Node*> nodes;
  const double bytes = constant_bytes(graph);
  for (const auto& node : graph.nodes()) {
    StepCost step;
    step.features = features_of(*node, bytes);
    if (step.features.kind.empty()) continue;
    step.op = node->def().name;
    step.name = node->origins.empty() ? "" : node->origins.back();
    step.layer = layers.of(*node);
    step.ns = predicted_ns(step.features, level);
    index[node.get()] = static_cast<int>(steps.size());
    nodes.push_back(node.get());
    steps.push_back(std::move(step));
  }
  for (size_t i = 0; i < steps.size(); ++i) steps[i].reader = reader_of(*nodes[i], index);
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

namespace {

std::vector<const Node*> products_of(const Graph& graph, bool (*is_one)(const Node&)) {
  std::vector<const Node*> nodes;
  for (const auto& node : graph.nodes())
    if (is_one(*node)) nodes.push_back(node.get());
  return nodes;
}

// Both graphs with the passes that are left, as a compilation runs them, and their steps dealt to
// the layers, which are `of` the first.
Result<PrecisionCost> compare(Graph& exact, Graph& other, Status (*rest)(Graph&, PassContext&),
                              std::span<const Node* const> of, std::vector<LayerCost> named,
                              CpuLevel level) {
  Layers layers(of);
  PassContext context;
  TRY(rest(exact, context));
  TRY(rest(other, context));
  PrecisionCost cost;
  cost.layers = std::move(named);
  layers.find_products(exact);
  layers.claim_fused();
  cost.fp32 = steps_of(exact, layers, level);
  layers.find_products(other);
  cost.other = steps_of(other, layers, level);
  for (const StepCost& step : cost.fp32) {
    cost.fp32_ns += step.ns;
    if (step.layer >= 0) cost.layers[static_cast<size_t>(step.layer)].fp32_ns += step.ns;
  }
  for (const StepCost& step : cost.other) {
    cost.other_ns += step.ns;
    if (step.layer >= 0) cost.layers[static_cast<size_t>(step.layer)].other_ns += step.ns;
  }
  return cost;
}

// What is slower by less than this may be an error of the model.
constexpr double kSlower = 1.15, kWorthIt = 0.99;
constexpr double kLeastOfLayer = 1e3, kLeastOfModel = 1e4;  // nanoseconds

bool is_slower(double other_ns, double fp32_ns, double least) {
  return other_ns > kSlower * fp32_ns && other_ns > fp32_ns + least;
}

std::string why_slower(const LayerCost& layer, std::string_view what, CpuLevel level) {
  return fmt::format(
      "{} would be slower here: {:.3g} us against {:.3g} us in fp32, predicted for {}; "
      "--force-precision makes them all the same",
      what, layer.other_ns / 1e3, layer.fp32_ns / 1e3, kCpuLevels[static_cast<size_t>(level)].doc);
}
std::string why_all_slower(std::string_view what) {
  return fmt::format(
      "{} would make the model slower, as predicted; --force-precision makes them all the same",
      what);
}

}  // namespace

Result<PrecisionCost> compare_integers(const Graph& prepared,
                                       const quant::FunctionStatistics& statistics,
                                       const quant::QuantizeOptions& options, CpuLevel level,
                                       const AssumedSizes& sizes) {
  quant::QuantizeOptions structure = options;
  structure.method = quant::Method::min_max;
  structure.methods.clear();
  const auto exact = TRY(with_sizes(prepared, sizes));
  const auto integers = exact->clone();
  const auto choices = TRY(quant::quantize(*integers, statistics, structure));
  std::vector<LayerCost> layers;
  for (const quant::LayerChoice& choice : choices.layers)
    layers.push_back({choice.name, choice.node, choice.op, choice.integer, choice.reason});
  return compare(*exact, *integers, optimize, products_of(*exact, quant::is_candidate),
                 std::move(layers), level);
}

Result<PrecisionCost> compare_narrowed(const Graph& canonical, quant::LayerPrecision precision,
                                       CpuLevel level, const AssumedSizes& sizes) {
  const auto exact = TRY(with_sizes(canonical, sizes));
  const auto other = exact->clone();
  const auto products = products_of(*exact, is_any_product);
  std::map<std::string, const quant::NarrowedLayer*> narrowed;
  const auto report = TRY(quant::narrow(*other, precision, {}));
  for (const quant::NarrowedLayer& layer : report) narrowed[layer.name] = &layer;
  std::map<const Value*, std::string> names;
  for (quant::NamedValue& v : quant::observed_values(*exact)) names[v.value] = std::move(v.name);
  std::vector<LayerCost> layers;
  for (const Node* node : products) {
    LayerCost layer{names[node->output(0)],
                    node->origins.empty() ? std::string(node->def().name) : node->origins.front(),
                    std::string(node->def().name)};
    const auto it = narrowed.find(layer.node);
    layer.changes = it != narrowed.end() && it->second->reason.empty();
    layer.reason = it != narrowed.end() ? it->second->reason : "its weights are not constant";
    layers.push_back(std::move(layer));
  }
  return compare(*exact, *other, finish, products, std::move(layers), level);
}

Result<std::map<std::string, std::string>> slower_in_integers(
    const Graph& prepared, const quant::FunctionStatistics& statistics,
    const quant::QuantizeOptions& options, CpuLevel level) {
  constexpr std::string_view kWhat = "8-bit integers";
  std::map<std::string, std::string> kept;
  quant::QuantizeOptions current = options;
  PrecisionCost best = TRY(compare_integers(prepared, statistics, current, level));
  // Without some the conversions around others change: again, while it gets faster.
  constexpr int kRounds = 4;
  for (int round = 0; round < kRounds; ++round) {
    bool more = false;
    for (const LayerCost& layer : best.layers)
      if (layer.changes && is_slower(layer.other_ns, layer.fp32_ns, kLeastOfLayer))
        more |= current.keep_float.try_emplace(layer.name, why_slower(layer, kWhat, level)).second;
    if (!more) break;
    PrecisionCost cost = TRY(compare_integers(prepared, statistics, current, level));
    if (cost.other_ns > best.other_ns * kWorthIt) break;
    best = std::move(cost);
    kept.clear();
    for (const auto& [name, reason] : current.keep_float)
      if (!options.keep_float.contains(name)) kept[name] = reason;
  }
  // All of them, where integers do not pay in the whole.
  if (is_slower(best.other_ns, best.fp32_ns, kLeastOfModel))
    for (const LayerCost& layer : best.layers)
      if (layer.changes) kept.try_emplace(layer.name, why_all_slower(kWhat));
  return kept;
}

Result<std::map<const Node*, std::string>> slower_narrowed(const Graph& canonical,
                                                           quant::LayerPrecision precision,
                                                           CpuLevel level) {
  // The others multiply in f32: their weights are to take less room.
  if (precision != quant::LayerPrecision::bf16 && precision != quant::LayerPrecision::int8_dynamic)
    return std::map<const Node*, std::string>();
  const PrecisionCost cost = TRY(compare_narrowed(canonical, precision, level));
  const auto products = products_of(canonical, is_any_product);
  const std::string what = fmt::format("products of {}", name_of(precision));
  std::map<const Node*, std::string> slower;
  double without = cost.other_ns;
  for (size_t i = 0; i < products.size() && i < cost.layers.size(); ++i) {
    const LayerCost& layer = cost.layers[i];
    if (!layer.changes || !is_slower(layer.other_ns, layer.fp32_ns, kLeastOfLayer)) continue;
    slower[products[i]] = why_slower(layer, what, level);
    without -= layer.other_ns - layer.fp32_ns;
  }
  if (is_slower(without, cost.fp32_ns, kLeastOfModel))
    for (size_t i = 0; i < products.size() && i < cost.layers.size(); ++i)
      if (cost.layers[i].changes) slower.try_emplace(products[i], why_all_slower(what));
  return slower;
}

}  // namespace tenon::cost
