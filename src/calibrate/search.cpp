#include "calibrate/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/bytes.h"
#include "calibrate/metric_script.h"
#include "cost/precision_cost.h"
#include "quant/byte_layers.h"
#include "quant/plan.h"

namespace tenon {
namespace {

using Json = nlohmann::ordered_json;

// A layer that alone loses so many times what the bound allows is hard.
constexpr double kHard = 5;

// Runs assignments, each once: also those of an earlier search.
class Assignments {
 public:
  Assignments(const Trial& trial, const quant::FunctionStatistics& statistics,
              const quant::QuantizeOptions& options, const SearchOptions& search)
      : trial_(trial), statistics_(statistics), options_(options), search_(search) {}

  Status open(const std::string& identity) {
    if (search_.metric == Metric::script) {
      script_ = TRY(MetricScript::open(search_.script));
      score_ = TRY(script_->score(trial_, trial_.expected()));
    }
    state_ = {{"format", "tenon search 1"}, {"of", identity}, {"trials", Json::object()}};
    if (search_.state_file.empty()) return {};
    const auto text = read_text_file(search_.state_file);
    if (!text.ok() && text.error().code == Code::not_found) return {};
    if (!text.ok()) return text.error();
    Json json = Json::parse(*text, nullptr, false);
    const auto of = json.is_object() ? json.find("of") : json.end();
    const auto trials = json.is_object() ? json.find("trials") : json.end();
    if (!json.is_object() || of == json.end() || trials == json.end() || !trials->is_object())
      return invalid_argument(fmt::format("'{}' is no state of a search", search_.state_file));
    if (!of->is_string() || of->get<std::string>() != identity)
      return invalid_argument(fmt::format(
          "the search in '{}' is of another model, other data or another metric; remove "
          "the file or name another",
          search_.state_file));
    state_ = std::move(json);
    return {};
  }

  // Of the layers as they are.
  Result<double> drop(const std::vector<std::string>& kept) {
    return known("", kept, [&]() -> Result<double> {
      quant::QuantizeOptions options = options_;
      for (const std::string& name : kept) options.keep_float[name] = kReason;
      return TRY(measure({trial_, statistics_, options})).drop;
    });
  }
  // With all that mends those of integers.
  Result<double> mended_drop(const std::vector<std::string>& kept, const Polish& polish) {
    return known("mended\n", kept,
                 [&]() -> Result<double> { return TRY(measure(TRY(polish(keeping(kept))))).drop; });
  }
  quant::QuantizeOptions keeping(const std::vector<std::string>& kept) const {
    quant::QuantizeOptions options = options_;
    for (const std::string& name : kept) {
      options.keep_float[name] = kReason;
      options.exact.insert(name);
    }
    return options;
  }
  int64_t run() const { return run_; }
  struct Measured {
    double drop = 0;
    std::optional<Top1Drop> top1;  // where that is the metric
  };
  // Runs what is no mere assignment, and is not kept.
  Result<Measured> measure(const Quantised& q) const {
    if (script_) {
      const Outputs outputs = TRY(q.trial.outputs(q.statistics, q.options));
      return Measured{score_ - TRY(script_->score(q.trial, outputs)), {}};
    }
    if (search_.metric == Metric::top1) {
      const Top1Drop top1 =
          TRY(top1_drop(TRY(q.trial.outputs_before_softmax(q.statistics, q.options)),
                        q.trial.expected_before_softmax()));
      return Measured{top1.drop(), top1};
    }
    const Accuracy a = TRY(q.trial.run(q.statistics, q.options));
    return Measured{search_.metric == Metric::cosine ? 1 - a.cosine : a.relative_l2 * a.relative_l2,
                    {}};
  }

  static constexpr std::string_view kReason = "the search found that it costs too much accuracy";

