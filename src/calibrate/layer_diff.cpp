#include "calibrate/layer_diff.h"

#include <algorithm>
#include <cmath>

#include "ops/matmul.h"
#include "ops/quantized_product.h"
#include "quant/plan.h"
#include "verify/layers.h"
#include "verify/load_graph.h"
#include "verify/verify.h"

namespace tenon {
namespace {

// Runs for shares, by the estimate for the reference (see choose_methods.cpp).
constexpr double kSecondsForShares = 2000;

std::vector<Tensor> inputs_of(const NamedGraph& function, const Sample& sample) {
  std::vector<Tensor> inputs = sample.inputs;
  for (const StateVariable& s : function.state) inputs.push_back(s.initial);
  return inputs;
}

bool is_integer_product(const Node& node) {
  return (node.as<QuantizedConv>() != nullptr || node.as<QuantizedMatmul>() != nullptr) &&
         node.input(1) != nullptr && node.input(1)->constant() != nullptr;
}
bool is_real_product(const Node& node) {
  return quant::is_product(node) && node.input(1)->constant() != nullptr &&
         node.input(1)->dtype() == DType::f32;
}

struct PairedProducts {
  const Node* integers;
  size_t real;  // the place of the node in the other graph
};

// Products keep their order and the number of their weights, whatever they were compiled to.
std::vector<PairedProducts> pair_products(const Graph& a, const Graph& b) {
  std::vector<std::pair<size_t, int64_t>> reals;
  size_t place = 0;
  for (const auto& node : b.nodes()) {
    if (is_real_product(*node)) reals.emplace_back(place, node->input(1)->constant()->elements());
    ++place;
  }
  std::vector<PairedProducts> pairs;
  auto next = reals.begin();
  for (const auto& node : a.nodes()) {
    if (!is_integer_product(*node) && !is_real_product(*node)) continue;
    const int64_t weights = node->input(1)->constant()->elements();
    const auto found =
        std::find_if(next, reals.end(), [&](const auto& r) { return r.second == weights; });
    if (found == reals.end()) continue;
    next = found + 1;
    if (is_integer_product(*node)) pairs.push_back({node.get(), found->first});
  }
  return pairs;
}

// The reals that the weights of a product of integers stand for; undefined where that is not known.
Result<Tensor> weights_of(const Node& product, const Tensor& like, bool transposed) {
  const Tensor& w = *product.input(1)->constant();
  const auto x = quant::params_of_value(*product.input(0));
  const Value* scales = product.input(4);
  if (!x || scales == nullptr || scales->constant() == nullptr ||
      (product.input(3) != nullptr && product.input(3)->constant() == nullptr))
    return Tensor();
  const Tensor& scale = *scales->constant();
  const Tensor* zero = product.input(3) == nullptr ? nullptr : product.input(3)->constant();
  const int64_t columns = w.dim(w.rank() - 1), rows = w.elements() / std::max<int64_t>(columns, 1);
  if (scale.elements() != 1 && scale.elements() != columns) return Tensor();
  if (zero != nullptr && zero->elements() != 1 && zero->elements() != columns) return Tensor();
  Tensor real = TRY(Tensor::allocate(DType::f32, like.dims()));
  for (int64_t i = 0; i < w.elements(); ++i) {
    const int64_t column = i % columns;
    const auto of = [&](const Tensor& t) { return t.elements() == 1 ? 0 : column; };
    const double s = scale.real_at(of(scale)) / static_cast<double>(x->scale);
    const auto z = zero == nullptr ? 0 : zero->int_at(of(*zero));
    real.mutable_data<float>()[transposed ? column * rows + i / columns : i] =
        static_cast<float>(static_cast<double>(w.int_at(i) - z) * s);
  }
  return real;
}

// Gives one product of `graph` the integers of the other: its weights, and what it reads.
Result<bool> make_integers(Graph& graph, const PairedProducts& pair) {
  Node* node = std::next(graph.nodes().begin(), static_cast<std::ptrdiff_t>(pair.real))->get();
  const auto* matmul = node->as<Matmul>();
  const Tensor weights = TRY(weights_of(*pair.integers, *node->input(1)->constant(),
                                        matmul != nullptr && matmul->transpose_b));
  const auto x = quant::params_of_value(*pair.integers->input(0));
  if (!weights.defined() || !x) return false;
  const bool is_signed = pair.integers->input(0)->dtype() == DType::i8;
  Builder b(graph, node);
  Value* scale = b.constant(Tensor::scalar(x->scale));
  Value* zero = b.constant(is_signed ? Tensor::scalar(static_cast<int8_t>(x->zero))
                                     : Tensor::scalar(static_cast<uint8_t>(x->zero)));
  Value* q = TRY(b.op("quantize_linear", {node->input(0), scale, zero}));
  Value* real = TRY(b.op("dequantize_linear", {q, scale, zero}));
  node->set_input(0, real);
  node->set_input(1, b.constant(weights));
  return true;
}

// The relative L2 of the outputs of each product where it alone is of integers, by the node's name.
Result<std::map<std::string, double>> losses(const NamedGraph& a, const NamedGraph& b,
                                             const std::vector<Sample>& samples,
                                             const std::vector<std::vector<Tensor>>& expected,
                                             const runtime::LoadOptions& load) {
  std::map<std::string, double> alone;
  const auto pairs = pair_products(*a.graph, *b.graph);
  const double cost = estimated_seconds(*b.graph, samples.front().inputs) *
                      static_cast<double>(samples.size() * pairs.size());
  if (cost > kSecondsForShares) return alone;
  for (const PairedProducts& pair : pairs) {
    const auto graph = b.graph->clone();
    if (pair.integers->origins.empty() || !TRY(make_integers(*graph, pair))) continue;
    const auto loaded = TRY(load_graph(*graph, load));
    AccuracyMeter meter;
    for (size_t i = 0; i < samples.size(); ++i) {
      const auto outputs = TRY(loaded.run(inputs_of(b, samples[i]), {}));
      for (size_t k = 0; k < outputs.size(); ++k) meter.add(outputs[k], expected[i][k]);
    }
    alone[pair.integers->origins.back()] = meter.result().relative_l2;
  }
  return alone;
}

void add_tensor(const std::string& name, const quant::QuantParams& params,
                const quant::TensorStatistics& s,
                const std::map<std::string, quant::Method>& methods, LayerReport& report) {
  quant::TensorChoice choice{name, {}, params};
  choice.range.low = static_cast<double>(-params.zero) * static_cast<double>(params.scale);
  choice.range.high = static_cast<double>(255 - params.zero) * static_cast<double>(params.scale);
  if (const auto it = methods.find(name); it != methods.end()) choice.range.method = it->second;
  choice.saturation = quant::saturation(s, params);
  const double power = s.count > 0 ? s.sum_squares / static_cast<double>(s.count) : 0;
  const double error = quant::expected_error(s, params);
  choice.sqnr_db = power > 0 && error > 0 ? 10 * std::log10(power / error) : 0;
  report.choices.tensors.push_back(std::move(choice));
}

}  // namespace

Result<LayerReport> diff_layers(const NamedGraph& a, const NamedGraph& b,
                                const std::vector<Sample>& samples,
                                const runtime::LoadOptions& load,
                                const std::map<std::string, quant::Method>& methods,
                                quant::FunctionStatistics& statistics) {
  if (samples.empty()) return invalid_argument("there are no samples to compare on");
  const LayerProbe probe_a = TRY(LayerProbe::make(*a.graph, load));
  const LayerProbe probe_b = TRY(LayerProbe::make(*b.graph, load));
  const auto run_a = TRY(load_graph(*a.graph, load)), run_b = TRY(load_graph(*b.graph, load));
  LayerReport report;
  report.key = a.key;
  report.samples = samples.size();
  std::vector<LayerPair> pairs;
  std::vector<AccuracyMeter> meters;
  AccuracyMeter outputs;
  std::vector<std::vector<Tensor>> expected;
  for (const Sample& sample : samples) {
    const Layers layers_a = TRY(probe_a.run(inputs_of(a, sample)));
    const Layers layers_b = TRY(probe_b.run(inputs_of(b, sample)));
    if (expected.empty()) {
      pairs = pair_layers(layers_a, layers_b, true);
      meters.resize(pairs.size());
      for (const LayerPair& pair : pairs) {
        LayerAccuracy& layer = report.layers.emplace_back();
        layer.name = layer.node = pair.name;
        layer.op = layers_a[pair.actual].op;
        layer.integer = true;
      }
    }
    for (size_t i = 0; i < pairs.size(); ++i) {
      const Tensor& other = value_of(layers_b[pairs[i].expected]);
      meters[i].add(value_of(layers_a[pairs[i].actual]), other);
      if (other.dtype() == DType::f32) statistics.tensors[pairs[i].name].add(other);
    }
    const auto actual = TRY(run_a.run(inputs_of(a, sample), {}));
    expected.push_back(TRY(run_b.run(inputs_of(b, sample), {})));
    if (actual.size() != expected.back().size())
      return invalid_argument("the two have different numbers of outputs");
    for (size_t k = 0; k < actual.size(); ++k) outputs.add(actual[k], expected.back()[k]);
  }
  report.outputs = outputs.result();
  const auto alone = TRY(losses(a, b, samples, expected, load));
  double total = 0;
  for (const auto& [name, loss] : alone) total += loss * loss;
  const auto params = probe_a.params();
  for (size_t i = 0; i < pairs.size(); ++i) {
    LayerAccuracy& layer = report.layers[i];
    layer.result = meters[i].result();
    if (const auto it = alone.find(layer.name); it != alone.end()) {
      layer.alone_relative_l2 = it->second;
      layer.share = total > 0 ? it->second * it->second / total : 0;
    }
    if (const auto& p = params[pairs[i].actual]; p && statistics.tensors.contains(layer.name))
      add_tensor(layer.name, *p, statistics.tensors[layer.name], methods, report);
  }
  std::ranges::stable_sort(report.layers, [](const LayerAccuracy& x, const LayerAccuracy& y) {
    return x.share != y.share ? x.share > y.share : x.result.relative_l2 > y.result.relative_l2;
  });
  return report;
}

std::map<std::string, quant::Method> parse_range_methods(std::string_view note) {
  std::map<std::string, quant::Method> methods;
  while (!note.empty()) {
    const std::string_view line = note.substr(0, note.find('\n'));
    note.remove_prefix(std::min(line.size() + 1, note.size()));
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) continue;
    if (const auto method = quant::method_of(line.substr(0, space)))
      methods[std::string(line.substr(space + 1))] = *method;
  }
  return methods;
}

}  // namespace tenon
