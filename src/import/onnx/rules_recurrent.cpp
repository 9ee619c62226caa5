// Rules of the recurrent layers. The core ops want weights with gates in columns, in an order of
// their own; constants are rearranged when they are folded.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "import/onnx/rule.h"

namespace tenon::onnx {
namespace {

struct Activation {
  std::string kind;
  double alpha = 0;
  double beta = 0;
};

// What is common to the three layers.
struct Layer {
  std::string direction;
  std::vector<std::vector<Activation>> activations;  // per direction
  double clip = 0;
  bool batch_first = false;

  int directions() const { return static_cast<int>(activations.size()); }
};

struct ActivationInfo {
  std::string_view onnx;
  std::string_view core;
  std::optional<double> alpha;  // the default, where it has the parameter
  std::optional<double> beta;
};
constexpr ActivationInfo kActivations[] = {
    {"Affine", "affine", 1.0, 0.0},
    {"Elu", "elu", 1.0, {}},
    {"HardSigmoid", "hard_sigmoid", 0.2, 0.5},
    {"LeakyRelu", "leaky_relu", 0.01, {}},
    {"Relu", "relu", {}, {}},
    {"ScaledTanh", "scaled_tanh", 1.0, 1.0},
    {"Sigmoid", "sigmoid", {}, {}},
    {"Softplus", "softplus", {}, {}},
    {"Softsign", "softsign", {}, {}},
    {"Tanh", "tanh", {}, {}},
    {"ThresholdedRelu", "thresholded_relu", 1.0, {}},
};

bool same_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

// `defaults` are one direction's. Parameters are handed out in the order of the functions that
// have them.
Result<Layer> layer_of(const RuleContext& c, const std::vector<std::string>& defaults) {
  Layer layer;
  layer.direction = TRY(c.get_string("direction", "forward"));
  if (layer.direction != "forward" && layer.direction != "reverse" &&
      layer.direction != "bidirectional")
    return invalid_model(fmt::format("attribute 'direction' is '{}'", layer.direction));
  const size_t directions = layer.direction == "bidirectional" ? 2 : 1;
  std::vector<std::string> names = TRY(c.get_strings("activations"));
  if (names.empty())
    for (size_t d = 0; d < directions; ++d)
      names.insert(names.end(), defaults.begin(), defaults.end());
  if (names.size() != directions * defaults.size())
    return invalid_model(fmt::format("attribute 'activations' has {} elements, but {} are expected",
                                     names.size(), directions * defaults.size()));
  const auto alphas = TRY(c.get_floats("activation_alpha"));
  const auto betas = TRY(c.get_floats("activation_beta"));
  size_t alpha = 0, beta = 0;
  layer.activations.resize(directions);
  for (size_t i = 0; i < names.size(); ++i) {
    const auto* info = std::ranges::find_if(
        kActivations, [&](const auto& a) { return same_name(a.onnx, names[i]); });
    if (info == std::end(kActivations))
      return unsupported(
          fmt::format("the activation '{}' of recurrent layers is not supported", names[i]));
    Activation a{std::string(info->core), 0, 0};
    if (info->alpha) a.alpha = alpha < alphas.size() ? alphas[alpha++] : *info->alpha;
    if (info->beta) a.beta = beta < betas.size() ? betas[beta++] : *info->beta;
    layer.activations[i / defaults.size()].push_back(std::move(a));
  }
  layer.clip = TRY(c.get_float("clip", 0));
  layer.batch_first = TRY(c.get_int("layout", 0)) != 0;
  return layer;
}

bool same(const std::vector<Activation>& a, const std::vector<Activation>& b) {
  return std::ranges::equal(a, b, [](const Activation& x, const Activation& y) {
    return x.kind == y.kind && x.alpha == y.alpha && x.beta == y.beta;
  });
}

// Equal parts of x along an axis.
Result<Values> parts(const RuleContext& c, Value* x, int64_t axis, int64_t count) {
  return all(c.builder.node("split", {x}, {{"axis", axis}, {"num", count}}));
}

Result<Value*> joined(const RuleContext& c, const Values& values, int64_t axis) {
  return values.size() == 1 ? Result<Value*>(values[0]) : c.op("concat", values, {{"axis", axis}});
}

// Gates along axis 1 in another order.
Result<Value*> reordered(const RuleContext& c, Value* x, const std::vector<size_t>& order) {
  const Values gates = TRY(parts(c, x, 1, static_cast<int64_t>(order.size())));
  if (gates.size() != order.size()) return invalid_model("the gates of the weights do not add up");
  Values picked;
  for (const size_t i : order) picked.push_back(gates[i]);
  return joined(c, picked, 1);
}

// Runs one core op per set of activations and joins the directions again. `sequence_at` is where
// seq_lens stands among the operands.
Result<Values> run(const RuleContext& c, std::string_view op, const Layer& layer, Value* x,
                   const Values& operands, size_t sequence_at,
                   const std::vector<std::string>& names, const std::vector<Builder::Attr>& attrs) {
  const bool split = layer.directions() == 2 && !same(layer.activations[0], layer.activations[1]);
  std::vector<Values> results;
  for (int d = 0; d < (split ? 2 : 1); ++d) {
    Values given{x};
    for (size_t i = 0; i < operands.size(); ++i) {
      Value* v = operands[i];
      if (split && v != nullptr && i + 1 != sequence_at)
        v = TRY(parts(c, v, 0, 2))[static_cast<size_t>(d)];
      given.push_back(v);
    }
    std::vector<Builder::Attr> all_attrs = attrs;
    all_attrs.push_back(
        {"direction", split ? std::string(d == 0 ? "forward" : "reverse") : layer.direction});
    all_attrs.push_back({"clip", layer.clip});
    std::vector<double> alphas, betas;
    for (size_t i = 0; i < names.size(); ++i) {
      const Activation& a = layer.activations[static_cast<size_t>(d)][i];
      all_attrs.push_back({names[i], a.kind});
      alphas.push_back(a.alpha);
      betas.push_back(a.beta);
    }
    all_attrs.push_back({"alphas", alphas});
    all_attrs.push_back({"betas", betas});
    results.push_back(TRY(all(c.builder.node(op, given, std::move(all_attrs)))));
  }
  if (!split) return results[0];
  Values both;
  for (size_t i = 0; i < results[0].size(); ++i)
    both.push_back(TRY(joined(c, {results[0][i], results[1][i]}, i == 0 ? 1 : 0)));
  return both;
}

// [B, T, …] and [B, D, H] of batch-first layers to what the core ops take, and back.
Result<Value*> swapped(const RuleContext& c, const Layer& layer, Value* x) {
  if (!layer.batch_first || x == nullptr) return x;
  return c.transpose(x, {1, 0, 2});
}

Result<Values> results_of(const RuleContext& c, const Layer& layer, Values results) {
  if (!layer.batch_first) return results;
  for (size_t i = 0; i < results.size(); ++i)
    results[i] =
        TRY(i == 0 ? c.transpose(results[i], {2, 0, 1, 3}) : swapped(c, layer, results[i]));
  return results;
}

// The input and the recurrent bias, each [D, gates * H].
Result<Values> biases(const RuleContext& c) {
  if (!c.has(3)) return Values{nullptr, nullptr};
  return parts(c, c.in(3), 1, 2);
}

Result<Value*> columns(const RuleContext& c, Value* weights) {
  return c.transpose(weights, {0, 2, 1});
}

Result<Value*> summed_bias(const RuleContext& c) {
  const Values b = TRY(biases(c));
  return b[0] == nullptr ? Result<Value*>(b[0]) : c.op("add", {b[0], b[1]});
}

// Gates of ONNX are input, output, forget, cell. Operands 8 and 9 are the scales of weights of
// bytes, a column each: DynamicQuantizeLSTM's.
Result<Values> lstm(RuleContext& c) {
  const Layer layer = TRY(layer_of(c, {"Sigmoid", "Tanh", "Tanh"}));
  const bool coupled = TRY(c.get_bool("input_forget", false));
  // f = 1 - i is the sigmoid of the negated sum of the input gate.
  if (coupled)
    for (const auto& activations : layer.activations)
      if (activations[0].kind != "sigmoid")
        return unsupported("input_forget with another activation than Sigmoid");
  const auto gates = [&](Value* x) -> Result<Value*> {
    if (x == nullptr) return x;
    if (!coupled) return reordered(c, x, {0, 2, 3, 1});
    const Values g = TRY(parts(c, x, 1, 4));
    return joined(c, {g[0], TRY(c.op("neg", {g[0]})), g[3], g[1]}, 1);
  };
  Value* peepholes = c.in(7);
  if (coupled && peepholes != nullptr) {
    const Values p = TRY(parts(c, peepholes, 1, 3));
    peepholes = TRY(joined(c, {p[0], p[1], TRY(c.op("neg", {p[0]}))}, 1));
  }
  const Values operands{TRY(columns(c, TRY(gates(c.in(1))))),
                        TRY(columns(c, TRY(gates(c.in(2))))),
                        TRY(gates(TRY(summed_bias(c)))),
                        c.in(4),
                        TRY(swapped(c, layer, c.in(5))),
                        TRY(swapped(c, layer, c.in(6))),
                        peepholes,
                        TRY(gates(c.in(8))),
                        TRY(gates(c.in(9)))};
  Values results =
      TRY(run(c, "lstm", layer, TRY(swapped(c, layer, c.in(0))), operands, 4, {"f", "g", "h"}, {}));
  return results_of(c, layer, std::move(results));
}

Result<Values> gru(RuleContext& c) {
  const Layer layer = TRY(layer_of(c, {"Sigmoid", "Tanh"}));
  const Values b = TRY(biases(c));
  const Values operands{
      TRY(columns(c, c.in(1))),       TRY(columns(c, c.in(2))), b[0], b[1], c.in(4),
      TRY(swapped(c, layer, c.in(5)))};
  Values results =
      TRY(run(c, "gru", layer, TRY(swapped(c, layer, c.in(0))), operands, 5, {"f", "g"},
              {{"linear_before_reset", TRY(c.get_bool("linear_before_reset", false))}}));
  return results_of(c, layer, std::move(results));
}

Result<Values> rnn(RuleContext& c) {
  const Layer layer = TRY(layer_of(c, {"Tanh"}));
  const Values operands{TRY(columns(c, c.in(1))), TRY(columns(c, c.in(2))), TRY(summed_bias(c)),
                        c.in(4), TRY(swapped(c, layer, c.in(5)))};
  Values results =
      TRY(run(c, "rnn", layer, TRY(swapped(c, layer, c.in(0))), operands, 4, {"activation"}, {}));
  return results_of(c, layer, std::move(results));
}

constexpr Rule kRules[] = {
    {"GRU", {3, 6}, gru},
    {"LSTM", {3, 8}, lstm},
    {"RNN", {3, 6}, rnn},
};

}  // namespace

std::span<const Rule> recurrent_rules() {
  return kRules;
}

}  // namespace tenon::onnx
