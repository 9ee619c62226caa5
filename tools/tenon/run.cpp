// `tenon run`.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>

#include "commands.h"
#include "device/plugin/plugin.h"
#include "file_arguments.h"
#include "lower/device_program.h"
#include "number_arguments.h"
#include "progress.h"
#include "runnable.h"
#include "tensor/npy.h"
#include "tensor/text_lexer.h"

namespace tenon::tool {
namespace {

struct RunArguments : FileArguments {
  std::string output_dir, compare, state_in, state_out, device = "cpu", precision;
  std::vector<std::string> inputs;
  std::optional<double> tolerance;
  bool reference = false;
};

struct Statistics {
  double min = 0, max = 0, mean = 0;
};

// Of numbers and booleans; nothing for strings, complex numbers and empty tensors.
std::optional<Statistics> statistics_of(const Tensor& t) {
  const bool real = is_float(t.dtype()) || is_int(t.dtype()) || t.dtype() == DType::boolean;
  if (!real || t.elements() == 0) return {};
  Statistics s{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
               0};
  for (int64_t i = 0; i < t.elements(); ++i) {
    const double x = t.real_at(i);
    s.min = std::min(s.min, x);
    s.max = std::max(s.max, x);
    s.mean += x;
  }
  s.mean /= static_cast<double>(t.elements());
  return s;
}

// The text in quotes; of long ones, such as files, the begin.
std::string shown(const std::string& text) {
  constexpr size_t kLongest = 200;
  if (text.size() <= kLongest) return tenon::text::quoted(text);
  return fmt::format("{}… ({} bytes)", tenon::text::quoted(text.substr(0, kLongest)), text.size());
}

// One value of an output: written if there is a folder, described on a line of its own.
Status give_out(const RunArguments& a, const std::string& name, const std::string& file,
                const Tensor& tensor, nlohmann::json& json) {
  json = {{"dtype", dtype_long_name(tensor.dtype())}, {"shape", tensor.dims()}, {"file", ""}};
  std::string path;
  if (!a.output_dir.empty() && tensor.defined()) {
    path = (std::filesystem::path(a.output_dir) / (file + ".npy")).string();
    TRY(write_npy(path, tensor));
    json["file"] = path;
  }
  const auto statistics = statistics_of(tensor);
  if (statistics)
    json.update({{"min", statistics->min}, {"max", statistics->max}, {"mean", statistics->mean}});
  if (a.json) return {};
  fmt::print("{}: {}", name, tensor.type().to_string());
  if (statistics)
    fmt::print("  min {:g}  max {:g}  mean {:g}", statistics->min, statistics->max,
               statistics->mean);
  if (tensor.dtype() == DType::string) {
    constexpr int64_t kShown = 3;
    for (int64_t i = 0; i < std::min(tensor.elements(), kShown); ++i)
      fmt::print("{}{}", i == 0 ? "  " : ", ", shown(tensor.data<std::string>()[i]));
    if (tensor.elements() > kShown) fmt::print(", …");
  }
  fmt::print("{}{}\n", path.empty() ? "" : "  -> ", path);
  return {};
}

// Chips compute in fp16 where nothing else is said. The graph: what is compared with, if known.
double tolerance_of(const RunArguments& a, const Graph* graph = nullptr) {
  const auto real = device_real(a.precision.empty() ? "fp16" : a.precision);
  const bool halves = !device::is_cpu(a.device) && real.ok() && *real != DType::f32;
  if (a.tolerance || !halves) return a.tolerance.value_or(1e-4);
  if (*real == DType::bf16) return 5e-2;
  return graph != nullptr && rounds_to_integers(*graph) ? 5e-2 : 1e-2;
}

// Runs the same inputs through the reference and shows how far its outputs are.
Status compare_with_reference(const RunArguments& a, const Runnable& runnable,
                              std::span<const Tensor> inputs, std::span<const Tensor> outputs) {
  const Runnable reference =
      TRY(open_runnable(a.file, a.signature, Engine::kReference, load_options(a)));
  TRY(read_state(reference, a.state_in));
  const auto expected = TRY(reference.run(inputs));
  std::vector<OutputDifference> differences;
  for (size_t i = 0; i < outputs.size() && i < expected.size(); ++i)
    differences.push_back({runnable.outputs[i].name, compare(outputs[i], expected[i])});
  return report_differences(differences, tolerance_of(a, reference.graph.get()), a.json);
}

// What the device has to say of the run.
Status describe_device(const runtime::Function& function, bool as_text, nlohmann::json& json) {
  if (function.device() == "cpu") return {};
  const device::Description& device = *TRY(device::find_device(function.device()));
  const bool simulated = (device.flags & TENON_DEVICE_SIMULATED) != 0;
  const std::vector<std::string> notices = function.notices();
  json["device"] = device.name;
  json["simulated"] = simulated;
  json["notices"] = notices;
  for (const device::Counter& c : TRY(function.counters())) json["counters"][c.name] = c.value;
  if (!as_text) return {};
  for (const std::string& notice : notices) fmt::print("{}\n", notice);
  fmt::print("{}: {:.4f} ms{}\n", device.title, json["counters"].value("last_seconds", 0.0) * 1e3,
             simulated ? ", predicted: simulated, nothing ran on a chip" : "");
  return {};
}

// All values of all outputs.
Status give_outputs(const RunArguments& a, const Runnable& runnable,
                    std::span<const Tensor> outputs, nlohmann::json& json) {
  if (!a.output_dir.empty()) {
    std::error_code error;
    std::filesystem::create_directories(a.output_dir, error);
    if (error)
      return io_error(
          fmt::format("cannot make the folder '{}': {}", a.output_dir, error.message()));
  }
  json = nlohmann::json::object();
  const std::vector<std::string> files = file_names(runnable.outputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = runnable.outputs[i].name;
    nlohmann::json& entry = json[name];
    if (!outputs[i].is_list()) {
      TRY(give_out(a, name, files[i], outputs[i], entry));
      continue;
    }
    entry = {{"list", nlohmann::json::array()}};
    if (!a.json) fmt::print("{}: a list of {}\n", name, outputs[i].items().size());
    for (size_t k = 0; k < outputs[i].items().size(); ++k)
      TRY(give_out(a, fmt::format("{}[{}]", name, k), fmt::format("{}.{}", files[i], k),
                   outputs[i].items()[k], entry["list"].emplace_back()));
  }
  return {};
}

Status run(const RunArguments& a) {
  auto progress = std::make_unique<Progress>();
  progress->stage("load " + a.file);
  const runtime::DeviceChoice device{a.device, a.precision};
  const bool file_only = !a.reference && a.compare.empty() && device::is_cpu(a.device);
  const runtime::LoadOptions options = load_options(a, a.threads);
  const Engine engine = a.reference ? Engine::kReference : Engine::kRuntime;
  const Runnable runnable = file_only
                                ? TRY(open_file(a.file, a.signature, options))
                                : TRY(open_runnable(a.file, a.signature, engine, options, device));
  if (a.inputs.empty() && a.compare.empty() && !runnable.inputs.empty())
    return invalid_argument(
        fmt::format("no --input was given; there are: {}", listed(runnable.inputs)));
  if (a.compare.ends_with(".npz")) {
    if (!a.output_dir.empty())
      return invalid_argument("--output-dir does not go with --compare FILE.npz");
    progress.reset();
    return compare_with_recorded(a.file, a.signature, runnable, a.inputs, a.compare,
                                 tolerance_of(a), a.json, options);
  }
  const auto inputs = TRY(read_inputs(runnable.inputs, a.inputs));
  TRY(read_state(runnable, a.state_in));
  progress->stage("run");
  const auto begin = std::chrono::steady_clock::now();
  const auto outputs = TRY(runnable.run(inputs));
  const double ms = milliseconds_since(begin);
  progress.reset();
  TRY(write_state(runnable, a.state_out));
  nlohmann::json json{{"signature", runnable.key}, {"run_ms", ms}};
  if (runnable.function != nullptr) TRY(describe_device(*runnable.function, !a.json, json));
  if (a.compare.empty() || !a.output_dir.empty())
    TRY(give_outputs(a, runnable, outputs, json["outputs"]));
  if (!a.compare.empty()) return compare_with_reference(a, runnable, inputs, outputs);
  if (a.json) fmt::print("{}\n", to_text(json));
  return {};
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("run", "Run a .tenon file on .npy inputs");
  auto a = std::make_shared<RunArguments>();
  add_file_arguments(*command, *a);
  command->add_option("--input", a->inputs, "NAME=FILE.npy; repeatable; several for a list")
      ->allow_extra_args(false);
  command->add_option("--output-dir", a->output_dir,
                      "write one NAME.npy per output there; made if missing");
  command->add_option("--state-in", a->state_in,
                      "folder with values of variables that the model keeps between runs "
                      "(default: their initial values)");
  command->add_option("--state-out", a->state_out,
                      "write those values there after the run, one NAME.npy each; made if missing");
  auto* device = command->add_option(
      "--device", a->device,
      "cpu, or one of `tenon devices`: by the programs of the file, or compiled from "
      "its graph now");
  command->add_option(
      "--precision", a->precision,
      "of real numbers on another device than the CPU: fp16, bf16 or fp32 (default: that of "
      "the file's programs, or fp16)");
  command
      ->add_flag("--reference", a->reference,
                 "interpret the file, or a model, with the reference of each op")
      ->excludes(device);
  auto* compare =
      command
          ->add_option(
              "--compare", a->compare,
              "reference: say how far the outputs are from the reference's; made-up inputs where "
              "none are given. FILE.npz: from outputs and layers recorded elsewhere, by the names "
              "in the model; inputs may be in it, too")
          ->check([](const std::string& what) {
            return what == "reference" || what.ends_with(".npz")
                       ? std::string()
                       : fmt::format("'{}' is neither 'reference' nor an .npz archive", what);
          });
  command
      ->add_option("--tolerance", a->tolerance,
                   "relative L2 that --compare allows (default: 1e-4, on chips in fp16 "
                   "1e-2, 5e-2 where the model is quantised, in bf16 5e-2)")
      ->check(non_negative_number())
      ->needs(compare);
  command->footer(
      "Example:\n  tenon run digits.tenon --input images=digits.npy --output-dir out\n"
      "  tenon run digits.tenon --compare reference\n"
      "  tenon run digits.tenon --compare recorded.npz\n"
      "  tenon run stream.tenon --input x=frame.npy --state-in state --state-out state");
  command->callback([a, &action] { action = [a] { return run(*a); }; });
}

}  // namespace tenon::tool
