#include "runtime/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "runtime/candidates.h"
#include "runtime/memory_plan.h"

namespace tenon::runtime {
namespace {

constexpr size_t kMaxPlans = 16;
constexpr int64_t kMaxIterations = 100'000'000;
// Results this small that depend on constants and shapes alone are computed while planning.
constexpr int64_t kPlanTimeBytes = 4096;

std::string place_of(const FileStep& step) {
  return fmt::format("node '{}' ({})", step.origins.empty() ? "" : step.origins[0],
                     step.op->def().name);
}

bool in_arena(const TensorType& type) {
  return !type.is_list && !type.is_none() && type.dtype != DType::string && type.shape.is_static();
}

}  // namespace

// The values of one run.
struct Executor::Execution {
  std::shared_ptr<Plan> plan;
  std::shared_ptr<std::byte> arena;
  std::vector<Tensor> values;
};

Executor::Executor(const FileGraph& graph, ThreadPool& pool) : graph_(graph), pool_(pool) {
  for (const FileStep& step : graph.steps) {
    regions_.emplace_back();
    for (const FileGraph& region : step.regions)
      regions_.back().push_back(std::make_unique<Executor>(region, pool));
  }
}

Executor::~Executor() = default;

Result<std::shared_ptr<Plan>> Executor::plan_for(std::span<const TensorType> inputs) {
  const std::lock_guard lock(mutex_);
  for (auto it = plans_.begin(); it != plans_.end(); ++it) {
    const TensorTypes& planned = (*it)->input_types;
    if (!std::equal(inputs.begin(), inputs.end(), planned.begin(), planned.end())) continue;
    if (it != plans_.begin()) plans_.splice(plans_.begin(), plans_, it);
    return plans_.front();
  }
  plans_.push_front(TRY(make_plan(inputs)));
  if (plans_.size() > kMaxPlans) plans_.pop_back();
  return plans_.front();
}

Result<std::shared_ptr<Plan>> Executor::make_plan(std::span<const TensorType> inputs) {
  auto plan = std::make_shared<Plan>();
  const size_t n = graph_.values.size();
  plan->known.resize(n);
  plan->storage.resize(n);
  plan->offsets.assign(n, -1);
  plan->steps.resize(graph_.steps.size());
  plan->input_types.assign(inputs.begin(), inputs.end());
  for (size_t i = 0; i < n; ++i) {
    plan->types.push_back(graph_.values[i].type);
    plan->storage[i] = static_cast<int>(i);
  }
  for (size_t i = 0; i < inputs.size(); ++i)
    if (!inputs[i].is_list) plan->types[static_cast<size_t>(graph_.inputs[i])] = inputs[i];
  for (const FileConstant& c : graph_.constants)
    plan->known[static_cast<size_t>(c.value)] = c.tensor;
  for (size_t s = 0; s < graph_.steps.size(); ++s)
    if (Status status = plan_step(*plan, s); !status.ok())
      return std::move(status).error().at(place_of(graph_.steps[s]));
  plan_arena(*plan);
  return plan;
}

PlanReport Executor::report(const Plan& plan) const {
  PlanReport report;
  report.arena_bytes = plan.arena_bytes;
  for (const FileConstant& c : graph_.constants)
    report.weight_bytes += static_cast<int64_t>(c.tensor.byte_size());
  for (size_t s = 0; s < graph_.steps.size(); ++s) {
    const FileStep& step = graph_.steps[s];
    StepReport row;
    row.op = step.op->def().name;
    row.kernel = plan.steps[s].kernel != nullptr ? plan.steps[s].kernel->name() : "reference";
    row.refusals = plan.steps[s].refusals;
    row.origins = step.origins;
    row.at_plan_time = plan.steps[s].skip;
    TensorTypes in;
    for (const int v : step.inputs)
      in.push_back(v < 0 ? TensorType{} : plan.types[static_cast<size_t>(v)]);
    for (const int v : step.outputs) row.outputs.push_back(plan.types[static_cast<size_t>(v)]);
    row.flops = step.op->flops(in, row.outputs);
    report.steps.push_back(std::move(row));
  }
  return report;
}

Result<PlanReport> Executor::explain(std::span<const TensorType> inputs) {
  return report(*TRY(plan_for(inputs)));
}

Status Executor::plan_step(Plan& plan, size_t index) const {
  const FileStep& step = graph_.steps[index];
  PlannedStep& planned = plan.steps[index];
  std::vector<OperandInfo> operands(step.inputs.size());
  std::vector<Tensor> values(step.inputs.size());
  std::vector<const Tensor*> constants(step.inputs.size());
  bool all_known = true, all_static = true;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (step.inputs[i] < 0) continue;
    const auto v = static_cast<size_t>(step.inputs[i]);
    operands[i].type = plan.types[v];
    all_static &= in_arena(plan.types[v]);
    if (plan.known[v].defined()) {
      values[i] = plan.known[v];
      constants[i] = operands[i].constant = &plan.known[v];
    } else {
      all_known = false;
    }
  }
  std::vector<TensorTypes> region_results;
  for (const FileGraph& region : step.regions) {
    TensorTypes types;
    for (const int v : region.outputs) types.push_back(region.values[static_cast<size_t>(v)].type);
    region_results.push_back(std::move(types));
  }
  const InferContext context(operands, region_results);
  const TensorTypes types = TRY(step.op->infer(context));
  if (types.size() < step.outputs.size()) return internal_error("fewer results than the file says");
  bool outputs_static = true;
  int64_t bytes = 0;
  std::vector<TensorType> out_types;
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    plan.types[static_cast<size_t>(step.outputs[i])] = types[i];
    out_types.push_back(types[i]);
    outputs_static &= in_arena(types[i]);
    bytes += types[i].byte_size().value_or(kPlanTimeBytes + 1);
  }
  const OpDef& def = step.op->def();
  if (all_known && outputs_static && bytes <= kPlanTimeBytes && def.has_eval && !def.has(kRandom)) {
    auto results = TRY(evaluate(*step.op, values, static_cast<int>(step.outputs.size())));
    for (size_t i = 0; i < step.outputs.size(); ++i)
      plan.known[static_cast<size_t>(step.outputs[i])] = results[i];
    planned.skip = true;
    return {};
  }
  // Shape arithmetic: the elements may be known though the operand's data is not.
  if (step.outputs.size() == 1 && outputs_static &&
      (out_types[0].dtype == DType::i32 || out_types[0].dtype == DType::i64)) {
    if (const auto ints = step.op->infer_ints(context)) {
      Tensor t = TRY(Tensor::allocate(out_types[0].dtype, out_types[0].shape.sizes()));
      bool known = t.elements() == static_cast<int64_t>(ints->size());
      for (size_t i = 0; i < ints->size() && known; ++i) {
        known = (*ints)[i].value.has_value();
        if (!known) break;
        if (t.dtype() == DType::i32)
          t.mutable_data<int32_t>()[i] = static_cast<int32_t>(*(*ints)[i].value);
        else
          t.mutable_data<int64_t>()[i] = *(*ints)[i].value;
      }
      if (known) {
        plan.known[static_cast<size_t>(step.outputs[0])] = t;
        planned.skip = true;
        return {};
      }
    }
  }
  if (!def.has_eval || !all_static || !outputs_static) {
    planned.dynamic = true;
    return {};
  }
  if (def.has(kView)) {
    plan.storage[static_cast<size_t>(step.outputs[0])] =
        plan.storage[static_cast<size_t>(step.inputs[0])];
    planned.skip = true;
    return {};
  }
  std::vector<TensorType> in_types;
  for (const OperandInfo& o : operands) in_types.push_back(o.type);
  const StepInfo info{step, in_types, out_types, constants, pool_.threads()};
  if (auto kernel = choose_kernel(info, &planned.refusals)) {
    plan.scratch_bytes = std::max(plan.scratch_bytes, kernel->scratch_bytes());
    plan.kernels.push_back(std::move(kernel));
    planned.kernel = plan.kernels.back().get();
  }
  return {};
}

