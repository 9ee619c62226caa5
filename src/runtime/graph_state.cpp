// The plans of a graph that are kept, and the memory that each keeps for its next run.
#include <fmt/format.h>

#include <algorithm>

#include "runtime/execute.h"
#include "runtime/loop.h"
#include "runtime/plan.h"

namespace tenon::runtime {

Plan::Plan() = default;
Plan::~Plan() = default;

std::unique_ptr<Execution> Plan::take_execution() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return nullptr;
  auto execution = std::move(idle_.back());
  idle_.pop_back();
  return execution;
}

void Plan::give_back(std::unique_ptr<Execution> execution) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(execution));
}

int64_t Plan::idle_bytes() {
  const std::lock_guard lock(mutex_);
  return arena_bytes * static_cast<int64_t>(idle_.size()) +
         (head.plan == nullptr ? 0 : head.plan->idle_bytes());
}

void Plan::drop_idle() {
  if (head.plan != nullptr) head.plan->drop_idle();
  const std::lock_guard lock(mutex_);
  idle_.clear();
}

bool is_of_type(const Tensor& value, const TensorType& type) {
  if (value.is_list() || type.is_list) return is_compatible(type, value.type());
  if (value.dtype() != type.dtype) return false;
  if (!type.shape.ranked()) return true;
  if (value.rank() != type.shape.rank()) return false;
  for (int i = 0; i < value.rank(); ++i)
    if (type.shape[i].known() && type.shape[i].size() != value.dim(i)) return false;
  return true;
}

template <typename Fits>
std::shared_ptr<Plan> GraphState::find(Fits&& fits) {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < plans_.size(); ++i)
    if (fits(plans_[i].key)) {
      std::rotate(plans_.begin(), plans_.begin() + static_cast<ptrdiff_t>(i),
                  plans_.begin() + static_cast<ptrdiff_t>(i) + 1);
      return plans_[0].plan;
    }
  return nullptr;
}

std::shared_ptr<Plan> GraphState::find_plan(std::span<const Tensor> inputs) {
  return find([&](const TensorTypes& key) {
    if (key.size() != inputs.size()) return false;
    for (size_t i = 0; i < key.size(); ++i) {
      // A list's type may be vaguer than the plan was made for.
      if (key[i].is_list ? inputs[i].type() != key[i] : !is_of_type(inputs[i], key[i]))
        return false;
    }
    return true;
  });
}

Result<std::shared_ptr<Plan>> GraphState::plan(std::span<const TensorType> inputs,
                                               const cpu::KernelSettings& settings) {
  if (inputs.size() != file->inputs.size())
    return invalid_model(fmt::format("sub-graph '{}' takes {} values, {} are given", file->name,
                                     file->inputs.size(), inputs.size()));
  if (auto known = find([&](const TensorTypes& key) {
        return std::equal(inputs.begin(), inputs.end(), key.begin(), key.end());
      }))
    return known;
  // Outside the lock: two callers may plan the same; either plan is good.
  auto plan = TRY(make_plan(*this, inputs, settings));
  const std::lock_guard lock(mutex_);
  ++plans_made_;
  plans_.insert(plans_.begin(), {TensorTypes(inputs.begin(), inputs.end()), plan});
  if (plans_.size() > kMaxPlans) plans_.pop_back();
  int64_t idle = plan->arena_bytes;
  for (size_t i = 1; i < plans_.size(); ++i) {
    idle += plans_[i].plan->idle_bytes();
    if (idle > kMaxIdleBytes) plans_[i].plan->drop_idle();
  }
  return plan;
}

int64_t GraphState::plans_made() {
  int64_t made = 0;
  for (const auto& step : regions)
    for (const auto& region : step) made += region->plans_made();
  const std::lock_guard lock(mutex_);
  return made + plans_made_;
}

Result<std::unique_ptr<GraphState>> prepare(const FileGraph& graph) {
  auto state = std::make_unique<GraphState>();
  state->file = &graph;
  for (const FileStep& step : graph.steps) {
    const OpDef& def = step.op->def();
    if (!def.outputs.accepts(static_cast<int>(step.outputs.size())) ||
        (def.regions != kVariadic && static_cast<size_t>(def.regions) != step.regions.size()) ||
        (!def.has_eval && step.regions.empty()))
      return Error(Code::invalid_model,
                   fmt::format("a step of op '{}' has {} outputs and {} sub-graphs", def.name,
                               step.outputs.size(), step.regions.size()))
          .at(step_place(step));
    auto& regions = state->regions.emplace_back();
    for (const FileGraph& region : step.regions) regions.push_back(TRY(prepare(region)));
    if (def.name == "while" && regions.size() == 2)
      regions[1]->in_place = lists_in_place(step.regions[1]);
  }
  return state;
}

}  // namespace tenon::runtime
