#include "calibrate/techniques.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cost/precision_cost.h"
#include "ops/matmul.h"
#include "quant/byte_layers.h"
#include "quant/config.h"
#include "quant/plan.h"
#include "quant/rescale.h"
#include "quant/rounding.h"
#include "quant/two_bytes.h"
#include "verify/load_graph.h"

namespace tenon {
namespace {

// What is gained by less than this part may be chance.
constexpr double kGain = 0.02;
// What takes some time must gain more.
constexpr double kGainOfTime = 0.1;

// Notes what a technique gains, and has it where it is better.
void take(std::string_view name, double without, double with, bool better,
          quant::QuantizeOptions other, quant::QuantizeOptions& options,
          std::vector<TechniqueGain>& gains) {
  gains.push_back({std::string(name), without, with, better});
  if (better) options = std::move(other);
}

// The layers that are not kept in fp32 already and of which `is` is true.
template <typename Is>
std::vector<std::string> layers_that(const Graph& graph, const quant::QuantizeOptions& options,
                                     Is&& is) {
  std::vector<std::string> names;
  for (const quant::NamedValue& v : quant::observed_values(graph)) {
    const Node* node = v.value->producer();
    if (node != nullptr && v.value == node->output() && is(*node) &&
        !options.keep_float.contains(v.name))
      names.push_back(v.name);
  }
  return names;
}

// How much longer a model may take for what is lost without: so much in any case, and so much more
// for each part that is lost. Outputs that have lost too much are of no use, however soon they
// come.
constexpr double kLonger = 0.4, kPerLoss = 3, kTooMuch = 0.1;
bool is_worth_the_time(double before_ns, double after_ns, double loss) {
  return loss > kTooMuch || after_ns < before_ns * (1 + kLonger + kPerLoss * loss);
}
// Nanoseconds that nobody notices in a run.
constexpr double kUnnoticed = 1e4;

NamedGraph copy_of(const NamedGraph& function) {
  return {function.key, function.graph->clone(), function.input_names, function.output_names,
          function.state};
}

// The weights of the layers with these results, or of all.
double weights_of(const Graph& graph, const std::set<std::string>& names) {
  double elements = 0;
  for (const quant::NamedValue& v : quant::observed_values(graph)) {
    const Node* node = v.value->producer();
    if (node == nullptr || v.value != node->output() || !quant::is_candidate(*node) ||
        (!names.empty() && !names.contains(v.name)))
      continue;
    for (const int i : quant::weights_of(*node))
      if (const Tensor* w = node->input(i)->constant())
        elements += static_cast<double>(w->elements());
  }
  return elements;
}

// A product whose weights are to be rounded, and what goes into it.
struct Rounded {
  std::string name;
  const Node* product;
  quant::Correlations correlations;
  size_t input;  // among the outputs of the probe, or of the function's inputs
  bool is_function_input;
};

class Rounder {
 public:
  Rounder(const Trial& trial, const quant::QuantizeOptions& options)
      : trial_(trial), options_(options), graph_(trial.function().graph->clone()) {}

  Status observe(const CalibrationOptions& how) {
    find_products();
    if (products_.empty()) return {};
    graph_->set_outputs(observed_);
    const auto loaded = TRY(load_graph(*graph_, trial_.load()));
    const auto samples = TRY(some_samples(trial_.function(), how, kSamples));
    const int64_t windows =
        std::max<int64_t>(1, kWindows / std::max<int64_t>(1, std::ssize(samples)));
    for (const Sample& sample : samples) {
      const auto inputs = trial_.with_variables(sample.inputs);
      const auto results = TRY(loaded.run(inputs, {}));
      for (Rounded& r : products_)
        TRY(r.correlations.add(r.is_function_input ? inputs[r.input] : results[r.input], windows));
    }
    return {};
  }

