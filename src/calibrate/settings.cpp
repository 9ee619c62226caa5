#include "calibrate/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "calibrate/byte_rounding.h"
#include "calibrate/calibrate.h"
#include "calibrate/choose_methods.h"
#include "calibrate/fitting.h"
#include "calibrate/repeated.h"
#include "cost/precision_cost.h"
#include "quant/byte_layers.h"
#include "quant/config.h"
#include "quant/plan.h"
#include "verify/verify.h"

namespace tenon {
namespace {

// As many as two hundred runs of them are affordable, by the estimate for the reference: of few
// samples what is chosen may be what suits those alone.
constexpr int64_t kFewestSamples = 32, kMostSamples = 256;
constexpr double kSecondsForSamples = 5;

int64_t trial_samples(const NamedGraph& function, const std::vector<Sample>& one) {
  if (one.empty()) return 0;
  const double seconds = estimated_seconds(*function.graph, one.front().inputs);
  return std::clamp(static_cast<int64_t>(kSecondsForSamples / std::max(seconds, 1e-9)),
                    kFewestSamples, kMostSamples);
}

// Layers that are not of integers by the config, by name.
Status apply_config(const quant::Config& config, quant::LayerPrecision otherwise,
                    const NamedGraph& function, const ImportReport& import, quant::RuleUse& use,
                    quant::QuantizeOptions& options) {
  const auto decisions =
      TRY(quant::decide_layers(config, otherwise, *function.graph, source_ops_of(import), &use));
  for (const quant::NamedValue& v : quant::observed_values(*function.graph))
    if (const auto it = decisions.find(v.value->producer());
        it != decisions.end() && it->second.precision != quant::LayerPrecision::int8)
      options.keep_float[v.name] =
          it->second.reason.empty()
              ? fmt::format("the precision is {}", quant::name_of(it->second.precision))
              : it->second.reason;
  options.bias_correction = config.bias_correction;
  return {};
}

// With a precision for the rest recurrent layers, which need no ranges, are of the rest.
void keep_recurrent(const Graph& graph, quant::LayerPrecision rest,
                    quant::QuantizeOptions& options) {
  if (rest == quant::LayerPrecision::fp32) return;
  for (const quant::NamedValue& v : quant::observed_values(graph))
    if (v.value->producer() != nullptr && quant::is_recurrent(*v.value->producer()))
      options.keep_float.try_emplace(
          v.name, fmt::format("the precision of recurrent layers is {}", quant::name_of(rest)));
}

// What was found of one function, said of another too.
void repeat(CalibrationFindings& findings, const std::string& from, const std::string& key,
            const quant::FunctionStatistics& statistics) {
  findings.statistics[key] = statistics;
  const auto it =
      std::ranges::find_if(findings.functions, [&](const auto& f) { return f.key == from; });
  if (it == findings.functions.end()) return;
  FunctionAccuracy again = *it;
  again.key = key;
  findings.functions.push_back(std::move(again));
}

struct Quantisation {
  CalibrationOptions how;
  quant::Method method = quant::Method::automatic;
  std::optional<quant::Config> config;
  quant::LayerPrecision otherwise = quant::LayerPrecision::int8;
  quant::LayerPrecision rest = quant::LayerPrecision::fp32;
  bool wants_report = false, forced = false;
  DisabledNames disabled;
  std::shared_ptr<CalibrationFindings> findings;
  RefineChoices refine;
  std::shared_ptr<RepeatedFunctions> known = std::make_shared<RepeatedFunctions>();

  Result<QuantizationInput> operator()(const NamedGraph& function, const ImportReport& import,
                                       quant::RuleUse& use,
                                       std::vector<std::string>& warnings) const {
    // A search, a report, a config and files of statistics go by names; variables are anyone's own.
    if (refine || wants_report || config || !how.statistics_file.empty() || !function.state.empty())
      return find(function, import, use, warnings);
    if (auto found = known->find(function)) {
      if (findings != nullptr) repeat(*findings, found->key, function.key, found->input.statistics);
      return std::move(found->input);
    }
    QuantizationInput input = TRY(find(function, import, use, warnings));
    known->add(function, input);
    return input;
  }

