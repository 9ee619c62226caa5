#include "explain_chip.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <filesystem>
#include <span>

#include "commands.h"
#include "compiler/compile.h"
#include "memory_report.h"
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
                      {"more_kernels", l.more_kernels},
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
  if (l.more_kernels > 0)
    fmt::print(
        "  {} more of the vendor's kernels around it: copies of layouts, {:.4f} ms, or an "
        "activation\n",
        l.more_kernels, l.layout * 1e3);
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
      fmt::print("  {} would take {:.4f} ms instead of {:.4f}, {:.0f} % more: {}\n", a.algorithm,
                 a.seconds * 1e3, l.node_seconds * 1e3, 100 * (a.seconds / l.node_seconds - 1),
                 a.tiling);
  }
  for (const std::string& advice : l.advice) fmt::print("  {}\n", advice);
}

struct Explained {
  Prediction prediction;
  MemoryMap memory;
};

Result<Explained> explained(const ChipExplainArguments& a) {
  LowerOptions options{TRY(device_real(a.precision, true))};
  options.advise = true;
  const MachineCatalog catalog = TRY(MachineCatalog::load(a.folder));
  const Machine* machine = TRY(catalog.find(a.target));
  Progress progress;
  progress.stage("import");
  const auto functions = TRY(load_graphs(a.model, TRY(import_options(a))));
  progress.stage(fmt::format("lower to {}", machine->name));
  options.batch = a.batch;
  const auto bound = TRY(prepare_for_batch(*functions[0].graph, a.batch));
  const DeviceProgram program = TRY(lower_graph(*bound, *machine, options));
  const bool asks_for_memory = a.memory || !a.html.empty();
  return Explained{TRY(predict(program, *machine, options)),
                   asks_for_memory ? memory_map(program) : MemoryMap{}};
}

void print_all(const ChipExplainArguments& a, const Explained& e,
               const std::vector<size_t>& kernels, const std::vector<size_t>& host) {
  const Prediction& p = e.prediction;
  fmt::print("{} on {}, batch {}, {}: {:.4f} ms, bound by {}; {:.2f} MB of the chip's memory\n",
             a.model, p.target, p.batch, p.precision, p.seconds * 1e3, words_for(p.bound_by),
             static_cast<double>(p.peak_bytes) / 1e6);
  if (a.memory) print_memory(e.memory, p);
  for (const size_t step : kernels) {
    print_layer(p.layers[step], p);
    if (a.memory) print_layer_memory(e.memory, p, step);
  }
  if (!host.empty()) fmt::print("\nleft to the host:\n");
  for (const size_t step : host) {
    const LayerPrediction& l = p.layers[step];
    fmt::print("  {} ({}), {:.4f} ms: {}\n", l.name, l.op, l.seconds * 1e3, l.reason);
  }
  fmt::print("\nSimulated: nothing here ran on a chip.\n");
}

}  // namespace

Status explain_for_chip(const ChipExplainArguments& a) {
  const Explained e = TRY(explained(a));
  const Prediction& p = e.prediction;
  std::vector<size_t> kernels, host;  // steps
  for (size_t step = 0; step < p.layers.size(); ++step)
    if (fnmatch(a.layers.c_str(), p.layers[step].name.c_str(), 0) == 0)
      (p.layers[step].algorithm == "host" ? host : kernels).push_back(step);
  if (kernels.empty() && host.empty() && !p.layers.empty())
    return invalid_argument(fmt::format("no layer of the model is like '{}'", a.layers));
  if (!a.html.empty()) {
    const std::string page =
        memory_page(std::filesystem::path(a.model).filename().string(), e.memory, p);
    TRY(write_file_atomically(a.html, std::as_bytes(std::span(page))));
  }
  if (!a.json) {
    print_all(a, e, kernels, host);
    return {};
  }
  nlohmann::json json{{"target", p.target},
                      {"batch", p.batch},
                      {"precision", p.precision},
                      {"latency_ms", p.seconds * 1e3},
                      {"peak_bytes", p.peak_bytes},
                      {"simulated", true},
                      {"layers", nlohmann::json::array()},
                      {"host", nlohmann::json::array()}};
  for (const size_t step : kernels) json["layers"].push_back(json_of(p.layers[step], p));
  for (const size_t step : host) {
    const LayerPrediction& l = p.layers[step];
    json["host"].push_back(
        {{"name", l.name}, {"op", l.op}, {"reason", l.reason}, {"latency_ms", l.seconds * 1e3}});
  }
  if (a.memory) json["memory_map"] = memory_json(e.memory, p);
  fmt::print("{}\n", to_text(json));
  return {};
}

}  // namespace tenon::tool