  Result<std::map<std::string, Tensor>> round() {
    std::map<std::string, Tensor> rounded;
    for (Rounded& r : products_) {
      if (r.correlations.empty()) continue;
      const Tensor& w = *r.product->input(1)->constant();
      const auto* matmul = r.product->as<Matmul>();
      const int64_t axis = matmul != nullptr && matmul->transpose_b ? 0 : w.rank() - 1;
      rounded[r.name] =
          TRY(r.correlations.round(w, TRY(quant::quantize_weights(w, axis)))).integers;
    }
    return rounded;
  }

 private:
  static constexpr int64_t kSamples = 256, kWindows = 2048;
  // Multiplications for all layers: the later ones of a large model are rounded to the nearest.
  static constexpr double kMostWork = 1e10;

  void find_products() {
    double work = 0;
    for (const quant::NamedValue& v : quant::observed_values(*graph_)) {
      const Node* node = v.value->producer();
      if (node == nullptr || !quant::is_product(*node) || options_.keep_float.contains(v.name) ||
          !quant::Correlations::is_affordable(*node))
        continue;
      const Tensor& w = *node->input(1)->constant();
      const auto* matmul = node->as<Matmul>();
      const auto columns =
          static_cast<double>(w.dim(matmul != nullptr && matmul->transpose_b ? 0 : w.rank() - 1));
      const double terms = static_cast<double>(w.elements()) / columns;
      const double own = (static_cast<double>(kWindows) + columns) * terms * terms;
      if (work + own > kMostWork) continue;
      work += own;
      Value* x = node->input(0);
      const bool is_input = x->producer() == nullptr;
      const auto index = is_input ? static_cast<size_t>(x->index()) : observed_.size();
      if (!is_input) observed_.push_back(x);
      products_.push_back({v.name, node, quant::Correlations(*node), index, is_input});
    }
  }