void Executor::plan_arena(Plan& plan) const {
  const auto last = static_cast<int>(graph_.steps.size());
  std::vector<Lifetime> lifetimes;
  std::vector<int> buffer(graph_.values.size(), -1);
  const auto touch = [&](int value, int step) {
    if (value < 0) return;
    const int b = buffer[static_cast<size_t>(plan.storage[static_cast<size_t>(value)])];
    if (b >= 0) lifetimes[static_cast<size_t>(b)].last_step = step;
  };
  for (int s = 0; s < last; ++s) {
    const FileStep& step = graph_.steps[static_cast<size_t>(s)];
    const PlannedStep& planned = plan.steps[static_cast<size_t>(s)];
    for (const int v : step.inputs) touch(v, s);
    if (planned.skip || planned.dynamic) continue;
    for (const int v : step.outputs) {
      const auto u = static_cast<size_t>(v);
      buffer[u] = static_cast<int>(lifetimes.size());
      lifetimes.push_back({*plan.types[u].byte_size(), s, s});
    }
  }
  for (const int v : graph_.outputs) touch(v, last);
  const int scratch = static_cast<int>(lifetimes.size());
  lifetimes.push_back({plan.scratch_bytes, 0, last});
  plan.arena_bytes = plan_memory(lifetimes);
  for (size_t v = 0; v < buffer.size(); ++v)
    if (buffer[v] >= 0) plan.offsets[v] = lifetimes[static_cast<size_t>(buffer[v])].offset;
  plan.scratch_bytes = lifetimes[static_cast<size_t>(scratch)].offset;  // from here on: its place
}

