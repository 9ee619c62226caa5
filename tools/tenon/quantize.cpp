// `tenon quantize`: int8 with the fewest layers in fp32 that keep a bound on the accuracy.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "calibrate/search.h"
#include "commands.h"
#include "format/model_file.h"
#include "model_arguments.h"
#include "progress.h"

namespace tenon::tool {
namespace {

struct QuantizeArguments : ModelArguments {
  std::string output, config_output, state, max_drop = "0.5%", metric = "top1",
                                            objective = "layers";
  std::vector<std::string> disabled;
  CalibrationSettings calibration;
};

// "0.5%" or "0.005".
Result<double> parse_drop(std::string_view text) {
  const bool percent = text.ends_with('%');
  const std::string_view number = percent ? text.substr(0, text.size() - 1) : text;
  double v = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), v);
  if (error != std::errc() || end != number.data() + number.size() || !(v >= 0 && v <= 100))
    return invalid_argument(fmt::format("'{}' is no drop; expected e.g. 0.5% or 0.005", text));
  return percent ? v / 100 : v;
}

struct Found {
  std::string key;
  SearchResult result;
};

Status quantize(const QuantizeArguments& a) {
  CompileOptions options;
  options.import = TRY(import_options(a));
  options.precision = "int8";
  options.disabled.insert(a.disabled.begin(), a.disabled.end());
  runtime::LoadOptions load;
  load.custom_ops.libraries = a.custom_ops;
  SearchOptions search;
  search.metric = TRY(parse_metric(a.metric));
  if (search.metric == Metric::script) search.script = a.metric;
  search.objective = TRY(parse_objective(a.objective));
  search.max_drop = TRY(parse_drop(a.max_drop));
  const std::string output = TRY(output_file(a.output, a.model));
  const std::string config_file = a.config_output.empty() ? output + ".toml" : a.config_output;
  auto progress = std::make_unique<Progress>();
  std::vector<Found> found;
  std::vector<std::string> kept;  // of all functions
  const auto refine = [&](const NamedGraph& function, const Trial& trial,
                          const quant::FunctionStatistics& statistics,
                          quant::QuantizeOptions& chosen, const Polish& polish) -> Result<bool> {
    progress->stage("search " + function.key);
    SearchOptions own = search;
    own.state_file = a.state.empty() || found.empty() ? a.state : a.state + "." + function.key;
    // The best so far can be used at any time.
    own.improved = [&](const std::vector<std::string>& names, double) -> Status {
      std::vector<std::string> all = kept;
      all.insert(all.end(), names.begin(), names.end());
      const std::string text = config_of(all);
      return write_file_atomically(config_file, as_bytes(text));
    };
    found.push_back({function.key, TRY(search_assignment(trial, statistics, own, polish, chosen))});
    for (const std::string& name : found.back().result.kept)
      if (std::ranges::find(kept, name) == kept.end()) kept.push_back(name);
    return found.back().result.polished;
  };
  const auto findings = std::make_shared<CalibrationFindings>();
  TRY(apply_calibration(
      a.calibration, load,
      [&](int64_t done, int64_t total) { progress->part("calibrate", done, total); }, options,
      findings, refine));
  const Compiled compiled = TRY(compile_model(a.model, options));
  TRY(write_model(output, compiled.model));
  TRY(write_report(a.calibration, *findings));
  progress.reset();
  nlohmann::json json{{"output", output}, {"functions", nlohmann::json::array()}};
  bool feasible = true;
  double closest = 0;
  for (const Found& f : found) {
    feasible &= f.result.feasible;
    closest = std::max(closest, f.result.drop);
    json["functions"].push_back({{"signature", f.key},
                                 {"feasible", f.result.feasible},
                                 {"drop", f.result.drop},
                                 {"drop_all_integers", f.result.drop_all_integers},
                                 {"layers", f.result.layers},
                                 {"trials", f.result.trials},
                                 {"objective", a.objective},
                                 {"price", f.result.price},
                                 {"fp32", f.result.kept}});
    if (const auto& top1 = f.result.top1; top1) {
      json["functions"].back()["rows"] = top1->rows;
      json["functions"].back()["changed"] = top1->changed;
      json["functions"].back()["expected"] = top1->expected;
    }
    if (a.json) continue;
    fmt::print(
        "{}: {} of {} layers are of integers, {} drop {:.4g} (all of them: {:.4g}), {} trials\n",
        f.key, f.result.layers - std::ssize(f.result.kept), f.result.layers, a.metric,
        f.result.drop, f.result.drop_all_integers, f.result.trials);
    if (const auto& top1 = f.result.top1; top1)
      fmt::print("  {} of {} rows have another class, of other data {:.2g} % are expected to\n",
                 top1->changed, top1->rows, 100 * top1->expected);
    for (const std::string& name : f.result.kept) fmt::print("  fp32: {}\n", name);
  }
  if (a.json) fmt::print("{}\n", to_text(json));
  if (feasible) return {};
  return invalid_model(
      fmt::format("infeasible: no assignment keeps {} within {}; the closest is {:.4g}, in '{}'",
                  a.metric, a.max_drop, closest, output));
}

template <typename T>
std::string message_of(const Result<T>& result) {
  return result.ok() ? std::string() : result.error().message;
}

std::string refusal_to_disable(const std::string& name) {
  const Status s = check_options({.disabled = {name}});
  return s.ok() ? std::string() : s.error().message;
}

}  // namespace

void add_quantize(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "quantize", "Compile to int8 with the fewest layers in fp32 that keep the accuracy");
  auto a = std::make_shared<QuantizeArguments>();
  add_model_arguments(*command, *a);
  add_calibration(*command, a->calibration);
  command
      ->add_option("--max-drop", a->max_drop,
                   "of the metric, such as 0.5% or 0.005 (default: 0.5%)")
      ->check([](const std::string& text) { return message_of(parse_drop(text)); });
  command
      ->add_option("--metric", a->metric,
                   "against fp32: top1 (rows with another largest element, seen or to be "
                   "expected), cosine (1 - cosine), mse "
                   "(squared relative L2), or a script that prints a score (docs/quantization.md)")
      ->check([](const std::string& text) { return message_of(parse_metric(text)); });
  command
      ->add_option("--objective", a->objective,
                   "what fp32 layers are to be few of, or cheap in: layers, latency (as predicted "
                   "for this CPU) or size")
      ->check([](const std::string& text) { return message_of(parse_objective(text)); });
  command
      ->add_option(
          "--disable", a->disabled,
          "switch a technique, rule or pass off; repeatable; `tenon docs rules` lists them")
      ->allow_extra_args(false)
      ->check(refusal_to_disable);
  add_output(*command, a->output);
  command->add_option(
      "--write-config", a->config_output,
      "TOML file with the best assignment so far, for tenon compile --config (default: "
      "OUTPUT.toml)");
  command->add_option("--state", a->state,
                      "file with what was tried: a search that was interrupted goes on there");
  command->footer(
      "Example:\n  tenon quantize examples/digits/saved_model --calibration "
      "examples/digits/digits.npy "
      "\\\n    --max-drop 0.5% --metric top1 -o digits_int8.tenon");
  command->callback([a, &action] { action = [a] { return quantize(*a); }; });
}

}  // namespace tenon::tool
