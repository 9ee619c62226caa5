#include "calibrate/byte_rounding.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "ops/recurrent.h"
#include "quant/byte_layers.h"
#include "quant/plan.h"
#include "quant/rounding.h"
#include "verify/load_graph.h"

namespace tenon {
namespace {

constexpr int64_t kSamples = 256, kWindows = 2048, kMostTerms = 1200;
// Multiplications for all layers: the later ones of a large model are rounded to the nearest.
constexpr double kMostWork = 1e10;

// One of the weights, or of those of a recurrent layer a direction's matrix.
struct Matrix {
  quant::Correlations correlations;
  size_t weight;
  int64_t direction;
};

struct Layer {
  std::string name;
  const Node* node;
  std::vector<quant::LayerBytes> bytes;  // rounded to the nearest at first
  std::vector<Matrix> matrices;
};

// Where a recurrent layer has the states that it begins with.
Value* first_states(const Node& node) {
  return node.input(node.is(Gru::name) ? 6 : 5);
}

Direction direction_of(const Node& node) {
  if (const auto* lstm = node.as<Lstm>()) return lstm->direction;
  if (const auto* gru = node.as<Gru>()) return gru->direction;
  return node.as<Rnn>()->direction;
}

// What a recurrent layer's matrix `r` of a direction is multiplied by: the states before each step.
// y [T, D, B, H] has those of all steps but the first, h0 [D, B, H] that.
Status add_states(quant::Correlations& to, const Tensor& y, const Tensor* h0, int64_t direction,
                  Direction way, int64_t windows) {
  const bool backwards = way == Direction::reverse || direction == 1;
  const int64_t steps = y.dim(0), row = y.dim(2) * y.dim(3), step = y.dim(1) * row;
  const int64_t dims[] = {steps + (h0 == nullptr ? -1 : 0), y.dim(2), y.dim(3)};
  if (dims[0] <= 0 || row == 0) return {};
  Tensor before = TRY(Tensor::allocate(DType::f32, dims));
  auto* states = before.mutable_data<float>();
  if (h0 != nullptr) states = std::copy_n(h0->data<float>() + direction * row, row, states);
  for (int64_t t = backwards ? 1 : 0; t < steps - (backwards ? 0 : 1); ++t)
    states = std::copy_n(y.data<float>() + t * step + direction * row, row, states);
  return to.add(before, windows);
}

class ByteRounder {
 public:
  ByteRounder(const Trial& trial, const quant::QuantizeOptions& options)
      : trial_(trial), options_(options), graph_(trial.function().graph->clone()) {}

  Status observe(const CalibrationOptions& how) {
    TRY(find_layers());
    if (layers_.empty()) return {};
    graph_->set_outputs(observed_);
    const auto loaded = TRY(load_graph(*graph_, trial_.load()));
    const auto samples = TRY(some_samples(trial_.function(), how, kSamples));
    const int64_t windows =
        std::max<int64_t>(1, kWindows / std::max<int64_t>(1, std::ssize(samples)));
    for (const Sample& sample : samples) {
      const auto inputs = trial_.with_variables(sample.inputs);
      const auto results = TRY(loaded.run(inputs, {}));
      const auto tensor = [&](const Value* v) -> const Tensor* {
        if (v == nullptr || v->constant() != nullptr) return v == nullptr ? nullptr : v->constant();
        if (v->producer() == nullptr) return &inputs[static_cast<size_t>(v->index())];
        return &results[static_cast<size_t>(std::ranges::find(observed_, v) - observed_.begin())];
      };
      for (Layer& layer : layers_)
        for (Matrix& m : layer.matrices)
          if (m.weight == 0)
            TRY(m.correlations.add(*tensor(layer.node->input(0)), windows));
          else
            TRY(add_states(m.correlations, *tensor(layer.node->output()),
                           tensor(first_states(*layer.node)), m.direction,
                           direction_of(*layer.node), windows));
    }
    return {};
  }

  Result<std::map<std::string, std::vector<Tensor>>> round() {
    std::map<std::string, std::vector<Tensor>> rounded;
    for (Layer& layer : layers_) {
      for (Matrix& m : layer.matrices)
        if (!m.correlations.empty()) TRY(round(layer, m));
      for (const quant::LayerBytes& b : layer.bytes)
        rounded[layer.name].push_back(TRY(quant::reals_of(b.values, b.channels)));
    }
    return rounded;
  }