Result<std::vector<Tensor>> Executor::run_regions(size_t index, std::span<const Tensor> inputs) {
  const FileStep& step = graph_.steps[index];
  const auto& regions = regions_[index];
  const std::string_view op = step.op->def().name;
  if (op == "while") {
    std::vector<Tensor> state(inputs.begin(), inputs.end());
    for (int64_t i = 0; i < kMaxIterations; ++i) {
      const auto cond = TRY(regions[0]->run(state, nullptr));
      if (cond[0].int_at(0) == 0) return state;
      state = TRY(regions[1]->run(state, nullptr));
    }
    return resource_exhausted("the loop did not end");
  }
  if (op == "fused") return regions[0]->run(inputs, nullptr);
  const auto branches = static_cast<int64_t>(regions.size());
  int64_t choice = inputs[0].int_at(0);
  if (op == "if") choice = choice != 0 ? 0 : 1;
  if (choice < 0 || choice >= branches) choice = branches - 1;
  return regions[static_cast<size_t>(choice)]->run(inputs.subspan(1), nullptr);
}

Status Executor::run_step(Execution& e, size_t index) {
  const FileStep& step = graph_.steps[index];
  const PlannedStep& planned = e.plan->steps[index];
  std::vector<Tensor> operands(step.inputs.size());
  for (size_t i = 0; i < operands.size(); ++i)
    if (step.inputs[i] >= 0) operands[i] = e.values[static_cast<size_t>(step.inputs[i])];
  if (planned.dynamic) {
    auto results = step.op->def().has_eval
                       ? TRY(evaluate(*step.op, operands, static_cast<int>(step.outputs.size())))
                       : TRY(run_regions(index, operands));
    for (size_t i = 0; i < step.outputs.size(); ++i)
      e.values[static_cast<size_t>(step.outputs[i])] = std::move(results[i]);
    return {};
  }
  std::vector<Tensor> outputs;
  for (const int v : step.outputs) {
    const auto u = static_cast<size_t>(v);
    const TensorType& type = e.plan->types[u];
    e.values[u] = Tensor::view(type.dtype, type.shape.sizes(), e.arena.get() + e.plan->offsets[u]);
    outputs.push_back(e.values[u]);
  }
  if (planned.kernel == nullptr) {
    EvalContext context(operands, outputs);
    return step.op->eval(context);
  }
  std::vector<const Tensor*> in;
  std::vector<Tensor*> out;
  for (const Tensor& t : operands) in.push_back(&t);
  for (Tensor& t : outputs) out.push_back(&t);
  planned.kernel->run(in, out, e.arena.get() + e.plan->scratch_bytes, pool_);
  return {};
}

Result<std::vector<Tensor>> Executor::run(std::span<const Tensor> inputs, PlanReport* profile) {
  Execution e;
  TensorTypes types;
  for (const Tensor& t : inputs) types.push_back(t.type());
  e.plan = TRY(plan_for(types));
  Plan& plan = *e.plan;
  {
    const std::lock_guard lock(plan.mutex);
    if (!plan.idle_arenas.empty()) {
      e.arena = std::move(plan.idle_arenas.back());
      plan.idle_arenas.pop_back();
    }
  }
  if (e.arena == nullptr) e.arena = allocate_aligned(static_cast<size_t>(plan.arena_bytes));
  if (e.arena == nullptr)
    return resource_exhausted(
        fmt::format("out of memory: the model needs {} bytes", plan.arena_bytes));
  e.values = plan.known;
  if (profile != nullptr) *profile = report(plan);
  for (size_t i = 0; i < inputs.size(); ++i)
    e.values[static_cast<size_t>(graph_.inputs[i])] = inputs[i];
  for (size_t s = 0; s < graph_.steps.size(); ++s) {
    const FileStep& step = graph_.steps[s];
    if (plan.steps[s].skip) {
      if (!step.outputs.empty() && step.op->def().has(kView)) {
        const auto out = static_cast<size_t>(step.outputs[0]);
        if (!plan.known[out].defined())
          e.values[out] =
              e.values[static_cast<size_t>(step.inputs[0])].reshaped(plan.types[out].shape.sizes());
      }
      continue;
    }
    const auto begin = std::chrono::steady_clock::now();
    if (Status status = run_step(e, s); !status.ok())
      return std::move(status).error().at(place_of(step));
    if (profile != nullptr)
      profile->steps[s].time_ns =
          std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count();
  }
  std::vector<Tensor> outputs;
  for (const int v : graph_.outputs) {
    const Tensor& t = e.values[static_cast<size_t>(v)];
    outputs.push_back(
        t.owner() == nullptr || plan.known[static_cast<size_t>(v)].defined() ? TRY(t.clone()) : t);
  }
  const std::lock_guard lock(plan.mutex);
  plan.idle_arenas.push_back(std::move(e.arena));
  return outputs;
}

}  // namespace tenon::runtime