  Result<QuantizationInput> find(const NamedGraph& function, const ImportReport& import,
                                 quant::RuleUse& use, std::vector<std::string>& warnings) const {
    if (std::ranges::none_of(function.graph->nodes(),
                             [](const auto& node) { return quant::is_candidate(*node); })) {
      warnings.push_back(fmt::format(
          "function '{}' has no convolution, matrix product or recurrent layer to make of integers",
          function.key));
      TRY(use.end_of_function());
      return QuantizationInput{};
    }
    // Recurrent layers need no ranges: made-up numbers would say nothing of them.
    const bool needs_ranges = std::ranges::any_of(
        function.graph->nodes(), [](const auto& node) { return quant::is_product(*node); });
    Calibration calibration;
    if (needs_ranges || !how.data.empty()) calibration = TRY(calibrate(function, how));
    warnings.insert(warnings.end(), calibration.warnings.begin(), calibration.warnings.end());
    QuantizationInput input{std::move(calibration.statistics), {}, {}};
    input.options.method = method;
    if (config) TRY(apply_config(*config, otherwise, function, import, use, input.options));
    keep_recurrent(*function.graph, rest, input.options);
    if (disabled.contains("bias-correction")) input.options.bias_correction = false;
    if (!forced)
      input.options.keep_float.merge(TRY(cost::slower_in_integers(
          *function.graph, input.statistics, input.options, cost::level_of(cpu_features()))));
    // Without data of the user's there is nothing that a measurement would say of them.
    const int64_t count = how.data.empty() ? 0
                          : refine         ? how.samples
                                   : trial_samples(function, TRY(some_samples(function, how, 1)));
    auto samples = TRY(some_samples(function, how, count));
    if (findings != nullptr) findings->statistics[function.key] = input.statistics;
    if (samples.empty()) {
      if (wants_report || refine)
        return invalid_argument("a report and a search need data: give --calibration");
      return input;
    }
    const Trial plain = TRY(Trial::make(function, std::move(samples), how.load));
    const Quantised as_it_came{plain, input.statistics, input.options};
    std::vector<TechniqueGain> gains;
    std::unique_ptr<Mended> mended;
    if (refine)
      mended = TRY(search(function, as_it_came, gains));
    else
      mended = TRY(mend(as_it_came, disabled, gains));
    if (findings != nullptr) {
      findings->statistics[function.key] = mended->statistics;
      const Quantised chosen{mended->trial(plain), mended->statistics, mended->options};
      findings->functions.push_back({function.key, plain.samples(),
                                     TRY(chosen.trial.run(chosen.statistics, chosen.options)),
                                     gains});
      if (wants_report) {
        findings->layers.push_back(TRY(report_layers(chosen, as_it_came)));
        auto& all = findings->layers.back().gains;
        all.insert(all.begin(), gains.begin(), gains.end());
      }
    }
    input.statistics = std::move(mended->statistics);
    input.options = std::move(mended->options);
    if (mended->rescaled) input.graph = std::move(mended->rescaled->function.graph);
    return input;
  }

  // A function as techniques left it.
  struct Mended {
    std::unique_ptr<RescaledFunction> rescaled;  // null: as it was
    std::optional<Trial> own_trial;              // of that
    quant::FunctionStatistics statistics;
    quant::QuantizeOptions options;

    const Trial& trial(const Trial& before) const { return own_trial ? *own_trial : before; }
  };

  Result<std::unique_ptr<Mended>> rescale(const Quantised& q, const DisabledNames& without,
                                          std::vector<TechniqueGain>& gains) const {
    auto mended = std::make_unique<Mended>();
    mended->rescaled = TRY(rescale_function(q.trial, q.statistics, q.options, how, without, gains));
    mended->statistics = mended->rescaled ? mended->rescaled->statistics : q.statistics;
    mended->options = q.options;
    if (mended->rescaled)
      mended->own_trial =
          TRY(Trial::make(mended->rescaled->function, q.trial.all_samples(), how.load));
    return mended;
  }

