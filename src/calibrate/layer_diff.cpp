#include "calibrate/layer_diff.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "ops/matmul.h"
#include "ops/quantized_product.h"
#include "quant/plan.h"
#include "quant/two_bytes.h"
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
  size_t real;         // the place of the node in the other graph
  const Node* second;  // of the second byte, where it has two
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
    if (const Node* other = quant::other_byte_of(*node); other != nullptr)
      if (const auto pair = std::ranges::find(pairs, other, &PairedProducts::integers);
          pair != pairs.end()) {
        pair->second = node.get();
        continue;
      }
    const int64_t weights = node->input(1)->constant()->elements();
    const auto found =
        std::find_if(next, reals.end(), [&](const auto& r) { return r.second == weights; });
    if (found == reals.end()) continue;
    next = found + 1;
    if (is_integer_product(*node)) pairs.push_back({node.get(), found->first, nullptr});
  }
  return pairs;
}

// What the integers of a value stand for; of what was looked up in a table the file's note says it.
std::optional<quant::QuantParams> params_of(const Value& value, const NotedRanges& ranges) {
  if (const auto known = quant::params_of_value(value)) return known;
  const Node* node = value.producer();
  while (node != nullptr && !node->is("byte_lookup") && node->def().has(kView))
    node = node->input(0)->producer();
  if (node == nullptr || !node->is("byte_lookup") || node->origins.empty()) return std::nullopt;
  const auto noted = ranges.find(node->origins.back());
  return noted == ranges.end() ? std::nullopt : std::optional(noted->second.params);
}

// The reals that the weights of a product of integers stand for; undefined where that is not known.
Result<Tensor> weights_of(const Node& product, const std::optional<quant::QuantParams>& x,
                          const Tensor& like, bool transposed) {
  const Tensor& w = *product.input(1)->constant();
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
Result<bool> make_integers(Graph& graph, const PairedProducts& pair, const NotedRanges& ranges) {
  Node* node = std::next(graph.nodes().begin(), static_cast<std::ptrdiff_t>(pair.real))->get();
  const auto* matmul = node->as<Matmul>();
  const Node *first = pair.integers, *second = pair.second;
  auto x = params_of(*first->input(0), ranges);
  auto rest = second == nullptr ? std::nullopt : params_of(*second->input(0), ranges);
  if (x && rest && x->scale < rest->scale) {
    std::swap(first, second);
    std::swap(x, rest);
  }
  const Tensor weights = TRY(
      weights_of(*first, x, *node->input(1)->constant(), matmul != nullptr && matmul->transpose_b));
  if (!weights.defined() || !x || (second != nullptr && !rest)) return false;
  Builder b(graph, node);
  Value* real = TRY(quant::through_bytes(b, node->input(0), *x, first->input(0)->dtype()));
  if (rest) {
    Value* left = TRY(b.op("sub", {node->input(0), real}));
    real = TRY(
        b.op("add", {real, TRY(quant::through_bytes(b, left, *rest, second->input(0)->dtype()))}));
  }
  node->set_input(0, real);
  node->set_input(1, b.constant(weights));
  return true;
}

// What a product alone costs.
struct Loss {
  std::string name;         // of the product of integers
  std::string counterpart;  // of the layer that it is, or is in, in reals
  double relative_l2;       // of the outputs, where it alone is of integers
};

Result<std::vector<Loss>> losses(const NamedGraph& a, const NamedGraph& b,
                                 const std::vector<Sample>& samples,
                                 const std::vector<std::vector<Tensor>>& expected,
                                 const NotedRanges& ranges, const runtime::LoadOptions& load) {
  std::vector<Loss> alone;
  const auto pairs = pair_products(*a.graph, *b.graph);
  const double cost = estimated_seconds(*b.graph, samples.front().inputs) *
                      static_cast<double>(samples.size() * pairs.size());
  if (cost > kSecondsForShares) return alone;
  for (const PairedProducts& pair : pairs) {
    const auto graph = b.graph->clone();
    if (pair.integers->origins.empty() || !TRY(make_integers(*graph, pair, ranges))) continue;
    const auto loaded = TRY(load_graph(*graph, load));
    AccuracyMeter meter;
    for (size_t i = 0; i < samples.size(); ++i) {
      const auto outputs = TRY(loaded.run(inputs_of(b, samples[i]), {}));
      for (size_t k = 0; k < outputs.size(); ++k) meter.add(outputs[k], expected[i][k]);
    }
    const Node& real =
        **std::next(b.graph->nodes().begin(), static_cast<std::ptrdiff_t>(pair.real));
    const std::string& name = pair.integers->origins.back();
    alone.push_back(
        {name, real.origins.empty() ? name : real.origins.back(), meter.result().relative_l2});
  }
  return alone;
}

// The range of what is looked up in a table, which nothing in the graph says.
const NotedRange* noted_of(const Layer& layer, const NotedRanges& ranges) {
  if (layer.op != "byte_lookup" || layer.results[0].dtype() != DType::u8) return nullptr;
  const auto it = ranges.find(layer.origins.back());
  return it == ranges.end() ? nullptr : &it->second;
}

Status find_reals(Layers& layers, const NotedRanges& ranges) {
  for (Layer& layer : layers)
    if (const NotedRange* noted = noted_of(layer, ranges)) {
      const Tensor& integers = layer.results[0];
      Tensor real = TRY(Tensor::allocate(DType::f32, integers.dims()));
      for (int64_t i = 0; i < integers.elements(); ++i)
        real.mutable_data<float>()[i] =
            static_cast<float>(integers.int_at(i) - noted->params.zero) * noted->params.scale;
      layer.real = std::move(real);
    }
  return {};
}

void add_tensor(const std::string& name, const quant::QuantParams& params,
                const quant::TensorStatistics& s, const NotedRanges& ranges, LayerReport& report) {
  quant::TensorChoice choice{name, {}, params};
  choice.range.low = static_cast<double>(-params.zero) * static_cast<double>(params.scale);
  choice.range.high = static_cast<double>(255 - params.zero) * static_cast<double>(params.scale);
  if (const auto it = ranges.find(name); it != ranges.end())
    choice.range.method = it->second.method;
  choice.saturation = quant::saturation(s, params);
  const double power = s.count > 0 ? s.sum_squares / static_cast<double>(s.count) : 0;
  const double error = quant::expected_error(s, params);
  choice.sqnr_db = power > 0 && error > 0 ? 10 * std::log10(power / error) : 0;
  report.choices.tensors.push_back(std::move(choice));
}

}  // namespace

