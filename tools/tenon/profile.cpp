#include "profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace tenon::tool {
namespace {

double per_second(int64_t count, int64_t time_ns) {
  return time_ns == 0 ? 0 : static_cast<double>(count) / static_cast<double>(time_ns);
}

}  // namespace

void Profile::add(runtime::PlanReport&& report) {
  if (runs++ == 0) {
    best = std::move(report);
    return;
  }
  for (size_t i = 0; i < best.steps.size(); ++i)
    best.steps[i].time_ns = std::min(best.steps[i].time_ns, report.steps[i].time_ns);
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

}  // namespace tenon::tool
