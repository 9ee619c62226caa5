// `tenon run`, `tenon bench`, `tenon inspect` and `tenon explain`: what works on a .tenon file.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "commands.h"
#include "runtime/model.h"
#include "tensor/npy.h"

namespace tenon::tool {
namespace {

using Clock = std::chrono::steady_clock;

struct RunArguments {
  std::string file, output_dir, signature;
  std::vector<std::string> inputs;
  int threads = 0;
  int64_t batch = 1;
  double duration = 2;
  bool json = false;
};

double milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

// Names may hold slashes and colons; file names must not.
std::string file_name_of(std::string name) {
  for (char& c : name)
    if (c == '/' || c == ':') c = '_';
  return name + ".npy";
}

Status run(const RunArguments& a) {
  const auto model = TRY(runtime::Model::load(a.file, {a.threads}));
  const auto function = TRY(model.function(a.signature));
  std::map<std::string, Tensor> inputs;
  for (const std::string& text : a.inputs) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos && function.inputs().size() != 1)
      return invalid_argument(fmt::format("--input '{}' is not of the form NAME=FILE.npy", text));
    const std::string name =
        equals == std::string::npos ? function.inputs()[0].name : text.substr(0, equals);
    inputs[name] = TRY(read_npy(text.substr(equals == std::string::npos ? 0 : equals + 1)));
  }
  const auto begin = Clock::now();
  const auto outputs = TRY(function.run(inputs));
  const double ms = milliseconds_since(begin);
  nlohmann::json json{{"run_ms", ms}, {"outputs", nlohmann::json::object()}};
  if (!a.output_dir.empty()) ::mkdir(a.output_dir.c_str(), 0777);
  for (const auto& [name, tensor] : outputs) {
    std::string path;
    if (!a.output_dir.empty()) {
      path = a.output_dir + "/" + file_name_of(name);
      TRY(write_npy(path, tensor));
    }
    json["outputs"][name] = {
        {"dtype", dtype_long_name(tensor.dtype())}, {"shape", tensor.dims()}, {"file", path}};
    if (!a.json)
      fmt::print("{}: {}{}{}\n", name, tensor.type().to_string(), path.empty() ? "" : " -> ", path);
  }
  if (a.json) fmt::print("{}\n", json.dump(2));
  return {};
}

// Inputs of the declared shapes, open dimensions set to the batch (first) or 1, small values.
Result<std::vector<Tensor>> sample_inputs(const runtime::Function& function, int64_t batch) {
  std::vector<Tensor> inputs;
  uint32_t state = 1;
  for (const runtime::PortInfo& port : function.inputs()) {
    if (!port.type.shape.ranked() || port.type.is_list)
      return unsupported(
          fmt::format("input '{}' has no rank; give data with `tenon run`", port.name));
    std::vector<int64_t> dims;
    for (int i = 0; i < port.type.shape.rank(); ++i)
      dims.push_back(port.type.shape[i].size_or(i == 0 ? batch : 1));
    Tensor t = TRY(Tensor::zeros(port.type.dtype, dims));
    if (t.dtype() == DType::f32)
      for (int64_t i = 0; i < t.elements(); ++i) {
        state = state * 1664525u + 1013904223u;
        t.mutable_data<float>()[i] = static_cast<float>(state >> 8) * 0x1p-24f;
      }
    inputs.push_back(std::move(t));
  }
  return inputs;
}

double percentile(const std::vector<double>& sorted, double p) {
  return sorted[std::min(sorted.size() - 1,
                         static_cast<size_t>(p * static_cast<double>(sorted.size())))];
}

Status bench(const RunArguments& a) {
  const auto load_begin = Clock::now();
  const auto model = TRY(runtime::Model::load(a.file, {a.threads}));
  const auto function = TRY(model.function(a.signature));
  const double load_ms = milliseconds_since(load_begin);
  const auto inputs = TRY(sample_inputs(function, a.batch));
  const auto first_begin = Clock::now();
  TRY(function.run(inputs, {}));
  const double first_ms = milliseconds_since(first_begin);
  std::vector<double> times;
  const auto begin = Clock::now();
  while (times.empty() || milliseconds_since(begin) < a.duration * 1000) {
    const auto t = Clock::now();
    TRY(function.run(inputs, {}));
    times.push_back(milliseconds_since(t));
  }
  const double total = milliseconds_since(begin);
  const auto runs = static_cast<double>(times.size());
  std::sort(times.begin(), times.end());
  double sum = 0;
  for (const double t : times) sum += t;
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  struct stat info {};
  ::stat(a.file.c_str(), &info);
  nlohmann::json json{{"latency_ms",
                       {{"min", times.front()},
                        {"p50", percentile(times, 0.5)},
                        {"p90", percentile(times, 0.9)},
                        {"p99", percentile(times, 0.99)},
                        {"mean", sum / runs}}},
                      {"throughput_per_s", runs * static_cast<double>(a.batch) / total * 1000},
                      {"runs", times.size()},
                      {"batch", a.batch},
                      {"load_ms", load_ms},
                      {"first_run_ms", first_ms},
                      {"peak_rss_bytes", static_cast<int64_t>(usage.ru_maxrss) * 1024},
                      {"file_bytes", static_cast<int64_t>(info.st_size)}};
  if (a.json) {
    fmt::print("{}\n", json.dump(2));
    return {};
  }
  fmt::print("latency  min {:.3f}  p50 {:.3f}  p90 {:.3f}  p99 {:.3f} ms\n", times.front(),
             percentile(times, 0.5), percentile(times, 0.9), percentile(times, 0.99));
  fmt::print("throughput {:.1f}/s  load {:.2f} ms  first run {:.2f} ms  peak {:.1f} MB\n",
             json["throughput_per_s"].get<double>(), load_ms, first_ms,
             static_cast<double>(usage.ru_maxrss) / 1024);
  return {};
}

