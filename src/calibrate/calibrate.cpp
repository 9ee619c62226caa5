#include "calibrate/calibrate.h"

#include <fmt/format.h>

#include <chrono>
#include <unordered_map>

#include "ir/hash.h"
#include "quant/quantize.h"
#include "verify/load_graph.h"

namespace tenon {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kSaveEvery = std::chrono::seconds(5);

// The graph in the runtime, with every tensor that is observed as an output.
class Probe {
 public:
  static Result<Probe> make(const NamedGraph& function, const runtime::LoadOptions& options) {
    Probe probe;
    const auto copy = function.graph->clone();
    std::vector<Value*> outputs;
    for (const quant::NamedValue& v : quant::observed_values(*copy)) {
      if (v.value->producer() == nullptr) {
        probe.inputs_.emplace_back(static_cast<size_t>(v.value->index()), v.name);
        continue;
      }
      probe.names_.push_back(v.name);
      outputs.push_back(v.value);
    }
    copy->set_outputs(outputs);
    probe.function_.emplace(TRY(load_graph(*copy, options)));
    for (const StateVariable& s : function.state) probe.variables_.push_back(s.initial);
    return probe;
  }

  Status run(std::span<const Tensor> sample, quant::FunctionStatistics& statistics) const {
    std::vector<Tensor> inputs(sample.begin(), sample.end());
    inputs.insert(inputs.end(), variables_.begin(), variables_.end());
    const auto results = TRY(function_->run(inputs, {}));
    for (const auto& [index, name] : inputs_)
      if (index < inputs.size()) statistics.tensors[name].add(inputs[index]);
    for (size_t i = 0; i < names_.size() && i < results.size(); ++i)
      statistics.tensors[names_[i]].add(results[i]);
    ++statistics.samples;
    return {};
  }

 private:
  std::vector<std::pair<size_t, std::string>> inputs_;
  std::vector<std::string> names_;
  std::vector<Tensor> variables_;
  std::optional<runtime::Function> function_;
};

// Which of `size` samples are among the `count` taken evenly.
bool is_taken(int64_t i, int64_t size, int64_t count) {
  return size <= count || i * count / size != (i + 1) * count / size;
}

class Calibrator {
 public:
  Calibrator(const NamedGraph& function, const CalibrationOptions& options)
      : function_(function), options_(options), ports_(ports_of(function)) {}

  Result<Calibration> run() {
    const std::string graph = fmt::format("{:016x}", graph_hash(*function_.graph));
    if (!options_.statistics_file.empty())
      all_ = TRY(quant::read_statistics(options_.statistics_file));
    auto known = all_.find(function_.key);
    if (known != all_.end() && known->second.graph != graph)
      return refuse("another model, or by another version");
    if (options_.data.empty() && known != all_.end() && known->second.complete)
      return Calibration{known->second, {}};
    std::unique_ptr<Dataset> data =
        options_.data.empty() ? random_dataset(ports_, options_.seed)
                              : TRY(open_dataset(options_.data, ports_, options_.preprocess));
    const int64_t total = options_.data.empty()
                              ? std::min<int64_t>(options_.samples, kRandomSamples)
                              : options_.samples;
    std::string description = fmt::format("{}, at most {} samples", data->description(), total);
    if (!options_.data.empty()) description += ", " + TRY(data_fingerprint(options_.data));
    if (known != all_.end() && known->second.data != description)
      return refuse(fmt::format("other data ({})", known->second.data));
    if (known != all_.end() && known->second.complete) return Calibration{known->second, {}};
    quant::FunctionStatistics& statistics = all_[function_.key];
    statistics.graph = graph;
    statistics.data = description;
    if (Status s = take(*data, total, statistics); !s.ok())
      return options_.data.empty()
                 ? std::move(s).error().note(
                       "while calibrating on made-up numbers; give data with --calibration")
                 : std::move(s).error();
    Calibration result{statistics, {}};
    if (options_.data.empty())
      result.warnings.push_back(fmt::format(
          "function '{}': NO CALIBRATION DATA: the ranges of all tensors are GUESSES from {}; "
          "accuracy may be lost; give data with --calibration",
          function_.key, data->description()));
    return result;
  }

 private:
  static constexpr int64_t kRandomSamples = 16;

  Error refuse(const std::string& what) const {
    return invalid_argument(
        fmt::format("the statistics in '{}' were taken of {}; remove the file or name another",
                    options_.statistics_file, what));
  }

  Status take(Dataset& data, int64_t count, quant::FunctionStatistics& statistics) {
    const Probe probe = TRY(Probe::make(function_, options_.load));
    const int64_t size = data.size(), done_before = statistics.samples;
    const int64_t total = size < 0 ? count : std::min(size, count);
    int64_t taken = 0;
    auto saved = Clock::now();
    for (int64_t i = 0; taken < count; ++i) {
      auto sample = data.next();
      if (!sample.ok()) return std::move(sample).error().note("while reading calibration data");
      if (!*sample) break;
      if (size >= 0 && !is_taken(i, size, count)) continue;
      if (++taken <= done_before) continue;  // an earlier run has seen it
      TRY(check_finite(**sample, ports_));
      if (Status s = probe.run((*sample)->inputs, statistics); !s.ok())
        return std::move(s).error().note("while running calibration data, " + (*sample)->place);
      if (options_.progress)
        options_.progress(taken, size < 0 && options_.data.empty() ? count : total);
      if (!options_.statistics_file.empty() && Clock::now() - saved > kSaveEvery) {
        TRY(quant::write_statistics(options_.statistics_file, all_));
        saved = Clock::now();
      }
    }
    if (statistics.samples == 0)
      return invalid_argument(fmt::format("there are no samples in '{}'", options_.data));
    statistics.complete = true;
    return options_.statistics_file.empty()
               ? Status()
               : quant::write_statistics(options_.statistics_file, all_);
  }

  const NamedGraph& function_;
  const CalibrationOptions& options_;
  std::vector<runtime::PortInfo> ports_;
  quant::Statistics all_;
};

}  // namespace

std::vector<runtime::PortInfo> ports_of(const NamedGraph& function) {
  std::vector<runtime::PortInfo> ports;
  for (size_t i = 0; i < function.input_names.size() && i < function.graph->inputs().size(); ++i)
    ports.push_back({function.input_names[i], function.graph->inputs()[i]->type()});
  return ports;
}

Result<Calibration> calibrate(const NamedGraph& function, const CalibrationOptions& options) {
  return Calibrator(function, options).run();
}

Result<std::vector<Sample>> some_samples(const NamedGraph& function,
                                         const CalibrationOptions& options, int64_t count) {
  constexpr size_t kMostBytes = size_t{64} << 20;
  const auto ports = ports_of(function);
  const auto data = options.data.empty()
                        ? random_dataset(ports, options.seed)
                        : TRY(open_dataset(options.data, ports, options.preprocess));
  const int64_t size = data->size();
  std::vector<Sample> samples;
  size_t bytes = 0;
  for (int64_t i = 0; static_cast<int64_t>(samples.size()) < count && bytes < kMostBytes; ++i) {
    auto sample = TRY(data->next());
    if (!sample) break;
    if (size >= 0 && !is_taken(i, size, count)) continue;
    TRY(check_finite(*sample, ports));
    for (const Tensor& t : sample->inputs) bytes += t.byte_size();
    samples.push_back(*std::move(sample));
  }
  return samples;
}

}  // namespace tenon
