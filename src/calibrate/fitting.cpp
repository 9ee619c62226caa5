#include "calibrate/fitting.h"

#include <algorithm>
#include <optional>
#include <span>

#include "ops/conv.h"
#include "ops/matmul.h"
#include "quant/plan.h"
#include "quant/rounding.h"
#include "verify/load_graph.h"

namespace tenon {
namespace {

constexpr int64_t kSamples = 256, kWindows = 2048;
// Runs of all samples, by the estimate for the reference (see choose_methods.cpp).
constexpr double kSecondsForRuns = 1000;
// Multiplications for the correlations of a layer, and of all.
constexpr double kMostWork = 2e10;

// What a product gives before its activation, as an output of the graph.
Result<Value*> without_activation(Graph& graph, const Node& node) {
  std::unique_ptr<Op> op = node.op().clone();
  if (const auto* conv = node.as<Conv>()) {
    Conv plain = *conv;
    plain.activation = ActivationKind::none;
    op = make_op(plain);
  } else if (const auto* matmul = node.as<Matmul>()) {
    Matmul plain = *matmul;
    plain.activation = ActivationKind::none;
    op = make_op(plain);
  }
  Builder builder(graph);
  return TRY(builder.add(std::move(op), node.inputs()))->output();
}

struct Layer {
  std::string name;
  size_t place;  // among the values of the graph, as observed_values() has them
};

int64_t columns_of(const Node& product) {
  const Tensor& w = *product.input(1)->constant();
  const auto* matmul = product.as<Matmul>();
  return w.dim(matmul != nullptr && matmul->transpose_b ? 0 : w.rank() - 1);
}

class Fitter {
 public:
  Fitter(const Trial& trial, const quant::FunctionStatistics& statistics,
         const quant::QuantizeOptions& options)
      : trial_(trial), statistics_(statistics), options_(options) {}

  // Layers that can be fitted, as many runs as there are groups of them.
  Status find_layers(const CalibrationOptions& how) {
    const Graph& graph = *trial_.function().graph;
    const auto choices = TRY(quant::quantize(*graph.clone(), statistics_, options_));
    std::set<std::string, std::less<>> integers;
    for (const quant::LayerChoice& layer : choices.layers)
      if (layer.integer) integers.insert(layer.name);
    const auto values = quant::observed_values(graph);
    double work = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const Node* node = values[i].value->producer();
      if (node == nullptr || !integers.contains(values[i].name) || node->input(2) == nullptr ||
          options_.two_bytes.contains(values[i].name) || !quant::Correlations::is_affordable(*node))
        continue;
      const auto columns = static_cast<double>(columns_of(*node));
      const double terms = static_cast<double>(node->input(1)->constant()->elements()) / columns;
      const double own = (static_cast<double>(kWindows) + columns) * terms * terms +
                         static_cast<double>(kWindows) * terms * columns;
      if (work + own > kMostWork) continue;
      work += own;
      layers_.push_back({values[i].name, i});
    }
    if (layers_.empty()) return {};
    samples_ = TRY(some_samples(trial_.function(), how, kSamples));
    const double cost = trial_.estimated_cost() * static_cast<double>(samples_.size()) /
                        static_cast<double>(std::max<size_t>(trial_.samples(), 1));
    groups_ =
        std::min(layers_.size(), static_cast<size_t>(kSecondsForRuns / std::max(2 * cost, 1e-9)));
    return {};
  }
  // Few groups would correct what the layers of their own group correct already.
  bool is_affordable() const { return groups_ > 0 && 2 * groups_ >= layers_.size(); }

  Result<quant::QuantizeOptions> fit() {
    quant::QuantizeOptions fitted = options_;
    for (size_t g = 0; g < groups_; ++g) {
      const size_t begin = g * layers_.size() / groups_, end = (g + 1) * layers_.size() / groups_;
      TRY(fit(std::span(layers_).subspan(begin, end - begin), fitted));
    }
    return fitted;
  }

 private:
  struct Probe {
    std::vector<Node*> products;
    std::optional<runtime::Function> function;
  };

  // The graph with what the layers' products read and give as its outputs.
  Result<Probe> probe(std::span<const Layer> layers, const quant::QuantizeOptions* integers) const {
    const auto graph = trial_.function().graph->clone();
    const auto values = quant::observed_values(*graph);
    Probe probe;
    for (const Layer& layer : layers)
      probe.products.push_back(values[layer.place].value->producer());
    if (integers != nullptr) TRY(quant::quantize(*graph, statistics_, *integers));
    std::vector<Value*> outputs;
    for (const Node* product : probe.products) {
      if (integers != nullptr)
        outputs.push_back(product->input(0));
      else
        outputs.push_back(TRY(without_activation(*graph, *product)));
    }
    graph->set_outputs(outputs);
    probe.function.emplace(TRY(load_graph(*graph, trial_.load())));
    return probe;
  }

  Status fit(std::span<const Layer> layers, quant::QuantizeOptions& fitted) const {
    const auto exact = TRY(probe(layers, nullptr)), integers = TRY(probe(layers, &fitted));
    const Graph& graph = *trial_.function().graph;
    const auto values = quant::observed_values(graph);
    std::vector<quant::Correlations> correlations;
    for (const Layer& layer : layers)
      correlations.emplace_back(*values[layer.place].value->producer());
    const int64_t windows = std::max<int64_t>(1, kWindows / std::ssize(samples_));
    for (const Sample& sample : samples_) {
      const auto inputs = trial_.with_variables(sample.inputs);
      const auto wanted = TRY(exact.function->run(inputs, {}));
      const auto given = TRY(integers.function->run(inputs, {}));
      for (size_t i = 0; i < layers.size(); ++i)
        TRY(correlations[i].add(given[i], windows, &wanted[i]));
    }
    for (size_t i = 0; i < layers.size(); ++i) {
      if (correlations[i].empty()) continue;
      const Node& product = *values[layers[i].place].value->producer();
      const Tensor& w = *product.input(1)->constant();
      const auto* matmul = product.as<Matmul>();
      const int64_t axis = matmul != nullptr && matmul->transpose_b ? 0 : w.rank() - 1;
      const auto q = TRY(correlations[i].round(w, TRY(quant::quantize_weights(w, axis))));
      fitted.rounded[layers[i].name] = q.integers;
      if (fitted.bias_correction) fitted.biases[layers[i].name] = correlations[i].biases(q);
    }
    return {};
  }

  const Trial& trial_;
  const quant::FunctionStatistics& statistics_;
  const quant::QuantizeOptions& options_;
  std::vector<Layer> layers_;
  std::vector<Sample> samples_;
  size_t groups_ = 0;
};

}  // namespace

Status fit_layers(const Trial& trial, const quant::FunctionStatistics& statistics,
                  const CalibrationOptions& how, quant::QuantizeOptions& options,
                  std::vector<TechniqueGain>& gains) {
  Fitter fitter(trial, statistics, options);
  TRY(fitter.find_layers(how));
  if (!fitter.is_affordable()) return {};
  auto fitted = TRY(fitter.fit());
  return take_if_better(trial, statistics, "layer-fitting", std::move(fitted), options, gains);
}

}  // namespace tenon
