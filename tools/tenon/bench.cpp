// `tenon bench`.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>

#include "commands.h"
#include "file_arguments.h"

namespace tenon::tool {
namespace {

struct BenchArguments : FileArguments {
  int64_t batch = 1;
  double duration = 2;
};

double percentile(const std::vector<double>& sorted, double p) {
  return sorted[std::min(sorted.size() - 1,
                         static_cast<size_t>(p * static_cast<double>(sorted.size())))];
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
  std::vector<double> times;
  const auto begin = std::chrono::steady_clock::now();
  while (times.empty() || milliseconds_since(begin) < a.duration * 1000) {
    const auto t = std::chrono::steady_clock::now();
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

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("bench", "Measure latency and throughput of a .tenon file");
  auto a = std::make_shared<BenchArguments>();
  add_file_arguments(*command, *a);
  command->add_option("--batch", a->batch, "size of an open first dimension")
      ->check(CLI::PositiveNumber);
  command->add_option("--duration", a->duration, "seconds to measure")->check(CLI::PositiveNumber);
  command->footer("Example:\n  tenon bench digits.tenon --threads 2 --json");
  command->callback([a, &action] { action = [a] { return bench(*a); }; });
}

}  // namespace tenon::tool
