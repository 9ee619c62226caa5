// `tenon bench`.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "commands.h"
#include "file_arguments.h"
#include "number_arguments.h"
#include "profile.h"
#include "progress.h"
#include "runnable.h"

namespace tenon::tool {
namespace {

struct BenchArguments : FileArguments {
  std::vector<int> all_threads, streams{1};
  std::vector<int64_t> batches;
  double duration = 2;
  int64_t warmup = 3, runs = 0;
  std::vector<std::string> inputs;
  bool profile = false, csv = false;
};

// One combination of what may be given several times.
struct Setting {
  int threads = 0;               // of one run; 0: one per core
  int streams = 1;               // runs at once
  std::optional<int64_t> batch;  // as asked for
};

// Milliseconds of each run, ascending, and of all together.
struct Times {
  std::vector<double> runs;
  double total = 0;
  Profile profile;
};

// What was measured under one setting.
struct Cell {
  Setting setting;
  int64_t batch = 1;
  double load_ms = 0, first_ms = 0;
  Times times;
  int64_t peak_bytes = 0, file_bytes = 0;

  double percentile(double p) const {
    return times.runs[std::min(times.runs.size() - 1,
                               static_cast<size_t>(p * static_cast<double>(times.runs.size())))];
  }
  double mean() const {
    double sum = 0;
    for (const double t : times.runs) sum += t;
    return sum / static_cast<double>(times.runs.size());
  }
  double throughput() const {
    return static_cast<double>(times.runs.size()) * static_cast<double>(batch) / times.total * 1000;
  }
};

// How many samples one run computes: the first size of an input whose first dimension the model
// leaves open, else what --batch says, which must then be the size the model fixes.
Result<int64_t> batch_of(std::optional<int64_t> asked, const runtime::Function& function,
                         std::span<const Tensor> inputs) {
  std::string sizes;
  bool fits = !asked || *asked == 1;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto& [name, type] = function.inputs()[i];
    if (!type.shape.ranked() || type.shape.rank() == 0 || inputs[i].is_list()) continue;
    const int64_t size = inputs[i].dim(0);
    if (type.shape[0].size_or(-1) < 0 && (!asked || *asked == size)) return size;
    fits |= asked == size;
    sizes += fmt::format(" '{}' {}", name, type.to_string());
  }
  if (fits) return asked.value_or(1);
  return invalid_argument(
      fmt::format("--batch {} fits no input:{}; compile the model with another --input-shape, or "
                  "give data with --input",
                  *asked, sizes));
}

// Runs until the time is over or the runs are done; `times` are this stream's own.
Status run_stream(const BenchArguments& a, const runtime::Function& function,
                  std::span<const Tensor> inputs, Times& times) {
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
  return {};
}

// All streams at once, each in a thread of its own that takes part in its runs.
Result<Times> measure(const BenchArguments& a, int streams, const runtime::Function& function,
                      std::span<const Tensor> inputs) {
  Progress progress;
  progress.stage("warm up");
  for (int64_t i = 0; i < a.warmup; ++i) TRY(function.run(inputs, {}));
  progress.stage("measure", std::chrono::duration<double>(a.runs > 0 ? 0 : a.duration));
  std::vector<Times> parts(static_cast<size_t>(streams));
  std::vector<Status> ends(parts.size());
  const auto begin = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> others;
    for (size_t i = 1; i < parts.size(); ++i)
      others.emplace_back([&, i] { ends[i] = run_stream(a, function, inputs, parts[i]); });
    ends[0] = run_stream(a, function, inputs, parts[0]);
  }
  Times all = std::move(parts[0]);
  all.total = milliseconds_since(begin);
  for (size_t i = 0; i < parts.size(); ++i) {
    TRY(ends[i]);
    if (i > 0) all.runs.insert(all.runs.end(), parts[i].runs.begin(), parts[i].runs.end());
  }
  std::ranges::sort(all.runs);
  return all;
}

Result<Cell> measure_cell(const BenchArguments& a, const Setting& setting) {
  Cell cell{.setting = setting};
  const auto load_begin = std::chrono::steady_clock::now();
  const auto model = TRY(runtime::Model::load(a.file, load_options(a, setting.threads)));
  const auto function = TRY(model.function(a.signature));
  cell.load_ms = milliseconds_since(load_begin);
  const auto inputs = TRY(read_inputs(function.inputs(), a.inputs, setting.batch.value_or(1)));
  cell.batch = TRY(batch_of(setting.batch, function, inputs));
  const auto first_begin = std::chrono::steady_clock::now();
  TRY(function.run(inputs, {}));
  cell.first_ms = milliseconds_since(first_begin);
  cell.times = TRY(measure(a, setting.streams, function, inputs));
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  struct stat info {};
  ::stat(a.file.c_str(), &info);
  cell.peak_bytes = static_cast<int64_t>(usage.ru_maxrss) * 1024;
  cell.file_bytes = static_cast<int64_t>(info.st_size);
  return cell;
}

nlohmann::json json_of(const Cell& c, bool profile) {
  nlohmann::json json{{"latency_ms",
                       {{"min", c.percentile(0)},
                        {"p50", c.percentile(0.5)},
                        {"p90", c.percentile(0.9)},
                        {"p99", c.percentile(0.99)},
                        {"mean", c.mean()}}},
                      {"throughput_per_s", c.throughput()},
                      {"runs", c.times.runs.size()},
                      {"batch", c.batch},
                      {"threads", c.setting.threads},
                      {"streams", c.setting.streams},
                      {"load_ms", c.load_ms},
                      {"first_run_ms", c.first_ms},
                      {"peak_rss_bytes", c.peak_bytes},
                      {"file_bytes", c.file_bytes}};
  if (profile) json["steps"] = profile_json(c.times.profile.best);
  return json;
}