 private:
  template <typename Run>
  Result<double> known(std::string_view how, const std::vector<std::string>& kept, Run&& run) {
    std::vector<std::string> sorted = kept;
    std::ranges::sort(sorted);
    const std::string key = fmt::format("{}{}", how, fmt::join(sorted, "\n"));
    Json& trials = state_["trials"];
    if (const auto it = trials.find(key); it != trials.end() && it->is_number())
      return it->get<double>();
    const double drop = TRY(run());
    ++run_;
    trials[key] = drop;
    if (!search_.state_file.empty()) {
      const std::string text = state_.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
      TRY(write_file_atomically(search_.state_file, as_bytes(text)));
    }
    return drop;
  }

  const Trial& trial_;
  const quant::FunctionStatistics& statistics_;
  const quant::QuantizeOptions& options_;
  const SearchOptions& search_;
  Json state_;
  int64_t run_ = 0;
  std::optional<MetricScript> script_;
  double score_ = 0;  // in fp32
};

// What each layer costs in fp32 instead of in integers.
Result<std::map<std::string, double>> prices_of(const Trial& trial,
                                                const quant::FunctionStatistics& statistics,
                                                const quant::QuantizeOptions& options,
                                                Objective objective) {
  std::map<std::string, double> prices;
  const Graph& graph = *trial.function().graph;
  for (const quant::NamedValue& v : quant::observed_values(graph)) {
    prices[v.name] = 1;
    const Node* node = v.value->producer();
    if (objective != Objective::size || node == nullptr || !quant::is_candidate(*node)) continue;
    double& bytes = prices[v.name] = 0;
    for (const int i : quant::weights_of(*node))
      if (const Tensor* w = node->input(i)->constant())
        bytes += 3 * static_cast<double>(w->elements());
  }
  if (objective != Objective::latency) return prices;
  const auto cost =
      TRY(cost::compare_integers(graph, statistics, options, cost::level_of(cpu_features())));
  for (const cost::LayerCost& layer : cost.layers)
    prices[layer.name] = std::max(0.0, layer.fp32_ns - layer.other_ns) / 1e3;
  return prices;
}

std::vector<std::string> first(const std::vector<std::string>& names, size_t n) {
  return {names.begin(), names.begin() + static_cast<std::ptrdiff_t>(n)};
}

}  // namespace

Result<Metric> parse_metric(const std::string& text) {
  if (text == "top1") return Metric::top1;
  if (text == "cosine") return Metric::cosine;
  if (text == "mse") return Metric::mse;
  if (const auto script = MetricScript::open(text); script.ok()) return Metric::script;
  return invalid_argument(fmt::format(
      "there is no metric '{}'; there are: top1, cosine, mse, and scripts that exist", text));
}

Result<Objective> parse_objective(const std::string& text) {
  if (text == "layers") return Objective::layers;
  if (text == "latency") return Objective::latency;
  if (text == "size") return Objective::size;
  return invalid_argument(
      fmt::format("there is no objective '{}'; there are: layers, latency, size", text));
}

Result<SearchResult> search_assignment(const Trial& trial,
                                       const quant::FunctionStatistics& statistics,
                                       const SearchOptions& search, const Polish& polish,
                                       quant::QuantizeOptions& options) {
  const auto choices = TRY(quant::quantize(*trial.function().graph->clone(), statistics, options));
  std::vector<std::string> names;
  for (const quant::LayerChoice& layer : choices.layers)
    if (layer.integer) names.push_back(layer.name);
  Assignments assignments(trial, statistics, options, search);
  TRY(assignments.open(fmt::format("{} {} {}{} {}", statistics.graph, statistics.data,
                                   static_cast<int>(search.metric), search.script,
                                   trial.samples())));
  const auto prices = TRY(prices_of(trial, statistics, options, search.objective));
  SearchResult result;
  result.layers = std::ssize(names);
  std::vector<std::string> best;
  std::set<std::string> hard;
  const auto improve = [&](const std::vector<std::string>& kept, double drop) -> Status {
    best = kept;
    result.drop = drop;
    return search.improved ? search.improved(kept, drop) : Status();
  };
  const auto finish = [&]() -> Result<SearchResult> {
    // Hard layers stay. What the others lose together may be mended: fewer of them are enough then.
    const auto others = std::ranges::stable_partition(
        best, [&](const std::string& name) { return hard.contains(name); });
    size_t few = best.size() - others.size(), enough = best.size();
    if (result.drop > search.max_drop) few = enough;  // nothing keeps it
    while (few < enough) {
      const size_t middle = few + (enough - few) / 2;
      const double drop = TRY(assignments.mended_drop(first(best, middle), polish));
      if (drop > search.max_drop) {
        few = middle + 1;
        continue;
      }
      enough = middle;
      TRY(improve(first(best, middle), drop));
    }
    result.kept = best;
    options = assignments.keeping(best);
    for (const std::string& name : best) result.price += prices.at(name);
    // Within the bound what techniques made better is better, whatever few samples say of it.
    const Quantised polished = TRY(polish(options));
    Assignments::Measured found = TRY(assignments.measure(polished));
    result.polished = found.drop <= std::max(search.max_drop, result.drop);
    if (result.polished)
      result.drop = found.drop;
    else if (found.top1)
      found = TRY(assignments.measure({trial, statistics, options}));
    result.top1 = found.top1;
    result.feasible = result.drop <= search.max_drop;
    result.trials = assignments.run();
    return result;
  };
  result.drop_all_integers = TRY(assignments.drop({}));
  TRY(improve({}, result.drop_all_integers));
  if (result.drop_all_integers <= search.max_drop) return finish();
  // What each costs where it alone is of integers.
  std::vector<std::pair<double, std::string>> costs;
  for (const std::string& name : names) {
    std::vector<std::string> others;
    std::ranges::copy_if(names, std::back_inserter(others),
                         [&](const std::string& other) { return other != name; });
    costs.emplace_back(TRY(assignments.drop(others)), name);
    if (costs.back().first > kHard * search.max_drop) hard.insert(name);
  }
  // A layer that is all but free in fp32 is not worth more than so much.
  double sum = 0;
  for (const std::string& name : names) sum += prices.at(name);
  const double least = std::max(1e-3 * sum, 1e-12);
  const auto worth = [&](const auto& c) { return c.first / std::max(prices.at(c.second), least); };
  std::ranges::stable_sort(costs,
                           [&](const auto& a, const auto& b) { return worth(a) > worth(b); });
  std::vector<std::string> order;
  order.reserve(costs.size());
  for (const auto& [cost, name] : costs) order.push_back(name);
  // The fewest of the worst that are enough: all of them are, if any.
  size_t low = 0, high = order.size();
  const double at_end = TRY(assignments.drop(order));
  TRY(improve(order, at_end));
  if (at_end > search.max_drop) return finish();
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    const double drop = TRY(assignments.drop(first(order, middle)));
    if (drop <= search.max_drop) {
      high = middle;
      TRY(improve(first(order, middle), drop));
    } else {
      low = middle;
    }
  }
  // Those of them that are not needed after all.
  std::vector<std::string> candidates(best.rbegin(), best.rend());
  std::ranges::stable_sort(candidates, [&](const std::string& a, const std::string& b) {
    return prices.at(a) > prices.at(b);
  });
  for (const std::string& candidate : candidates) {
    std::vector<std::string> fewer = best;
    std::erase(fewer, candidate);
    if (const double drop = TRY(assignments.drop(fewer)); drop <= search.max_drop)
      TRY(improve(fewer, drop));
  }
  return finish();
}

std::string config_of(const std::vector<std::string>& kept) {
  std::string text = "precision = \"int8\"\n";
  for (const std::string& name : kept) {
    std::string quoted;
    for (const char c : name) {
      // Names are no patterns.
      if (std::string_view("*?[\\").find(c) != std::string_view::npos) quoted += "\\\\";
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
    text += fmt::format("\n[[layer]]\nname = \"{}\"\nprecision = \"fp32\"\n", quoted);
  }
  return text;
}

}  // namespace tenon