Result<LayerReport> diff_layers(const NamedGraph& a, const NamedGraph& b,
                                const std::vector<Sample>& samples,
                                const runtime::LoadOptions& load, const NotedRanges& ranges,
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
    Layers layers_a = TRY(probe_a.run(inputs_of(a, sample)));
    TRY(find_reals(layers_a, ranges));
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
  const auto alone = TRY(losses(a, b, samples, expected, ranges, load));
  double total = 0;
  for (const Loss& loss : alone) total += loss.relative_l2 * loss.relative_l2;
  const auto params = probe_a.params();
  for (size_t i = 0; i < pairs.size(); ++i) {
    LayerAccuracy& layer = report.layers[i];
    layer.result = meters[i].result();
    // A product inside of a fused layer is compared by what that gives.
    auto it = std::ranges::find(alone, layer.name, &Loss::name);
    if (it == alone.end()) it = std::ranges::find(alone, layer.name, &Loss::counterpart);
    if (it != alone.end()) {
      layer.node = it->name;
      layer.alone_relative_l2 = it->relative_l2;
      layer.share = total > 0 ? it->relative_l2 * it->relative_l2 / total : 0;
    }
    std::optional<quant::QuantParams> p = params[pairs[i].actual];
    if (const auto noted = ranges.find(layer.name);
        !p && layer.op == "byte_lookup" && noted != ranges.end())
      p = noted->second.params;
    if (p && statistics.tensors.contains(layer.name))
      add_tensor(layer.name, *p, statistics.tensors[layer.name], ranges, report);
  }
  std::ranges::stable_sort(report.layers, [](const LayerAccuracy& x, const LayerAccuracy& y) {
    return x.share != y.share ? x.share > y.share : x.result.relative_l2 > y.result.relative_l2;
  });
  return report;
}

NotedRanges parse_ranges(std::string_view note) {
  NotedRanges ranges;
  while (!note.empty()) {
    std::string_view line = note.substr(0, note.find('\n'));
    note.remove_prefix(std::min(line.size() + 1, note.size()));
    const auto word = [&] {
      const std::string_view w = line.substr(0, line.find(' '));
      line.remove_prefix(std::min(w.size() + 1, line.size()));
      return w;
    };
    const auto method = quant::method_of(word());
    const std::string_view scale = word(), zero = word();
    quant::QuantParams params;
    const auto number = [](std::string_view text, auto& to) {
      return std::from_chars(text.data(), text.data() + text.size(), to).ec == std::errc();
    };
    if (method && number(scale, params.scale) && number(zero, params.zero) && !line.empty())
      ranges[std::string(line)] = {*method, params};
  }
  return ranges;
}

}  // namespace tenon