void print_csv(const std::vector<Cell>& cells) {
  fmt::print(
      "threads,streams,batch,runs,min_ms,p50_ms,p90_ms,p99_ms,mean_ms,throughput_per_s,"
      "load_ms,first_run_ms,peak_rss_bytes,file_bytes\n");
  for (const Cell& c : cells)
    fmt::print("{},{},{},{},{:.4f},{:.4f},{:.4f},{:.4f},{:.4f},{:.2f},{:.3f},{:.3f},{},{}\n",
               c.setting.threads, c.setting.streams, c.batch, c.times.runs.size(), c.percentile(0),
               c.percentile(0.5), c.percentile(0.9), c.percentile(0.99), c.mean(), c.throughput(),
               c.load_ms, c.first_ms, c.peak_bytes, c.file_bytes);
}

std::string threads_text(int threads) {
  return threads == 0 ? "all" : std::to_string(threads);
}

void print_table(const std::vector<Cell>& cells) {
  double most = 0;
  for (const Cell& c : cells) most = std::max(most, c.throughput());
  fmt::print("threads streams batch  p50 ms     p90 ms     p99 ms     per second\n");
  for (const Cell& c : cells) {
    std::string bar;
    for (int i = 0; i < static_cast<int>(24 * c.throughput() / most); ++i) bar += "█";
    fmt::print("{:>7} {:>7} {:>5}  {:<10.3f} {:<10.3f} {:<10.3f} {:>10.1f}  {}\n",
               threads_text(c.setting.threads), c.setting.streams, c.batch, c.percentile(0.5),
               c.percentile(0.9), c.percentile(0.99), c.throughput(), bar);
  }
}

void print_cell(const Cell& c, bool profile) {
  if (profile) print_profile(c.times.profile.best);
  fmt::print(
      "latency     min {:.3f}  p50 {:.3f}  p90 {:.3f}  p99 {:.3f}  mean {:.3f} ms  ({} runs)\n",
      c.percentile(0), c.percentile(0.5), c.percentile(0.9), c.percentile(0.99), c.mean(),
      c.times.runs.size());
  fmt::print("throughput  {:.1f} per second at batch {}{}\n", c.throughput(), c.batch,
             c.setting.streams > 1 ? fmt::format(", {} runs at once", c.setting.streams) : "");
  fmt::print("load        {:.2f} ms, first run {:.2f} ms\n", c.load_ms, c.first_ms);
  fmt::print("memory      {:.1f} MB at most, the file has {} bytes\n",
             static_cast<double>(c.peak_bytes) / (1 << 20), c.file_bytes);
}

Status bench(const BenchArguments& a) {
  std::vector<Setting> settings;
  std::vector<std::optional<int64_t>> batches(a.batches.begin(), a.batches.end());
  if (batches.empty()) batches.emplace_back();
  const std::vector<int> threads = a.all_threads.empty() ? std::vector{0} : a.all_threads;
  for (const auto& batch : batches)
    for (const int streams : a.streams)
      for (const int t : threads) settings.push_back({t, streams, batch});
  if (a.profile && (settings.size() > 1 || settings[0].streams > 1))
    return invalid_argument("--profile takes one --threads, one --batch and one stream");
  std::vector<Cell> cells;
  cells.reserve(settings.size());
  for (const Setting& setting : settings) cells.push_back(TRY(measure_cell(a, setting)));
  if (a.csv) {
    print_csv(cells);
  } else if (a.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const Cell& c : cells) list.push_back(json_of(c, a.profile));
    fmt::print("{}\n", to_text(cells.size() == 1 ? list[0] : list));
  } else if (cells.size() == 1) {
    print_cell(cells[0], a.profile);
  } else {
    print_table(cells);
  }
  return {};
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("bench", "Measure latency and throughput of a .tenon file");
  auto a = std::make_shared<BenchArguments>();
  add_file_arguments(*command, *a, false);
  command->add_option("--threads", a->all_threads, "threads (default: one per core)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024));
  command
      ->add_option("--streams", a->streams,
                   "runs at once, each in a thread that takes part; they share --threads")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024));
  command->add_option("--batch", a->batches, "size of an open first dimension (default: 1)")
      ->delimiter(',')
      ->check(positive_number());
  command
      ->add_option("--input", a->inputs,
                   "NAME=FILE.npy (default: made-up inputs, open sizes 1, of images 224)")
      ->allow_extra_args(false)
      ->excludes(command->get_option("--batch"));
  command->add_option("--warmup", a->warmup, "runs before the measurement (default: 3)")
      ->check(non_negative_number());
  command->add_option("--duration", a->duration, "seconds to measure (default: 2)")
      ->check(positive_number());
  command->add_option("--runs", a->runs, "measure so many runs a stream, however long they take")
      ->check(positive_number());
  command->add_flag("--profile", a->profile,
                    "time of each step (the best of the runs; its cost is in the latency)");
  command->add_flag("--csv", a->csv, "one line a combination of threads, streams and batches")
      ->excludes(command->get_option("--json"));
  command->footer(
      "Several values of --threads, --streams and --batch, with commas between them, are measured "
      "in\n"
      "all combinations.\n\n"
      "Example:\n  tenon bench digits.tenon --threads 2 --json\n"
      "  tenon bench digits.tenon --threads 1 --profile\n"
      "  tenon bench digits.tenon --threads 1,2 --streams 1,2,4 --batch 1,8");
  command->callback([a, &action] { action = [a] { return bench(*a); }; });
}

}  // namespace tenon::tool