  const Trial& trial_;
  const quant::QuantizeOptions& options_;
  std::unique_ptr<Graph> graph_;
  std::vector<Value*> observed_;
  std::vector<Rounded> products_;
};

}  // namespace

Result<std::unique_ptr<RescaledFunction>> rescale_function(
    const Trial& trial, const quant::FunctionStatistics& statistics,
    const quant::QuantizeOptions& options, const CalibrationOptions& how,
    const DisabledNames& disabled, std::vector<TechniqueGain>& gains) {
  std::unique_ptr<RescaledFunction> best;
  double least = TRY(trial.loss(statistics, options));
  CalibrationOptions again = how;
  again.statistics_file.clear();  // it is of the model as it came
  for (const auto& [kind, name] :
       {std::pair(quant::Rescaling::between_products, "cross-layer-equalisation"),
        std::pair(quant::Rescaling::behind_norms, "smooth-quant"),
        std::pair(quant::Rescaling::of_inputs, "input-equalisation")}) {
    if (disabled.contains(name)) continue;
    // Where activations lose more than weights all of it goes to these.
    TechniqueGain gain{name, least, INFINITY, false};
    std::unique_ptr<RescaledFunction> found;
    for (const double part : {0.5, 1.0}) {
      auto candidate = std::make_unique<RescaledFunction>();
      candidate->function = copy_of(best ? best->function : trial.function());
      const auto changed = TRY(quant::rescale_channels(
          *candidate->function.graph, best ? best->statistics : statistics, kind, part));
      if (changed.empty()) continue;
      candidate->statistics = TRY(calibrate(candidate->function, again)).statistics;
      const double error =
          TRY(trial.loss_of_other(candidate->function, candidate->statistics, options));
      if (error >= gain.with) continue;
      gain.with = error;
      found = std::move(candidate);
    }
    if (found == nullptr) continue;
    const bool takes_time = kind == quant::Rescaling::of_inputs;
    gain.used = gain.with < least * (1 - (takes_time ? kGainOfTime : kGain));
    gains.push_back(gain);
    if (!gain.used) continue;
    least = gain.with;
    best = std::move(found);
  }
  return best;
}

Status take_if_better(const Trial& trial, const quant::FunctionStatistics& statistics,
                      std::string name, quant::QuantizeOptions other,
                      quant::QuantizeOptions& options, std::vector<TechniqueGain>& gains) {
  const double without = TRY(trial.loss(statistics, options));
  const double with = TRY(trial.loss(statistics, other));
  take(name, without, with, with < without * (1 - kGain), std::move(other), options, gains);
  return {};
}

Status choose_rounding(const Trial& trial, const quant::FunctionStatistics& statistics,
                       const CalibrationOptions& how, const DisabledNames& disabled,
                       quant::QuantizeOptions& options, std::vector<TechniqueGain>& gains) {
  constexpr std::string_view kName = "adaptive-rounding";
  if (disabled.contains(kName)) return {};
  Rounder rounder(trial, options);
  TRY(rounder.observe(how));
  quant::QuantizeOptions rounded = options;
  rounded.rounded = TRY(rounder.round());
  if (rounded.rounded.empty()) return {};
  return take_if_better(trial, statistics, std::string(kName), std::move(rounded), options, gains);
}

Status choose_recurrent(const Trial& trial, const quant::FunctionStatistics& statistics,
                        const DisabledNames& disabled, bool forced, quant::QuantizeOptions& options,
                        std::vector<TechniqueGain>& gains) {
  // A loss worth a layer that takes longer, and what part of it must go.
  constexpr double kMuch = 0.002, kMost = 0.2;
  constexpr std::string_view kName = "recurrent-layers";
  if (disabled.contains(kName)) return {};
  quant::QuantizeOptions two = options;
  for (std::string& name : layers_that(*trial.function().graph, options, quant::is_recurrent))
    two.two_bytes.insert(std::move(name));
  if (two.two_bytes.empty()) return {};
  const double without = TRY(trial.loss(statistics, options));
  if (without < kMuch) return {};
  if (!forced) {
    const auto cost = TRY(cost::compare_integers(*trial.function().graph, statistics, two,
                                                 cost::level_of(cpu_features())));
    for (const cost::LayerCost& layer : cost.layers)
      if (layer.other_ns >= layer.fp32_ns && two.two_bytes.erase(layer.name) > 0)
        two.keep_float[layer.name] = fmt::format(
            "one byte for each number loses too much, and two would be no faster: {:.3g} us "
            "against "
            "{:.3g} us in fp32, as predicted",
            layer.other_ns / 1e3, layer.fp32_ns / 1e3);
  }
  const double with = TRY(trial.loss(statistics, two));
  take(kName, without, with, with < without * (1 - kMost), std::move(two), options, gains);
  return {};
}

Status choose_dense(const Trial& trial, const quant::FunctionStatistics& statistics,
                    const DisabledNames& disabled, bool forced, quant::QuantizeOptions& options,
                    std::vector<TechniqueGain>& gains) {
  constexpr double kMuch = 0.002;  // a loss worth a second byte
  constexpr std::string_view kName = "dense-layers";
  if (disabled.contains(kName)) return {};
  const Graph& graph = *trial.function().graph;
  const auto level = cost::level_of(cpu_features());
  std::vector<std::string> added = layers_that(graph, options, quant::is_dense);
  if (added.empty()) return {};
  const double without = TRY(trial.loss(statistics, options));
  if (without < kMuch) return {};
  quant::QuantizeOptions two = options;
  two.two_bytes.insert(added.begin(), added.end());
  // Small layers take as long as their steps are many; what that costs nobody waits for.
  if (!forced)
    for (const auto& layer : TRY(cost::compare_integers(graph, statistics, two, level)).layers)
      if (layer.other_ns >= layer.fp32_ns + kUnnoticed && std::erase(added, layer.name) > 0)
        two.two_bytes.erase(layer.name);
  double with = TRY(trial.loss(statistics, two));
  bool better = with < without * (1 - kGainOfTime);
  // Not those that lose nothing by one.
  for (const std::string& name : added) {
    if (!better) break;
    quant::QuantizeOptions fewer = two;
    fewer.two_bytes.erase(name);
    const double loss = TRY(trial.loss(statistics, fewer));
    if (loss > with * (1 + kGain)) continue;
    two = std::move(fewer);
    with = loss;
  }
  if (better) {
    const double time = TRY(cost::compare_integers(graph, statistics, options, level)).other_ns;
    const double longer = TRY(cost::compare_integers(graph, statistics, two, level)).other_ns;
    better = longer < time + kUnnoticed || is_worth_the_time(time, longer, without);
  }
  take(kName, without, with, better, std::move(two), options, gains);
  return {};
}

Status choose_ends(const Trial& trial, const quant::FunctionStatistics& statistics,
                   const DisabledNames& disabled, quant::QuantizeOptions& options,
                   std::vector<TechniqueGain>& gains) {
  // A loss worth a layer in fp32, and what part of it must go.
  constexpr double kMuch = 0.01, kMost = 0.4;
  // Weights that may stay as they are for any gain: of all, or so many.
  constexpr double kFew = 0.02, kFewElements = 4096;
  const Graph& graph = *trial.function().graph;
  const auto level = cost::level_of(cpu_features());
  double without = TRY(trial.loss(statistics, options));
  double time = TRY(cost::compare_integers(graph, statistics, options, level)).other_ns;
  for (const bool first : {true, false}) {
    const std::string_view name = first ? "first-layer" : "last-layer";
    if (disabled.contains(name) || without < kMuch) continue;
    quant::Config ends;
    (first ? ends.first_layer : ends.last_layer) = quant::LayerPrecision::fp32;
    const auto decisions =
        TRY(quant::decide_layers(ends, quant::LayerPrecision::int8, graph, {}, nullptr));
    quant::QuantizeOptions kept = options;
    for (const quant::NamedValue& v : quant::observed_values(graph)) {
      const auto it = decisions.find(v.value->producer());
      if (it == decisions.end() || it->second.precision != quant::LayerPrecision::fp32) continue;
      kept.byte_weights.insert(v.name);
      kept.keep_float.try_emplace(
          v.name, fmt::format("most of what integers lose would be lost here; --disable {} makes "
                              "it integers all the same",
                              name));
    }
    // Ends that are most of the model are not its ends.
    const auto integers = [&](const quant::QuantizeOptions& o) -> Result<int64_t> {
      const auto report = TRY(quant::quantize(*graph.clone(), statistics, o));
      return std::ranges::count_if(report.layers, [](const auto& l) { return l.integer; });
    };
    const int64_t before = TRY(integers(options)), after = TRY(integers(kept));
    if (after == before || 2 * after < before) continue;
    // Weights of bytes take a quarter of the room, where they are good enough.
    double with = TRY(trial.loss(statistics, kept));
    quant::QuantizeOptions exact = kept;
    for (const std::string& end : std::exchange(exact.byte_weights, options.byte_weights))
      if (!options.byte_weights.contains(end)) exact.exact.insert(end);
    const bool are_few =
        weights_of(graph, exact.exact) < std::max(kFewElements, kFew * weights_of(graph, {}));
    if (const double best = TRY(trial.loss(statistics, exact));
        with >= without * (1 - kMost) || (are_few && best < with * (1 - kGain))) {
      kept = std::move(exact);
      with = best;
    }
    const double longer = TRY(cost::compare_integers(graph, statistics, kept, level)).other_ns;
    const bool better = with < without * (1 - kMost) && is_worth_the_time(time, longer, without);
    take(name, without, with, better, std::move(kept), options, gains);
    if (!better) continue;
    without = with;
    time = longer;
  }
  return {};
}

Status choose_bias_correction(const Trial& trial, const quant::FunctionStatistics& statistics,
                              quant::QuantizeOptions& options, std::vector<TechniqueGain>& gains) {
  if (!options.bias_correction || !options.biases.empty()) return {};
  quant::QuantizeOptions plain = options;
  plain.bias_correction = false;
  const double with = TRY(trial.loss(statistics, options));
  const double without = TRY(trial.loss(statistics, plain));
  options.bias_correction = without >= with * (1 - kGain);
  gains.push_back({"bias-correction", without, with, options.bias_correction});
  return {};
}

}  // namespace tenon
