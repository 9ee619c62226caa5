#include "calibrate/layer_report.h"

#include <algorithm>
#include <map>
#include <set>

#include "verify/load_graph.h"

namespace tenon {
namespace {

// Runs of the model for shares, by the estimate for the reference (see choose_methods.cpp).
constexpr double kSecondsForShares = 2000;

// The accuracy of every tensor of the quantised model, by name.
Result<std::map<std::string, Accuracy>> tensor_accuracy(const NamedGraph& function,
                                                        const Trial& trial,
                                                        const quant::FunctionStatistics& statistics,
                                                        const quant::QuantizeOptions& options) {
  const auto exact = function.graph->clone(), integers = function.graph->clone();
  quant::RealValues reals;
  TRY(quant::quantize(*integers, statistics, options, &reals));
  std::map<std::string, Value*> by_name;
  for (const quant::NamedValue& v : quant::observed_values(*exact)) by_name[v.name] = v.value;
  std::vector<Value*> expected_values, actual_values;
  std::vector<std::string> names;
  for (const quant::NamedValue& v : reals) {
    const auto it = by_name.find(v.name);
    if (it == by_name.end() || it->second->producer() == nullptr) continue;
    expected_values.push_back(it->second);
    actual_values.push_back(v.value);
    names.push_back(v.name);
  }
  exact->set_outputs(expected_values);
  integers->set_outputs(actual_values);
  const auto run_exact = TRY(load_graph(*exact, trial.load()));
  const auto run_integers = TRY(load_graph(*integers, trial.load()));
  std::map<std::string, AccuracyMeter> meters;
  for (size_t i = 0; i < trial.samples(); ++i) {
    const auto inputs = trial.inputs(i);
    const auto expected = TRY(run_exact.run(inputs, {}));
    const auto actual = TRY(run_integers.run(inputs, {}));
    for (size_t k = 0; k < names.size(); ++k) meters[names[k]].add(actual[k], expected[k]);
  }
  std::map<std::string, Accuracy> accuracy;
  for (const auto& [name, meter] : meters) accuracy[name] = meter.result();
  return accuracy;
}

// Of the layers that are of integers by these options, whatever became of them.
Status measure_shares(const Trial& trial, const quant::FunctionStatistics& statistics,
                      const quant::QuantizeOptions& options, std::vector<LayerAccuracy>& layers) {
  const auto choices =
      TRY(quant::quantize(*trial.function().graph->clone(), statistics, options)).layers;
  std::set<std::string, std::less<>> integers;
  for (const quant::LayerChoice& choice : choices)
    if (choice.integer) integers.insert(choice.name);
  if (trial.estimated_cost() * static_cast<double>(integers.size()) > kSecondsForShares) return {};
  double total = 0;
  for (LayerAccuracy& layer : layers) {
    if (!integers.contains(layer.name)) continue;
    quant::QuantizeOptions alone = options;
    for (const std::string& other : integers)
      if (other != layer.name) alone.keep_float[other] = "another is looked at";
    layer.alone_relative_l2 = TRY(trial.run(statistics, alone)).relative_l2;
    total += layer.alone_relative_l2 * layer.alone_relative_l2;
  }
  for (LayerAccuracy& layer : layers)
    if (integers.contains(layer.name))
      layer.share = total > 0 ? layer.alone_relative_l2 * layer.alone_relative_l2 / total : 0;
  return {};
}

}  // namespace

Result<LayerReport> report_layers(const Quantised& chosen, const Quantised& plain) {
  const auto& [trial, statistics, options] = chosen;
  const NamedGraph& function = trial.function();
  LayerReport report;
  report.key = function.key;
  report.samples = trial.samples();
  report.choices = TRY(quant::quantize(*function.graph->clone(), statistics, options));
  report.outputs = TRY(trial.run(statistics, options));
  const auto accuracy = TRY(tensor_accuracy(function, trial, statistics, options));
  for (const quant::LayerChoice& choice : report.choices.layers) {
    LayerAccuracy layer{choice.name, choice.node, choice.op, choice.integer, choice.reason, {}};
    if (const auto it = accuracy.find(choice.name); it != accuracy.end()) layer.result = it->second;
    report.layers.push_back(std::move(layer));
  }
  TRY(measure_shares(plain.trial, plain.statistics, plain.options, report.layers));
  std::ranges::stable_sort(report.layers, [](const LayerAccuracy& a, const LayerAccuracy& b) {
    return a.share != b.share ? a.share > b.share : a.integer && !b.integer;
  });
  return report;
}

}  // namespace tenon