 private:
  Status find_layers() {
    for (const quant::NamedValue& v : quant::observed_values(*graph_)) {
      const Node* node = v.value->producer();
      if (node == nullptr || v.value != node->output() || !quant::is_candidate(*node) ||
          options_.weights.contains(v.name))
        continue;
      const bool recurrent = quant::is_recurrent(*node);
      const bool is_bytes = options_.byte_weights.contains(v.name) ||
                            (recurrent && !options_.keep_float.contains(v.name));
      if (!is_bytes || (!recurrent && !quant::Correlations::is_affordable(*node))) continue;
      Layer layer{v.name, node, TRY(quant::rounded_bytes(*node)), {}};
      if (layer.bytes.empty() || !spend(layer, recurrent)) continue;
      if (!recurrent) layer.matrices.push_back({quant::Correlations(*node), 0, 0});
      for (size_t i = 0; recurrent && i < layer.bytes.size(); ++i)
        for (int64_t d = 0; d < layer.bytes[i].channels.batch; ++d)
          layer.matrices.push_back(
              {quant::Correlations(layer.bytes[i].channels.rows, layer.bytes[i].channels.columns),
               i, d});
      look_at(node->input(0));
      if (recurrent) {
        look_at(node->output());
        look_at(first_states(*node));
      }
      layers_.push_back(std::move(layer));
    }
    return {};
  }

  // False where it is more than may be spent.
  bool spend(const Layer& layer, bool recurrent) {
    double own = 0;
    for (const quant::LayerBytes& b : layer.bytes) {
      // Of a product any axis may be that of the columns.
      const auto terms = static_cast<double>(b.channels.rows * b.channels.inner);
      if (recurrent && b.channels.rows > kMostTerms) return false;
      own += static_cast<double>(b.channels.batch) * terms * terms *
             static_cast<double>(kWindows + b.channels.columns);
    }
    if (work_ + own > kMostWork) return false;
    work_ += own;
    return true;
  }

  void look_at(Value* v) {
    if (v != nullptr && v->producer() != nullptr && v->constant() == nullptr &&
        std::ranges::find(observed_, v) == observed_.end())
      observed_.push_back(v);
  }

  static Status round(Layer& layer, Matrix& m) {
    quant::LayerBytes& b = layer.bytes[m.weight];
    const Tensor& w = *layer.node->input(quant::weights_of(*layer.node)[m.weight])->constant();
    if (!quant::is_recurrent(*layer.node)) {
      quant::QuantizedWeights nearest{b.values.integers, b.values.scales, 0};
      auto fitted = TRY(m.correlations.fit(w, std::move(nearest)));
      b.values = {std::move(fitted.integers), std::move(fitted.scales)};
      return {};
    }
    const int64_t dims[] = {b.channels.rows, b.channels.columns}, size = dims[0] * dims[1];
    Tensor reals = TRY(Tensor::allocate(DType::f32, dims));
    quant::QuantizedWeights q{TRY(Tensor::allocate(DType::i8, dims)),
                              TRY(Tensor::allocate(DType::f32, std::span(dims).subspan(1))), 1};
    std::copy_n(w.data<float>() + m.direction * size, size, reals.mutable_data<float>());
    std::copy_n(b.values.integers.data<int8_t>() + m.direction * size, size,
                q.integers.mutable_data<int8_t>());
    std::copy_n(b.values.scales.data<float>() + m.direction * dims[1], dims[1],
                q.scales.mutable_data<float>());
    q = TRY(m.correlations.fit(reals, std::move(q)));
    std::copy_n(q.integers.data<int8_t>(), size,
                b.values.integers.mutable_data<int8_t>() + m.direction * size);
    std::copy_n(q.scales.data<float>(), dims[1],
                b.values.scales.mutable_data<float>() + m.direction * dims[1]);
    return {};
  }

  const Trial& trial_;
  const quant::QuantizeOptions& options_;
  std::unique_ptr<Graph> graph_;
  std::vector<Layer> layers_;
  std::vector<Value*> observed_;
  double work_ = 0;
};

}  // namespace

Status choose_byte_rounding(const Trial& trial, const quant::FunctionStatistics& statistics,
                            const CalibrationOptions& how, const DisabledNames& disabled,
                            quant::QuantizeOptions& options, std::vector<TechniqueGain>& gains) {
  constexpr std::string_view kName = "adaptive-rounding";
  if (disabled.contains(kName)) return {};
  ByteRounder rounder(trial, options);
  TRY(rounder.observe(how));
  quant::QuantizeOptions rounded = options;
  rounded.weights.merge(TRY(rounder.round()));
  if (rounded.weights.size() == options.weights.size()) return {};
  return take_if_better(trial, statistics, fmt::format("{} of bytes", kName), std::move(rounded),
                        options, gains);
}

}  // namespace tenon
