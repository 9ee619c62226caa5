#include "explain_chip.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include "commands.h"
#include "compiler/compile.h"
#include "predict/predict.h"
#include "progress.h"
#include "runnable.h"

namespace tenon::tool {
namespace {

// What the busiest part of a chip is, in words.
std::string_view words_for(std::string_view bound_by) {
  static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"mte2", "loads from memory into the core"},
      {"mte1", "copies from L1 into L0A and L0B"},
      {"m", "the cube"},
      {"v", "the vector unit"},
      {"mte3", "stores from the core to memory"},
      {"fix", "sums on their way out of L0C"},
      {"io", "loads and stores"},
      {"move", "copies between SRAM and the core"},
      {"compute", "the core's tensor and vector units"},
      {"memory", "the bandwidth of the chip's memory"},
      {"launch", "the start of the kernel"}};
  for (const auto& [name, words] : kWords)
    if (name == bound_by) return words;
  return bound_by;
}

nlohmann::json json_of(const LayerPrediction& l, const Prediction& p) {
  nlohmann::json json{{"name", l.name},
                      {"latency_ms", l.seconds * 1e3},
                      {"algorithm", l.algorithm},
                      {"tiling", l.tiling},
                      {"bound_by", l.bound_by},
                      {"bound_by_words", words_for(l.bound_by)},
                      {"operations", l.operations},
                      {"bytes", l.bytes},
                      {"advice", l.advice},
                      {"memory", nlohmann::json::object()},
                      {"busy_ms", nlohmann::json::object()},
                      {"rejected", nlohmann::json::array()}};
  for (size_t m = 1; m < l.memory.size() && m < p.memories.size(); ++m)
    json["memory"][p.memories[m].first] = {{"bytes", l.memory[m]}, {"of", p.memories[m].second}};
  for (size_t q = 0; q < p.queues.size(); ++q) json["busy_ms"][p.queues[q]] = l.busy[q] * 1e3;
  for (const Alternative& a : l.rejected) {
    nlohmann::json other{{"algorithm", a.algorithm}, {"tiling", a.tiling}, {"reason", a.reason}};
    other["latency_ms"] = a.reason.empty() ? nlohmann::json(a.seconds * 1e3) : nullptr;
    json["rejected"].push_back(std::move(other));
  }
  return json;
}

void print_layer(const LayerPrediction& l, const Prediction& p) {
  fmt::print("\n{}\n  {}, {:.4f} ms ({:.1f} % of the model), bound by {}\n", l.name, l.algorithm,
             l.seconds * 1e3, 100 * l.seconds / p.seconds, words_for(l.bound_by));
  if (!l.tiling.empty()) fmt::print("  {}\n", l.tiling);
  std::string memory;
  for (size_t m = 1; m < l.memory.size() && m < p.memories.size(); ++m)
    if (l.memory[m] > 0)
      memory += fmt::format("{}{} {} of {} KiB", memory.empty() ? "" : ", ", p.memories[m].first,
                            (l.memory[m] + 1023) / 1024, p.memories[m].second / 1024);
  fmt::print("  {:.2f} MFLOP, {:.3f} MB of memory traffic{}{}\n", l.operations / 1e6,
             static_cast<double>(l.bytes) / 1e6, memory.empty() ? "" : "; on a core ", memory);
  for (const Alternative& a : l.rejected) {
    if (!a.reason.empty())
      fmt::print("  {} not possible: {}\n", a.algorithm, a.reason);
    else
      fmt::print("  {} would take {:.4f} ms, {:.0f} % more: {}\n", a.algorithm, a.seconds * 1e3,
                 100 * (a.seconds / l.node_seconds - 1), a.tiling);
  }
  for (const std::string& advice : l.advice) fmt::print("  {}\n", advice);
}

Result<Prediction> predicted(const ChipExplainArguments& a) {
  LowerOptions options{TRY(device_real(a.precision, true))};
  options.advise = true;
  const MachineCatalog catalog = TRY(MachineCatalog::load(a.folder));
  const Machine* machine = TRY(catalog.find(a.target));
  Progress progress;
  progress.stage("import");
  const auto functions = TRY(load_graphs(a.model, TRY(import_options(a))));
  progress.stage(fmt::format("lower to {}", machine->name));
  return predict(*functions[0].graph, *machine, a.batch, options);
}

}  // namespace

Status explain_for_chip(const ChipExplainArguments& a) {
  const Prediction p = TRY(predicted(a));
  std::vector<const LayerPrediction*> kernels, host;
  for (const LayerPrediction& l : p.layers)
    if (fnmatch(a.layers.c_str(), l.name.c_str(), 0) == 0)
      (l.algorithm == "host" ? host : kernels).push_back(&l);
  if (kernels.empty() && host.empty() && !p.layers.empty())
    return invalid_argument(fmt::format("no layer of the model is like '{}'", a.layers));
  if (a.json) {
    nlohmann::json json{{"target", p.target},
                        {"batch", p.batch},
                        {"precision", p.precision},
                        {"latency_ms", p.seconds * 1e3},
                        {"peak_bytes", p.peak_bytes},
                        {"simulated", true},
                        {"layers", nlohmann::json::array()},
                        {"host", nlohmann::json::array()}};
    for (const LayerPrediction* l : kernels) json["layers"].push_back(json_of(*l, p));
    for (const LayerPrediction* l : host)
      json["host"].push_back({{"name", l->name},
                              {"op", l->op},
                              {"reason", l->reason},
                              {"latency_ms", l->seconds * 1e3}});
    fmt::print("{}\n", to_text(json));
    return {};
  }
  fmt::print("{} on {}, batch {}, {}: {:.4f} ms, bound by {}; {:.2f} MB of the chip's memory\n",
             a.model, p.target, p.batch, p.precision, p.seconds * 1e3, words_for(p.bound_by),
             static_cast<double>(p.peak_bytes) / 1e6);
  for (const LayerPrediction* l : kernels) print_layer(*l, p);
  if (!host.empty()) fmt::print("\nleft to the host:\n");
  for (const LayerPrediction* l : host)
    fmt::print("  {} ({}), {:.4f} ms: {}\n", l->name, l->op, l->seconds * 1e3, l->reason);
  fmt::print("\nSimulated: nothing here ran on a chip.\n");
  return {};
}

}  // namespace tenon::tool
