#include "tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>

#include "base/cpu_features.h"
#include "file_arguments.h"
#include "number_arguments.h"
#include "verify/sample_inputs.h"

namespace tenon::tool {
namespace {

using Clock = std::chrono::steady_clock;

// What a kernel must gain to be taken before the one that is first by rule.
constexpr double kWorthwhile = 0.98;

// One way of choosing kernels, loaded, and what its steps took at best.
struct Variant {
  runtime::Model model;
  runtime::Function function;
  runtime::PlanReport best;
  std::vector<double> runs_ms;
};

Result<Variant> load_variant(const std::string& path, runtime::LoadOptions load,
                             std::string_view key, cpu::Tuning tuning) {
  load.tuning = std::move(tuning);
  auto model = TRY(runtime::Model::load(path, load));
  auto function = TRY(model.function(key));
  return Variant{std::move(model), std::move(function), {}, {}};
}

Status run_once(Variant& variant, std::span<const Tensor> inputs) {
  runtime::PlanReport report;
  const auto begin = Clock::now();
  TRY(variant.function.run(inputs, {}, &report));
  variant.runs_ms.push_back(milliseconds_since(begin));
  if (variant.best.steps.empty()) {
    variant.best = std::move(report);
    return {};
  }
  for (size_t i = 0; i < report.steps.size(); ++i)
    variant.best.steps[i].time_ns =
        std::min(variant.best.steps[i].time_ns, report.steps[i].time_ns);
  return {};
}

// Runs all in turns until the time is over; each at least a few times.
Status run_in_turns(std::span<Variant> variants, std::span<const Tensor> inputs, double seconds,
                    const std::function<void(double)>& progress) {
  constexpr size_t kMinRounds = 5, kMaxRounds = 1000;
  for (Variant& v : variants) TRY(v.function.run(inputs, {}));
  const auto begin = Clock::now();
  for (size_t round = 0; round < kMaxRounds; ++round) {
    const double passed = milliseconds_since(begin) / 1000;
    if (round >= kMinRounds && passed > seconds) break;
    for (Variant& v : variants) TRY(run_once(v, inputs));
    progress(
        std::max(passed / seconds, static_cast<double>(round) / static_cast<double>(kMaxRounds)));
  }
  return {};
}

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

// By key, what each candidate took in all steps of that key; the candidate first by rule is first.
std::map<std::string, std::vector<cpu::MeasuredKernel>> times_of(
    std::span<const Variant> variants) {
  std::map<std::string, std::vector<cpu::MeasuredKernel>> times;
  for (size_t take = 0; take < variants.size(); ++take)
    for (const runtime::StepReport& step : variants[take].best.steps) {
      if (step.measured.size() < 2 || take >= step.measured.size()) continue;
      auto& kernels = times[step.key];
      kernels.resize(step.measured.size());
      kernels[take].name = step.kernel;
      kernels[take].time_ns += step.time_ns;
    }
  return times;
}

// By time, but the one that is first by rule stays first where no other is worth while.
std::vector<cpu::MeasuredKernel> ordered(std::vector<cpu::MeasuredKernel> kernels,
                                         double worthwhile) {
  const cpu::MeasuredKernel first = kernels[0];
  std::ranges::stable_sort(kernels, {}, &cpu::MeasuredKernel::time_ns);
  if (static_cast<double>(kernels[0].time_ns) < worthwhile * static_cast<double>(first.time_ns))
    return kernels;
  const auto place = std::ranges::find(kernels, first.name, &cpu::MeasuredKernel::name);
  std::rotate(kernels.begin(), place, place + 1);
  return kernels;
}

class Tuner {
 public:
  Tuner(const std::string& path, const TuneArguments& arguments, runtime::LoadOptions load)
      : path_(path), arguments_(arguments), load_(std::move(load)) {
    load_.verify = false;
    tuning_.processor = processor_name();
  }

