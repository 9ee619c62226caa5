// `tenon bench`.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include "commands.h"
#include "file_arguments.h"
#include "profile.h"
#include "progress.h"
#include "runnable.h"

namespace tenon::tool {
namespace {

struct BenchArguments : FileArguments {
  std::optional<int64_t> batch;
  double duration = 2;
  int64_t warmup = 3, runs = 0;
  std::vector<std::string> inputs;
  bool profile = false;
};

double percentile(const std::vector<double>& sorted, double p) {
  return sorted[std::min(sorted.size() - 1,
                         static_cast<size_t>(p * static_cast<double>(sorted.size())))];
}

// How many samples one run computes: the first size of an input whose first dimension the model
// leaves open, else what --batch says, which must then be the size the model fixes.
Result<int64_t> batch_of(const BenchArguments& a, const runtime::Function& function,
                         std::span<const Tensor> inputs) {
  std::string sizes;
  bool fits = !a.batch || *a.batch == 1;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto& [name, type] = function.inputs()[i];
    if (!type.shape.ranked() || type.shape.rank() == 0 || inputs[i].is_list()) continue;
    const int64_t size = inputs[i].dim(0);
    if (type.shape[0].size_or(-1) < 0 && (!a.batch || *a.batch == size)) return size;
    fits |= a.batch == size;
    sizes += fmt::format(" '{}' {}", name, type.to_string());
  }
  if (fits) return a.batch.value_or(1);
  return invalid_argument(fmt::format(
      "--batch {} fits no input:{}; compile the model with another --input-shape, or give "
      "data with --input",
      *a.batch, sizes));
}

// Milliseconds of each run, ascending, and of all together.
struct Times {
  std::vector<double> runs;
  double total = 0;
  Profile profile;
};

Result<Times> measure(const BenchArguments& a, const runtime::Function& function,
                      std::span<const Tensor> inputs) {
  Progress progress;
  progress.stage("warm up");
  for (int64_t i = 0; i < a.warmup; ++i) TRY(function.run(inputs, {}));
  progress.stage("measure", std::chrono::duration<double>(a.runs > 0 ? 0 : a.duration));
  Times times;
  const auto begin = std::chrono::steady_clock::now();
  const auto more = [&] {
    return a.runs > 0 ? times.runs.size() < static_cast<size_t>(a.runs)
                      : times.runs.empty() || milliseconds_since(begin) < a.duration * 1000;
  };
  while (more()) {
    const auto t = std::chrono::steady_clock::now();
    runtime::PlanReport report;
    TRY(function.run(inputs, {}, a.profile ? &report : nullptr));
    times.runs.push_back(milliseconds_since(t));
    if (a.profile) times.profile.add(std::move(report));
  }
  times.total = milliseconds_since(begin);
  std::sort(times.runs.begin(), times.runs.end());
  return times;
}

Status bench(const BenchArguments& a) {
  const auto load_begin = std::chrono::steady_clock::now();
  const auto model = TRY(runtime::Model::load(a.file, load_options(a, a.threads)));
  const auto function = TRY(model.function(a.signature));
  const double load_ms = milliseconds_since(load_begin);
  const auto inputs = TRY(read_inputs(function.inputs(), a.inputs, a.batch.value_or(1)));
  const int64_t batch = TRY(batch_of(a, function, inputs));
  const auto first_begin = std::chrono::steady_clock::now();
  TRY(function.run(inputs, {}));
  const double first_ms = milliseconds_since(first_begin);
  const Times times = TRY(measure(a, function, inputs));
  const auto runs = static_cast<double>(times.runs.size());
  double sum = 0;
  for (const double t : times.runs) sum += t;
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  struct stat info {};
  ::stat(a.file.c_str(), &info);
  const double min = times.runs.front(), p50 = percentile(times.runs, 0.5),
               p90 = percentile(times.runs, 0.9), p99 = percentile(times.runs, 0.99);
  const double throughput = runs * static_cast<double>(batch) / times.total * 1000;
  if (a.json) {
    nlohmann::json json{
        {"latency_ms",
         {{"min", min}, {"p50", p50}, {"p90", p90}, {"p99", p99}, {"mean", sum / runs}}},
        {"throughput_per_s", throughput},
        {"runs", times.runs.size()},
        {"batch", batch},
        {"load_ms", load_ms},
        {"first_run_ms", first_ms},
        {"peak_rss_bytes", static_cast<int64_t>(usage.ru_maxrss) * 1024},
        {"file_bytes", static_cast<int64_t>(info.st_size)}};
    if (a.profile) json["steps"] = profile_json(times.profile.best);
    fmt::print("{}\n", to_text(json));
    return {};
  }
  if (a.profile) print_profile(times.profile.best);
  fmt::print(
      "latency     min {:.3f}  p50 {:.3f}  p90 {:.3f}  p99 {:.3f}  mean {:.3f} ms  ({} runs)\n",
      min, p50, p90, p99, sum / runs, times.runs.size());
  fmt::print("throughput  {:.1f} per second at batch {}\n", throughput, batch);
  fmt::print("load        {:.2f} ms, first run {:.2f} ms\n", load_ms, first_ms);
  fmt::print("memory      {:.1f} MB at most, the file has {} bytes\n",
             static_cast<double>(usage.ru_maxrss) / 1024, info.st_size);
  return {};
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("bench", "Measure latency and throughput of a .tenon file");
  auto a = std::make_shared<BenchArguments>();
  add_file_arguments(*command, *a);
  command->add_option("--batch", a->batch, "size of an open first dimension (default: 1)")
      ->check(CLI::PositiveNumber);
  command->add_option("--input", a->inputs, "NAME=FILE.npy; made-up inputs where none is given")
      ->allow_extra_args(false);
  command->add_option("--warmup", a->warmup, "runs before the measurement (default: 3)")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--duration", a->duration, "seconds to measure (default: 2)")
      ->check(CLI::PositiveNumber);
  command->add_option("--runs", a->runs, "measure so many runs, however long they take")
      ->check(CLI::PositiveNumber);
  command->add_flag("--profile", a->profile,
                    "time of each step (the best of the runs; its cost is in the latency)");
  command->footer(
      "Example:\n  tenon bench digits.tenon --threads 2 --json\n"
      "  tenon bench digits.tenon --threads 1 --profile");
  command->callback([a, &action] { action = [a] { return bench(*a); }; });
}

}  // namespace tenon::tool
