// `tenon predict`: how long a model takes on chips that are not there, by simulation.
#include "predict/predict.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <span>

#include "chip/deploy.h"
#include "commands.h"
#include "compiler/compile.h"
#include "isa/text.h"
#include "lower/lowering.h"
#include "model_arguments.h"
#include "number_arguments.h"
#include "predict/sweep.h"
#include "progress.h"
#include "runnable.h"

namespace tenon::tool {
namespace {

struct PredictArguments : ModelArguments {
  std::vector<std::string> targets;
  std::vector<int64_t> batches{1};
  std::string precision = "fp16", folder, programs, html;
  int layers = 10;
};

nlohmann::json json_of(const Prediction& p, int layers) {
  nlohmann::json json{{"target", p.target},
                      {"batch", p.batch},
                      {"precision", p.precision},
                      {"latency_ms", p.seconds * 1e3},
                      {"throughput_per_s", p.throughput()},
                      {"bytes", p.bytes},
                      {"bound_by", p.bound_by},
                      {"low_ms", p.low * 1e3},
                      {"high_ms", p.high * 1e3},
                      {"peak_bytes", p.peak_bytes},
                      {"cache_bytes", p.cache_bytes},
                      {"working_bytes", p.working_bytes},
                      {"kernels_beyond_cache", p.beyond_cache},
                      {"operations", p.operations},
                      {"simulated", true},
                      {"utilisation", nlohmann::json::object()},
                      {"spent_ms", nlohmann::json::object()}};
  for (const auto& [cause, seconds] : p.spent) json["spent_ms"][cause] = seconds * 1e3;
  for (size_t q = 0; q < p.queues.size(); ++q) json["utilisation"][p.queues[q]] = p.utilisation[q];
  if (layers == 0) return json;
  json["layers"] = nlohmann::json::array();
  for (const LayerPrediction& l : p.layers) {
    nlohmann::json layer{{"name", l.name},
                         {"algorithm", l.algorithm},
                         {"op", l.op},
                         {"latency_ms", l.seconds * 1e3},
                         {"operations", l.operations},
                         {"bytes", l.bytes},
                         {"bound_by", l.bound_by},
                         {"reason", l.reason},
                         {"tiling", l.tiling},
                         {"spent_ms", nlohmann::json::object()},
                         {"busy_ms", nlohmann::json::object()}};
    for (size_t c = 0; c < simulate::kCauses; ++c)
      if (l.causes[c] > 0) layer["spent_ms"][simulate::kCauseNames[c]] = l.causes[c] * 1e3;
    if (l.layout > 0) layer["spent_ms"]["layout"] = l.layout * 1e3;
    for (size_t q = 0; q < p.queues.size(); ++q) layer["busy_ms"][p.queues[q]] = l.busy[q] * 1e3;
    json["layers"].push_back(std::move(layer));
  }
  return json;
}

void print_layers(const Prediction& p, int most) {
  std::vector<const LayerPrediction*> layers;
  for (const LayerPrediction& l : p.layers) layers.push_back(&l);
  std::ranges::stable_sort(layers, std::ranges::greater{}, &LayerPrediction::seconds);
  fmt::print("\n{} at batch {}, the longest of {} kernels:\n", p.target, p.batch, layers.size());
  for (size_t i = 0; i < std::min<size_t>(layers.size(), static_cast<size_t>(most)); ++i) {
    const LayerPrediction& l = *layers[i];
    fmt::print("  {:>9.4f} ms {:>5.1f} %  {:<9} {:<8} {}{}{}\n", l.seconds * 1e3,
               100 * l.seconds / p.seconds, l.algorithm, l.bound_by, l.name,
               l.reason.empty() ? "" : ": ", l.reason);
  }
}

// The tile programs of a model, one file a kernel, in the order they run.
Status write_programs(const std::string& folder, const DeviceProgram& program, int64_t batch) {
  const auto base =
      std::filesystem::path(folder) / fmt::format("{}_b{}", program.architecture.name, batch);
  std::error_code error;
  std::filesystem::create_directories(base, error);
  if (error)
    return io_error(fmt::format("cannot make the folder '{}': {}", base.string(), error.message()));
  for (size_t i = 0; i < program.steps.size(); ++i) {
    const DeviceStep& step = program.steps[i];
    if (!step.program) continue;
    const std::string file = fmt::format("{:04}_{}.tile", i, step.program->algorithm);
    const std::string text = isa::print_program(*step.program, program.architecture);
    TRY(write_file_atomically((base / file).string(), std::as_bytes(std::span(text))));
  }
  return {};
}

Status run(const PredictArguments& a) {
  LowerOptions options{TRY(device_real(a.precision, true))};
  const MachineCatalog catalog = TRY(MachineCatalog::load(a.folder));
  const std::vector<const Machine*> machines = TRY(chips_named(catalog, a.targets));
  if (machines.empty())
    return invalid_argument("times are predicted of chips; `tenon bench` measures this CPU");
  auto progress = std::make_unique<Progress>();
  progress->stage("import");
  const auto functions = TRY(load_graphs(a.model, TRY(import_options(a)), {a.custom_ops, false}));
  std::vector<Prediction> all(machines.size() * a.batches.size());
  for (size_t b = 0; b < a.batches.size(); ++b) {
    options.batch = a.batches[b];
    progress->stage(fmt::format("optimize for batch {}", options.batch));
    const auto bound = TRY(prepare_for_batch(*functions[0].graph, options.batch));
    for (size_t m = 0; m < machines.size(); ++m) {
      progress->stage(fmt::format("predict {} at batch {}", machines[m]->name, options.batch));
      const DeviceProgram program = TRY(lower_graph(*bound, *machines[m], options));
      if (!a.programs.empty()) TRY(write_programs(a.programs, program, options.batch));
      all[m * a.batches.size() + b] = TRY(predict(program, *machines[m], options));
    }
  }
  progress.reset();
  if (!a.html.empty()) {
    const std::string page = sweep_page(std::filesystem::path(a.model).filename().string(), all);
    TRY(write_file_atomically(a.html, std::as_bytes(std::span(page))));
  }
  if (a.json) {
    nlohmann::json json = nlohmann::json::array();
    for (const Prediction& p : all) json.push_back(json_of(p, a.layers));
    fmt::print("{}\n", to_text(json));
    return {};
  }
  fmt::print("{:<14} {:>5} {:>5} {:>12} {:>12} {:>10} {:<9} {}\n", "target", "batch", "prec.",
             "latency ms", "per second", "MB moved", "bound by", "expected ms");
  for (const Prediction& p : all)
    fmt::print("{:<14} {:>5} {:>5} {:>12.4f} {:>12.1f} {:>10.2f} {:<9} {:.4f} to {:.4f}\n",
               p.target, p.batch, p.precision, p.seconds * 1e3, p.throughput(),
               static_cast<double>(p.bytes) / 1e6, p.bound_by, p.low * 1e3, p.high * 1e3);
  for (const auto& sweep : sweeps_of(all))
    for (const std::string& said : explain_sweep(sweep)) fmt::print("{}\n", said);
  if (a.layers > 0)
    for (const Prediction& p : all) print_layers(p, a.layers);
  fmt::print("\nSimulated: nothing here ran on a chip.\n");
  return {};
}

}  // namespace

void add_predict(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("predict", "How long a model takes on a chip, by simulation");
  auto a = std::make_shared<PredictArguments>();
  add_model_arguments(*command, *a);
  command
      ->add_option("--target", a->targets, "chips or families of chips, see `tenon targets list`")
      ->required()
      ->delimiter(',');
  command->add_option("--batch", a->batches, "sizes of the first dimension, where it is open")
      ->delimiter(',')
      ->check(positive_number());
  command->add_option("--precision", a->precision,
                      "fp16, bf16, fp32 or int8 (as if all products took integers)");
  command->add_option("--layers", a->layers, "how many of the longest layers to list; 0: none")
      ->check(non_negative_number());
  command->add_option("--programs", a->programs,
                      "folder to write every kernel's tile program to, as text");
  command->add_option("--html", a->html,
                      "file for a page with throughput over batch, and why it bends");
  command->add_option("--targets-dir", a->folder, "folder with machine descriptions of your own")
      ->check(CLI::ExistingDirectory);
  command->footer(
      "Example:\n  tenon predict saved_model --target ascend310p3,mlu370-s4 --batch 1,4,8,16");
  command->callback([a, &action] { action = [a] { return run(*a); }; });
}

}  // namespace tenon::tool
