// `tenon bench`.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "commands.h"
#include "file_arguments.h"

namespace tenon::tool {
namespace {

struct BenchArguments : FileArguments {
  int64_t batch = 1;
  double duration = 2;
  bool profile = false;
};

double percentile(const std::vector<double>& sorted, double p) {
  return sorted[std::min(sorted.size() - 1,
                         static_cast<size_t>(p * static_cast<double>(sorted.size())))];
}

// The best time of each step over the runs: noise only ever adds.
struct Profile {
  runtime::PlanReport best;
  int64_t runs = 0;

  void add(runtime::PlanReport&& report) {
    if (runs++ == 0) {
      best = std::move(report);
      return;
    }
    for (size_t i = 0; i < best.steps.size(); ++i)
      best.steps[i].time_ns = std::min(best.steps[i].time_ns, report.steps[i].time_ns);
  }
};

double per_second(int64_t count, int64_t time_ns) {
  return time_ns == 0 ? 0 : static_cast<double>(count) / static_cast<double>(time_ns);
}

void print_profile(const runtime::PlanReport& report) {
  int64_t total = 0;
  std::map<std::pair<std::string, std::string>, std::pair<int64_t, int64_t>> kinds;
  for (const runtime::StepReport& step : report.steps) total += step.time_ns;
  const auto share = [&](int64_t ns) {
    return 100 * static_cast<double>(ns) / static_cast<double>(std::max<int64_t>(1, total));
  };
  fmt::print("{:>9} {:>6} {:>8} {:>7}  {:<20} {:<18} {:<26} {}\n", "us", "share", "GFLOP/s", "GB/s",
             "op", "kernel", "result", "from");
  for (const runtime::StepReport& step : report.steps) {
    if (step.at_plan_time) continue;
    auto& kind = kinds[{step.op, step.kernel}];
    ++kind.first, kind.second += step.time_ns;
    fmt::print("{:>9.2f} {:>5.1f}% {:>8.1f} {:>7.1f}  {:<20} {:<18} {:<26} {}\n",
               static_cast<double>(step.time_ns) * 1e-3, share(step.time_ns),
               per_second(step.flops, step.time_ns), per_second(step.bytes, step.time_ns), step.op,
               step.kernel, step.outputs.empty() ? "" : step.outputs[0].to_string(),
               step.origins.empty() ? "" : step.origins[0]);
  }
  std::vector<std::pair<int64_t, std::string>> lines;
  for (const auto& [name, kind] : kinds)
    lines.emplace_back(
        kind.second,
        fmt::format("{:>9.2f} {:>5.1f}% {:>6}  {:<20} {}", static_cast<double>(kind.second) * 1e-3,
                    share(kind.second), kind.first, name.first, name.second));
  std::sort(lines.rbegin(), lines.rend());
  fmt::print("\n{:>9} {:>6} {:>6}  {:<20} {}\n", "us", "share", "steps", "op", "kernel");
  for (const auto& line : lines) fmt::print("{}\n", line.second);
  fmt::print("{:>9.2f} us in all steps\n\n", static_cast<double>(total) * 1e-3);
}

nlohmann::json profile_json(const runtime::PlanReport& report) {
  nlohmann::json steps = nlohmann::json::array();
  for (const runtime::StepReport& step : report.steps)
    if (!step.at_plan_time)
      steps.push_back({{"op", step.op},
                       {"kernel", step.kernel},
                       {"type", step.outputs.empty() ? "" : step.outputs[0].to_string()},
                       {"time_ns", step.time_ns},
                       {"flops", step.flops},
                       {"bytes", step.bytes},
                       {"origins", step.origins}});
  return steps;
}

Status bench(const BenchArguments& a) {
  const auto load_begin = std::chrono::steady_clock::now();
  const auto model = TRY(runtime::Model::load(a.file, {a.threads}));
  const auto function = TRY(model.function(a.signature));
  const double load_ms = milliseconds_since(load_begin);
  const auto inputs = TRY(sample_inputs(function.inputs(), a.batch));
  const auto first_begin = std::chrono::steady_clock::now();
  TRY(function.run(inputs, {}));
  const double first_ms = milliseconds_since(first_begin);
  Profile profile;
  std::vector<double> times;
  const auto begin = std::chrono::steady_clock::now();
  while (times.empty() || milliseconds_since(begin) < a.duration * 1000) {
    const auto t = std::chrono::steady_clock::now();
    runtime::PlanReport report;
    TRY(function.run(inputs, {}, a.profile ? &report : nullptr));
    times.push_back(milliseconds_since(t));
    if (a.profile) profile.add(std::move(report));
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
  if (a.profile && a.json) json["steps"] = profile_json(profile.best);
  if (a.profile && !a.json) print_profile(profile.best);
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

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("bench", "Measure latency and throughput of a .tenon file");
  auto a = std::make_shared<BenchArguments>();
  add_file_arguments(*command, *a);
  command->add_option("--batch", a->batch, "size of an open first dimension")
      ->check(CLI::PositiveNumber);
  command->add_option("--duration", a->duration, "seconds to measure")->check(CLI::PositiveNumber);
  command->add_flag("--profile", a->profile,
                    "time of each step (the best of the runs; its cost is in the latency)");
  command->footer(
      "Examples:\n  tenon bench digits.tenon --threads 2 --json\n"
      "  tenon bench digits.tenon --threads 1 --profile");
  command->callback([a, &action] { action = [a] { return bench(*a); }; });
}

}  // namespace tenon::tool
