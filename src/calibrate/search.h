// The fewest layers in fp32 with which a quantised model keeps a bound on its accuracy.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibrate/search_metric.h"
#include "calibrate/settings.h"

namespace tenon {

enum class Metric : uint8_t { top1, cosine, mse, script };
// "top1": the part of rows whose largest element is another one than in fp32, or is expected to be
// (search_metric.h); "cosine": 1 less the cosine of
// the outputs; "mse": the squared relative L2; what names a file is a script (metric_script.h).
// Error: invalid_argument listing them.
Result<Metric> parse_metric(const std::string& text);

// What layers in fp32 are to be few of, or cheap in.
enum class Objective : uint8_t { layers, latency, size };
Result<Objective> parse_objective(const std::string& text);

struct SearchOptions {
  Metric metric = Metric::top1;
  std::string script;  // its path
  Objective objective = Objective::layers;
  double max_drop = 0.005;
  // Every trial is kept there, so that a search that was interrupted goes on. May be empty.
  std::string state_file;
  // Told the best assignment whenever there is a better one. May be empty.
  std::function<Status(const std::vector<std::string>& kept, double drop)> improved;
};

struct SearchResult {
  bool feasible = false;
  double drop = 0;                // of what was found
  double drop_all_integers = 0;   // without any layer in fp32
  std::vector<std::string> kept;  // in fp32, the most harmful first
  int64_t layers = 0;             // that could be integers
  int64_t trials = 0;             // that were run now
  std::optional<Top1Drop> top1;   // of what was found, where that is the metric
  double price = 0;               // of what is kept, by the objective: layers, microseconds, bytes
  bool polished = false;          // what polish gave for the rest loses no more
};

// Adds the layers to keep to the options. By the error that each layer causes alone, over its
// price: as many of the worst as are needed, less those that turn out not to be, the dearest first,
// less those that do not lose five times the bound alone and are not needed with what `polish`
// makes of the layers that are of integers. That is to be used where it keeps the bound or loses no
// more.
Result<SearchResult> search_assignment(const Trial& trial,
                                       const quant::FunctionStatistics& statistics,
                                       const SearchOptions& search, const Polish& polish,
                                       quant::QuantizeOptions& options);

// A [[layer]] for each of the names, as --config takes it.
std::string config_of(const std::vector<std::string>& kept);

}  // namespace tenon
