#include "verify/layers.h"

#include <algorithm>
#include <set>

#include "compiler/compile.h"
#include "ir/interpret.h"
#include "quant/quantize.h"
#include "verify/load_graph.h"

namespace tenon {
namespace {

bool is_layer(const Node& node) {
  return !node.origins.empty() && node.output_count() > 0 && !node.is("const");
}

std::string_view bare(std::string_view name) {
  return name.ends_with(":0") ? name.substr(0, name.size() - 2) : name;
}

// The name without the nodes TensorFlow makes for calls: "StatefulPartitionedCall_1/dense/MatMul".
std::string without_calls(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    const std::string_view part = name.substr(0, name.find('/'));
    name.remove_prefix(std::min(part.size() + 1, name.size()));
    std::string_view kind = part.starts_with("Stateful") ? part.substr(8) : part;
    const size_t digits = kind.find_last_not_of("0123456789");
    if (digits != std::string_view::npos && kind[digits] == '_') kind = kind.substr(0, digits);
    if (kind == "PartitionedCall") continue;
    out += (out.empty() ? "" : "/") + std::string(part);
  }
  return out;
}

// The reals that the integers of a quantised value stand for; undefined for any other value.
Tensor real_of(const Value& value, const Tensor& integers) {
  const auto params = quant::params_of_value(value);
  if (!params || integers.dtype() != value.dtype()) return {};
  auto real = Tensor::allocate(DType::f32, integers.dims());
  if (!real.ok()) return {};
  for (int64_t i = 0; i < integers.elements(); ++i)
    real->mutable_data<float>()[i] =
        static_cast<float>(integers.int_at(i) - params->zero) * params->scale;
  return *std::move(real);
}

// The layer a recorded name stands for: a node of the user's model that became several is what the
// last of them gives.
class LayerNames {
 public:
  explicit LayerNames(const Layers& layers) {
    for (size_t i = 0; i < layers.size(); ++i) {
      exact_[layers[i].origins.back()] = i;
      shortened_[without_calls(layers[i].origins.back())] = i;
    }
  }
  std::optional<size_t> find(const std::string& node) const {
    if (const auto at = exact_.find(node); at != exact_.end()) return at->second;
    if (const auto at = shortened_.find(without_calls(node)); at != shortened_.end())
      return at->second;
    return std::nullopt;
  }

 private:
  std::map<std::string, size_t> exact_, shortened_;
};

}  // namespace

const Tensor& value_of(const Layer& layer) {
  return layer.real.defined() ? layer.real : layer.results[0];
}

Result<Layers> layers_by_reference(const Graph& graph, std::span<const Tensor> inputs) {
  Layers layers;
  TRY(interpret(graph, inputs, [&](const Node& node, std::span<const Tensor> results) {
    if (is_layer(node))
      layers.push_back({std::string(node.def().name),
                        node.origins,
                        {results.begin(), results.end()},
                        real_of(*node.output(), results[0])});
  }));
  return layers;
}

Result<LayerProbe> LayerProbe::make(const Graph& graph, const runtime::LoadOptions& options) {
  LayerProbe probe;
  probe.graph_ = graph.clone();
  std::vector<Value*> values;
  for (const auto& node : probe.graph_->nodes())
    for (int i = 0; is_layer(*node) && i < node->output_count(); ++i)
      values.push_back(node->output(i));
  probe.graph_->set_outputs(values);
  probe.function_ = TRY(load_graph(*probe.graph_, options));
  return probe;
}

Result<Layers> LayerProbe::run(std::span<const Tensor> inputs) const {
  const auto results = TRY(function_->run(inputs, {}));
  Layers layers;
  size_t next = 0;
  for (const auto& node : graph_->nodes()) {
    if (!is_layer(*node)) continue;
    Layer& layer = layers.emplace_back();
    layer.op = node->def().name;
    layer.origins = node->origins;
    for (int i = 0; i < node->output_count(); ++i) layer.results.push_back(results[next++]);
    layer.real = real_of(*node->output(), layer.results[0]);
  }
  return layers;
}

std::vector<std::optional<quant::QuantParams>> LayerProbe::params() const {
  std::vector<std::optional<quant::QuantParams>> all;
  for (const auto& node : graph_->nodes())
    if (is_layer(*node)) all.push_back(quant::params_of_value(*node->output()));
  return all;
}

Result<Layers> layers_by_runtime(const Graph& graph, std::span<const Tensor> inputs,
                                 const runtime::LoadOptions& options) {
  return TRY(LayerProbe::make(graph, options)).run(inputs);
}

std::vector<LayerPair> pair_layers(const Layers& actual, const Layers& expected, bool by_last) {
  std::multimap<std::string_view, size_t> by_origin;
  for (size_t i = 0; i < expected.size(); ++i)
    for (const std::string& origin : expected[i].origins) by_origin.emplace(origin, i);
  // What a fused layer gives another one may give: those inside of it have no counterpart then.
  std::set<std::string_view> ends;
  for (const Layer& layer : actual) ends.insert(layer.origins.back());
  std::vector<LayerPair> pairs;
  for (size_t a = 0; a < actual.size(); ++a) {
    const Layer& layer = actual[a];
    std::optional<LayerPair> nearest;
    double least = 0;
    // From the last, whose result it is.
    for (size_t k = layer.origins.size(); k-- > 0 && !(by_last && nearest);) {
      const std::string& origin = layer.origins[k];
      const auto [first, last] = by_origin.equal_range(origin);
      for (auto it = first; it != last; ++it) {
        const std::string& end = expected[it->second].origins.back();
        if (end != layer.origins.back() && ends.contains(end)) continue;
        const Tensor& other = value_of(expected[it->second]);
        if (other.type() != value_of(layer).type()) continue;
        const double distance = compare(value_of(layer), other).relative_l2;
        if (nearest && distance >= least) continue;
        nearest = LayerPair{origin, a, it->second};
        least = distance;
      }
    }
    if (nearest) pairs.push_back(*std::move(nearest));
  }
  return pairs;
}

std::vector<LayerDifference> compare_layers(const Layers& actual, const Layers& expected) {
  std::vector<LayerDifference> differences;
  for (const LayerPair& pair : pair_layers(actual, expected, false))
    differences.push_back(
        {pair.name, compare(value_of(actual[pair.actual]), value_of(expected[pair.expected]))});
  return differences;
}

RecordedComparison compare_recorded(const Layers& actual, const Recorded& recorded) {
  const LayerNames names(actual);
  RecordedComparison comparison;
  std::vector<std::pair<size_t, LayerDifference>> found;
  for (const auto& [name, tensor] : recorded) {
    size_t output = 0;
    auto at = names.find(std::string(bare(name)));
    if (const size_t colon = name.rfind(':'); !at && colon != std::string::npos) {
      output = static_cast<size_t>(std::strtoul(name.c_str() + colon + 1, nullptr, 10));
      at = names.find(name.substr(0, colon));
    }
    if (!at || output >= actual[*at].results.size()) {
      comparison.unknown.push_back(name);
      continue;
    }
    found.emplace_back(*at, LayerDifference{name, compare(actual[*at].results[output], tensor)});
  }
  std::ranges::stable_sort(found, {}, &std::pair<size_t, LayerDifference>::first);
  for (auto& [place, difference] : found) comparison.layers.push_back(std::move(difference));
  return comparison;
}

const LayerDifference* first_difference(std::span<const LayerDifference> layers, double tolerance) {
  for (const LayerDifference& layer : layers)
    if (!layer.difference.within(tolerance)) return &layer;
  return nullptr;
}

}  // namespace tenon