  Result<Tuned> tune(const std::string& key, int64_t batch, int threads,
                     const std::function<void(double)>& progress) {
    load_.threads = threads;
    std::vector<Variant> variants;
    variants.push_back(TRY(load_variant(path_, load_, key, {.take = 0})));
    const auto inputs = TRY(sample_inputs(variants[0].function.inputs(),
                                          {.batch = batch, .other = batch, .image = kUsualImage}));
    TensorTypes types;
    for (const Tensor& t : inputs) types.push_back(t.type());
    Tuned result{.key = key, .batch = batch, .threads = threads};
    size_t most = 1;
    bool known = true;
    for (const auto& step : TRY(variants[0].function.explain(types)).steps) {
      most = std::max(most, step.measured.size());
      if (step.measured.size() < 2) continue;
      ++result.steps;
      known &= tuning_.steps.contains(step.key);
    }
    if (known) return result;  // by another function, or nothing is to be chosen
    for (size_t take = 1; take < most; ++take)
      variants.push_back(TRY(load_variant(path_, load_, key, {.take = take})));
    const double share = 0.7 * arguments_.seconds;
    TRY(run_in_turns(variants, inputs, share, [&](double done) { progress(0.7 * done); }));
    const auto times = times_of(variants);
    cpu::Tuning found{.processor = tuning_.processor};
    for (const auto& [step, kernels] : times) {
      found.steps[step] = ordered(kernels, kWorthwhile);
      result.changed += found.steps[step][0].name != kernels[0].name ? 1 : 0;
    }
    variants.erase(variants.begin() + 1, variants.end());
    variants[0].runs_ms.clear();
    // In all it must be faster, too: what steps gain, caches may lose.
    variants.push_back(TRY(load_variant(path_, load_, key, found)));
    TRY(run_in_turns(variants, inputs, arguments_.seconds - share,
                     [&](double done) { progress(0.7 + 0.3 * done); }));
    result.before_ms = median(variants[0].runs_ms);
    result.after_ms = median(variants[1].runs_ms);
    if (result.after_ms >= result.before_ms) {
      result.after_ms = result.before_ms;
      result.changed = 0;
      for (const auto& [step, kernels] : times) found.steps[step] = ordered(kernels, 0);
    }
    tuning_.steps.merge(found.steps);
    return result;
  }

  const cpu::Tuning& tuning() const { return tuning_; }

 private:
  const std::string& path_;
  const TuneArguments& arguments_;
  runtime::LoadOptions load_;
  cpu::Tuning tuning_;
};

}  // namespace

void add_tune(CLI::App& command, TuneArguments& a) {
  auto* tune = command.add_flag(
      "--tune", a.tune,
      "measure on this machine which kernel is the fastest for each step, and keep that in the "
      "file; on other processors it is not looked at");
  command.add_option("--tune-batch", a.batches, "sizes of an open first dimension (default: 1)")
      ->delimiter(',')
      ->check(positive_number())
      ->needs(tune);
  command.add_option("--tune-threads", a.threads, "numbers of threads (default: one per core)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->needs(tune);
  command
      .add_option("--tune-seconds", a.seconds,
                  "time for each function, batch and number of threads (default: 10)")
      ->check(positive_number())
      ->needs(tune);
}

Result<std::vector<Tuned>> tune_model(
    const std::string& path, const TuneArguments& arguments, runtime::LoadOptions load,
    const std::function<void(int64_t done, int64_t total)>& progress, FileModel& model,
    std::vector<std::string>& warnings) {
  constexpr int64_t kUnits = 100;
  std::vector<int> threads = arguments.threads;
  if (threads.empty()) threads.push_back(0);
  const auto total =
      static_cast<int64_t>(model.functions.size() * arguments.batches.size() * threads.size());
  int64_t done = 0;
  std::vector<Tuned> all;
  Tuner tuner(path, arguments, std::move(load));
  for (const FileFunction& f : model.functions)
    for (const int64_t batch : arguments.batches)
      for (const int count : threads) {
        auto tuned = tuner.tune(f.key, batch, count, [&](double part) {
          progress(done * kUnits + static_cast<int64_t>(part * kUnits), total * kUnits);
        });
        ++done;
        if (tuned.ok()) {
          if (tuned->before_ms > 0) all.push_back(std::move(*tuned));
        } else {
          warnings.push_back(
              fmt::format("{}: not tuned for batch {}: {}", f.key, batch, tuned.error().message));
        }
      }
  const std::string name = fmt::format("{}", kTuningNote);
  std::erase_if(model.notes, [&](const auto& note) {
    return note.first == name &&
           cpu::tuning_from_note(note.second).processor == tuner.tuning().processor;
  });
  if (!tuner.tuning().steps.empty()) model.notes.emplace_back(name, to_note(tuner.tuning()));
  return all;
}

}  // namespace tenon::tool