  Result<std::unique_ptr<Mended>> mend(const Quantised& q, const DisabledNames& without,
                                       std::vector<TechniqueGain>& gains) const {
    auto mended = TRY(rescale(q, without, gains));
    const Trial& trial = mended->trial(q.trial);
    // Of recurrent layers; weights rounded to the nearest would hide what their states lose.
    TRY(choose_byte_rounding(trial, mended->statistics, how, without, mended->options, gains));
    TRY(choose_recurrent(trial, mended->statistics, without, forced, mended->options, gains));
    TRY(choose_dense(trial, mended->statistics, without, forced, mended->options, gains));
    const size_t kept = mended->options.keep_float.size();
    TRY(choose_ends(trial, mended->statistics, without, mended->options, gains));
    // What first and last layers lose may have hidden what dense ones do.
    if (mended->options.keep_float.size() > kept)
      TRY(choose_dense(trial, mended->statistics, without, forced, mended->options, gains));
    TRY(choose_values(trial, mended->statistics, mended->options, gains));
    return mended;
  }

  // A search looks for the layers that are hard as they are: what is mended between layers, or by
  // their ranges and weights, is so for those that remain. What the first ones read, and how
  // recurrent layers multiply, is no matter of other layers.
  Result<std::unique_ptr<Mended>> search(const NamedGraph& function, const Quantised& as_it_came,
                                         std::vector<TechniqueGain>& gains) const {
    DisabledNames without = disabled;
    without.insert({"cross-layer-equalisation", "smooth-quant"});
    auto base = TRY(rescale(as_it_came, without, gains));
    const Trial& trial = base->trial(as_it_came.trial);
    quant::QuantizeOptions rounded = base->options;
    TRY(choose_byte_rounding(trial, base->statistics, how, without, rounded, gains));
    // A search wants few layers in fp32, however long they take.
    constexpr bool kForced = true;
    TRY(choose_recurrent(trial, base->statistics, without, kForced, rounded, gains));
    base->options.two_bytes = rounded.two_bytes;
    DisabledNames decided = disabled;  // by the search
    decided.insert({"first-layer", "last-layer", "recurrent-layers", "input-equalisation"});
    std::unique_ptr<Mended> polished;
    const std::vector<TechniqueGain> before = gains;
    const auto polish = [&](const quant::QuantizeOptions& options) -> Result<Quantised> {
      gains = before;
      polished = TRY(mend({trial, base->statistics, options}, decided, gains));
      return Quantised{polished->trial(trial), polished->statistics, polished->options};
    };
    if (!TRY(refine(function, trial, base->statistics, base->options, polish))) return base;
    if (!polished->rescaled) {
      polished->rescaled = std::move(base->rescaled);
      polished->own_trial = std::move(base->own_trial);
    }
    return polished;
  }

