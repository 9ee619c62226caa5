#include "runtime/join.h"

#include <fmt/format.h>

namespace tenon::runtime {
namespace {

std::string_view name_in(const cpu::KernelChoice& choice) {
  const std::string_view joined = choice.kernel->joined_name();
  return joined.empty() ? std::string_view(choice.name) : joined;
}

void join(Plan& plan, size_t first, size_t second) {
  PlanStep &one = plan.steps[first], &two = plan.steps[second];
  auto kernel = one.choice.kernel->join(*two.choice.kernel, one.inputs().size());
  if (kernel == nullptr) return;
  two.operands = one.inputs();
  two.operands.push_back(-1);
  two.operands.insert(two.operands.end(), two.step->inputs.begin() + 1, two.step->inputs.end());
  two.joined = std::move(one.joined);
  two.joined.push_back(first);
  two.choice.name = fmt::format("{} + {}", name_in(one.choice), name_in(two.choice));
  two.choice.kernel = std::move(kernel);
  plan.values[static_cast<size_t>(two.step->inputs[0])].place = Place::kAbsent;
  one.kind = StepKind::kJoined;
  one.choice.kernel = nullptr;
}

}  // namespace

void join_steps(Plan& plan) {
  constexpr size_t kNone = SIZE_MAX;
  std::vector<size_t> producers(plan.values.size(), kNone);
  std::vector<int> uses(plan.values.size());
  for (const PlanStep& step : plan.steps)
    for (const int v : step.step->inputs)
      if (v >= 0) ++uses[static_cast<size_t>(v)];
  for (const int v : plan.outputs)
    if (v >= 0) ++uses[static_cast<size_t>(v)];
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const PlanStep& step = plan.steps[i];
    if (step.kind != StepKind::kStatic || step.choice.kernel == nullptr) continue;
    const int v = step.step->inputs.empty() ? -1 : step.step->inputs[0];
    if (v >= 0 && uses[static_cast<size_t>(v)] == 1 && producers[static_cast<size_t>(v)] != kNone)
      join(plan, producers[static_cast<size_t>(v)], i);
    if (step.step->outputs.size() == 1 && step.step->outputs[0] >= 0)
      producers[static_cast<size_t>(step.step->outputs[0])] = i;
  }
}

}  // namespace tenon::runtime