Status inspect(const RunArguments& a) {
  const auto model = TRY(runtime::Model::load(a.file, {1}));
  nlohmann::json json{{"producer", model.producer()}};
  for (const auto& [key, value] : model.notes()) json["notes"][key] = value;
  for (const std::string& key : model.functions()) {
    const auto f = TRY(model.function(key));
    nlohmann::json entry{{"signature", key}};
    for (const auto& port : f.inputs())
      entry["inputs"].push_back({{"name", port.name}, {"type", port.type.to_string()}});
    for (const auto& port : f.outputs())
      entry["outputs"].push_back({{"name", port.name}, {"type", port.type.to_string()}});
    json["functions"].push_back(entry);
  }
  if (a.json) {
    fmt::print("{}\n", json.dump(2));
    return {};
  }
  fmt::print("{} ({})\n", a.file, model.producer());
  for (const auto& [key, value] : model.notes()) fmt::print("  {}: {}\n", key, value);
  for (const std::string& key : model.functions()) {
    const auto f = TRY(model.function(key));
    fmt::print("signature {}\n", key);
    for (const auto& port : f.inputs())
      fmt::print("  in  {}: {}\n", port.name, port.type.to_string());
    for (const auto& port : f.outputs())
      fmt::print("  out {}: {}\n", port.name, port.type.to_string());
  }
  return {};
}

Status explain(const RunArguments& a) {
  const auto model = TRY(runtime::Model::load(a.file, {a.threads}));
  const auto function = TRY(model.function(a.signature));
  const auto inputs = TRY(sample_inputs(function, a.batch));
  TensorTypes types;
  for (const Tensor& t : inputs) types.push_back(t.type());
  const auto report = TRY(function.explain(types));
  nlohmann::json json{{"arena_bytes", report.arena_bytes}, {"weight_bytes", report.weight_bytes}};
  for (const auto& step : report.steps) {
    if (step.at_plan_time) continue;
    const std::string type = step.outputs.empty() ? "" : step.outputs[0].to_string();
    const std::string origin = step.origins.empty() ? "" : step.origins[0];
    json["steps"].push_back({{"op", step.op},
                             {"kernel", step.kernel},
                             {"type", type},
                             {"flops", step.flops},
                             {"origins", step.origins},
                             {"refusals", step.refusals}});
    if (a.json) continue;
    fmt::print("{:<16} {:<18} {:<22} {:>12} flop  {}\n", step.op, step.kernel, type, step.flops,
               origin);
    for (const std::string& refusal : step.refusals) fmt::print("    not {}\n", refusal);
  }
  if (a.json)
    fmt::print("{}\n", json.dump(2));
  else
    fmt::print("arena {} bytes, weights {} bytes\n", report.arena_bytes, report.weight_bytes);
  return {};
}

std::shared_ptr<RunArguments> add_common(CLI::App& command) {
  auto a = std::make_shared<RunArguments>();
  command.add_option("FILE", a->file, ".tenon file")->required();
  command.add_option("--signature", a->signature, "signature to run (default: serving_default)");
  command.add_option("--threads", a->threads, "threads (default: one per core)");
  command.add_flag("--json", a->json, "machine-readable output");
  return a;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("run", "Run a .tenon file on .npy inputs");
  auto a = add_common(*command);
  command->add_option("--input", a->inputs, "NAME=FILE.npy; repeatable");
  command->add_option("--output-dir", a->output_dir, "write one .npy per output there");
  command->footer("Example:\n  tenon run digits.tenon --input images=digits.npy --output-dir out");
  command->callback([a, &action] { action = [a] { return run(*a); }; });
}

void add_bench(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("bench", "Measure latency and throughput of a .tenon file");
  auto a = add_common(*command);
  command->add_option("--batch", a->batch, "size of an open first dimension")
      ->check(CLI::PositiveNumber);
  command->add_option("--duration", a->duration, "seconds to measure")->check(CLI::PositiveNumber);
  command->footer("Example:\n  tenon bench digits.tenon --threads 2 --json");
  command->callback([a, &action] { action = [a] { return bench(*a); }; });
}

void add_inspect(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("inspect", "Say what a .tenon file holds");
  auto a = add_common(*command);
  command->footer("Example:\n  tenon inspect digits.tenon");
  command->callback([a, &action] { action = [a] { return inspect(*a); }; });
}

void add_explain(CLI::App& app, Action& action) {
  auto* command =
      app.add_subcommand("explain", "Say which kernel computes each step, and why not another");
  auto a = add_common(*command);
  command->add_option("--batch", a->batch, "size of an open first dimension")
      ->check(CLI::PositiveNumber);
  command->footer("Example:\n  tenon explain digits.tenon");
  command->callback([a, &action] { action = [a] { return explain(*a); }; });
}

}  // namespace tenon::tool