  // Ranges, weights and biases of the layers that are of integers.
  Status choose_values(const Trial& trial, const quant::FunctionStatistics& statistics,
                       quant::QuantizeOptions& options, std::vector<TechniqueGain>& gains) const {
    if (method == quant::Method::automatic) TRY(choose_methods(trial, statistics, options));
    TRY(choose_byte_rounding(trial, statistics, how, disabled, options, gains));
    TRY(choose_rounding(trial, statistics, how, disabled, options, gains));
    if (!disabled.contains("layer-fitting"))
      TRY(fit_layers(trial, statistics, how, options, gains));
    return choose_bias_correction(trial, statistics, options, gains);
  }
};

nlohmann::ordered_json to_json(const LayerReport& r) {
  using Json = nlohmann::ordered_json;
  const auto accuracy = [](const Accuracy& a) {
    return Json{{"cosine", a.cosine},
                {"sqnr_db", a.sqnr_db},
                {"relative_l2", a.relative_l2},
                {"max_abs", a.max_abs},
                {"same_top1", a.same_top1}};
  };
  Json json{{"signature", r.key}, {"samples", r.samples}, {"outputs", accuracy(r.outputs)}};
  for (const TechniqueGain& g : r.gains)
    json["techniques"].push_back({{"name", g.name},
                                  {"used", g.used},
                                  {"relative_l2_without", g.without},
                                  {"relative_l2_with", g.with}});
  for (const LayerAccuracy& l : r.layers) {
    Json layer = accuracy(l.result);
    layer["name"] = l.node;
    layer["result"] = l.name;
    layer["op"] = l.op;
    layer["integer"] = l.integer;
    layer["reason"] = l.reason;
    layer["share"] = l.share < 0 ? Json() : Json(l.share);
    json["layers"].push_back(std::move(layer));
  }
  for (const quant::TensorChoice& t : r.choices.tensors)
    json["tensors"].push_back({{"name", t.name},
                               {"low", t.range.low},
                               {"high", t.range.high},
                               {"method", quant::method_name(t.range.method)},
                               {"bits", t.bits},
                               {"saturation", t.saturation},
                               {"sqnr_db", t.sqnr_db}});
  return json;
}

}  // namespace

Status check_calibration(const CalibrationSettings& s) {
  if (!quant::method_of(s.method)) return invalid_argument(quant::no_such_method(s.method));
  if (s.samples < 1)
    return invalid_argument(fmt::format("{} samples are too few to calibrate with", s.samples));
  if (!s.report.empty() && !s.report.ends_with(".html") && !s.report.ends_with(".json"))
    return invalid_argument(
        fmt::format("a report is a file of .html or .json, not '{}'", s.report));
  TRY(parse_preprocess(s.preprocess));
  return {};
}

Status apply_calibration(const CalibrationSettings& s, const runtime::LoadOptions& load,
                         std::function<void(int64_t, int64_t)> progress, CompileOptions& options,
                         std::shared_ptr<CalibrationFindings> findings, RefineChoices refine) {
  TRY(check_calibration(s));
  const quant::Precision precision = TRY(quant::parse_precision(options.precision));
  if (!s.config.empty()) options.config = TRY(quant::read_config(s.config));
  if (!s.force_precision)
    options.better_in_f32 = [](const Graph& graph, quant::LayerPrecision products) {
      return cost::slower_narrowed(graph, products, cost::level_of(cpu_features()));
    };
  if (!needs_calibration(options, precision)) {
    if (!s.data.empty() || !s.statistics.empty() || !s.report.empty())
      return invalid_argument(fmt::format(
          "calibration has no effect with precision {}; give --precision int8", options.precision));
    return {};
  }
  Quantisation q;
  q.how.data = s.data;
  q.how.preprocess = TRY(parse_preprocess(s.preprocess));
  q.how.samples = s.samples;
  q.how.statistics_file = s.statistics;
  q.how.load = load;
  q.how.progress = std::move(progress);
  q.method = *quant::method_of(s.method);
  q.config = options.config;
  q.otherwise = precision.products;
  q.rest = precision.rest;
  if (q.config && !q.config->method.empty() && s.method == "auto")
    q.method = *quant::method_of(q.config->method);
  q.wants_report = !s.report.empty();
  q.disabled = options.disabled;
  q.forced = s.force_precision;
  q.findings = std::move(findings);
  if (q.wants_report && q.findings == nullptr) return internal_error("a report has nowhere to go");
  q.refine = std::move(refine);
  options.calibrate = std::move(q);
  return {};
}

std::string report_json(const CalibrationFindings& findings) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const LayerReport& r : findings.layers) json.push_back(to_json(r));
  return json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Status write_report(const CalibrationSettings& s, const CalibrationFindings& findings) {
  if (s.report.empty()) return {};
  const std::string text = s.report.ends_with(".html")
                               ? layers_page(findings.layers, findings.statistics, "Quantisation")
                               : report_json(findings) + "\n";
  return write_file_atomically(s.report, as_bytes(text));
}

}  // namespace tenon
