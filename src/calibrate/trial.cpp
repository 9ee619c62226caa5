#include "calibrate/trial.h"

#include <algorithm>
#include <cmath>

#include "ops/softmax.h"
#include "passes/passes.h"
#include "verify/load_graph.h"
#include "verify/verify.h"

namespace tenon {
namespace {

// Outputs that a softmax gives become what it reads, less the mean, of which nothing depends.
Status end_before_softmax(Graph& graph) {
  auto outputs = graph.outputs();
  Builder b(graph);
  for (Value*& v : outputs) {
    const Node* node = v->producer();
    while (node != nullptr && (node->is("identity") || node->is("reshape")))
      node = node->input(0)->producer();
    const auto* softmax = node == nullptr ? nullptr : node->as<Softmax>();
    if (softmax == nullptr) continue;
    Value* x = node->input(0);
    Value* mean =
        TRY(b.op("mean", {x}, {{"axes", std::vector{softmax->axis}}, {"keep_dims", true}}));
    v = TRY(b.op("sub", {x, mean}));
  }
  graph.set_outputs(std::move(outputs));
  return {};
}

Accuracy compare(const Outputs& actual, const Outputs& expected) {
  AccuracyMeter meter;
  for (size_t i = 0; i < actual.size(); ++i)
    for (size_t k = 0; k < actual[i].size(); ++k) meter.add(actual[i][k], expected[i][k]);
  return meter.result();
}

}  // namespace

void AccuracyMeter::add(const Tensor& actual, const Tensor& expected) {
  if (!is_float(actual.dtype()) || actual.is_list() || actual.dims() != expected.dims()) return;
  const int64_t columns = actual.rank() == 0 ? 1 : actual.dim(actual.rank() - 1);
  int64_t best_a = 0, best_b = 0;
  for (int64_t i = 0; i < actual.elements(); ++i) {
    const double a = actual.real_at(i), b = expected.real_at(i);
    if (std::isfinite(a) && std::isfinite(b)) {
      error_ += (a - b) * (a - b);
      power_ += b * b;
      other_power_ += a * a;
      product_ += a * b;
      max_abs_ = std::max(max_abs_, std::abs(a - b));
    }
    const int64_t row = i - i % columns;
    if (i == row) best_a = best_b = i;
    if (a > actual.real_at(best_a)) best_a = i;
    if (b > expected.real_at(best_b)) best_b = i;
    if (i + 1 == row + columns) {
      ++rows_;
      same_ += best_a == best_b;
    }
  }
}

Accuracy AccuracyMeter::result() const {
  constexpr double kNothingLost = 200;
  Accuracy a;
  if (power_ > 0 && other_power_ > 0) a.cosine = product_ / std::sqrt(power_ * other_power_);
  a.relative_l2 = power_ > 0 ? std::sqrt(error_ / power_) : std::sqrt(error_);
  a.sqnr_db = error_ > 0 && power_ > 0 ? std::min(kNothingLost, 10 * std::log10(power_ / error_))
                                       : kNothingLost;
  a.max_abs = max_abs_;
  a.same_top1 = rows_ > 0 ? static_cast<double>(same_) / static_cast<double>(rows_) : 1;
  return a;
}

Result<Trial> Trial::make(const NamedGraph& function, std::vector<Sample> samples,
                          const runtime::LoadOptions& load) {
  Trial trial;
  trial.function_ = &function;
  trial.samples_ = std::move(samples);
  trial.load_ = load;
  for (const StateVariable& s : function.state) trial.variables_.push_back(s.initial);
  if (!trial.samples_.empty())
    trial.estimated_cost_ = estimated_seconds(*function.graph, trial.samples_[0].inputs) *
                            static_cast<double>(trial.samples_.size());
  trial.expected_ = TRY(trial.outputs_of(*function.graph));
  const auto before = function.graph->clone();
  TRY(end_before_softmax(*before));
  trial.expected_before_softmax_ = TRY(trial.outputs_of(*before));
  return trial;
}

Result<Outputs> Trial::outputs_of(const Graph& graph) const {
  const auto optimized = graph.clone();
  PassContext context;
  TRY(optimize(*optimized, context));
  const auto loaded = TRY(load_graph(*optimized, load_));
  Outputs outputs;
  for (size_t i = 0; i < samples_.size(); ++i) outputs.push_back(TRY(loaded.run(inputs(i), {})));
  return outputs;
}

std::vector<Tensor> Trial::inputs(size_t sample) const {
  return with_variables(samples_[sample].inputs);
}

std::vector<Tensor> Trial::with_variables(std::vector<Tensor> inputs) const {
  inputs.insert(inputs.end(), variables_.begin(), variables_.end());
  return inputs;
}

Result<double> Trial::loss(const quant::FunctionStatistics& statistics,
                           const quant::QuantizeOptions& options) const {
  return loss_of_other(*function_, statistics, options);
}

Result<double> Trial::loss_of_other(const NamedGraph& function,
                                    const quant::FunctionStatistics& statistics,
                                    const quant::QuantizeOptions& options) const {
  return compare(TRY(before_softmax_of(function, statistics, options)), expected_before_softmax_)
      .relative_l2;
}

Result<Outputs> Trial::outputs_before_softmax(const quant::FunctionStatistics& statistics,
                                              const quant::QuantizeOptions& options) const {
  return before_softmax_of(*function_, statistics, options);
}

Result<Outputs> Trial::before_softmax_of(const NamedGraph& function,
                                         const quant::FunctionStatistics& statistics,
                                         const quant::QuantizeOptions& options) const {
  const auto graph = function.graph->clone();
  TRY(quant::quantize(*graph, statistics, options));
  TRY(end_before_softmax(*graph));
  return outputs_of(*graph);
}

Result<Accuracy> Trial::run(const quant::FunctionStatistics& statistics,
                            const quant::QuantizeOptions& options) const {
  return compare(TRY(outputs(statistics, options)), expected_);
}

Result<Outputs> Trial::outputs(const quant::FunctionStatistics& statistics,
                               const quant::QuantizeOptions& options) const {
  const auto graph = function_->graph->clone();
  TRY(quant::quantize(*graph, statistics, options));
  return outputs_of(*graph);
}

}  // namespace tenon
