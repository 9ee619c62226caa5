#include "runtime/execute.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "ops/list.h"
#include "runtime/foresee.h"
#include "runtime/loop.h"

namespace tenon::runtime {
namespace {

const Tensor kAbsentTensor;

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Nothing that outlives its step may point into the arena: such views have no owner.
Status own(Tensor& t) {
  if (!t.defined()) return {};
  if (!t.is_list()) {
    if (t.owner() == nullptr) t = TRY(t.clone());
    return {};
  }
  bool borrowed = false;
  for (const Tensor& item : t.items()) borrowed |= item.is_list() || item.owner() == nullptr;
  if (!borrowed) return {};
  std::vector<Tensor> items = t.items();
  for (Tensor& item : items) TRY(own(item));
  t = Tensor::list(t.dtype(), std::move(items));
  return {};
}

class Runner {
 public:
  Runner(Plan& plan, Execution& execution, const Machine& machine)
      : plan_(plan), file_(*plan.graph->file), execution_(execution), machine_(machine) {}

  Status run(std::span<const Tensor> inputs, std::span<Tensor> outputs, int64_t* times_ns) {
    for (size_t i = 0; i < inputs.size(); ++i) bind(file_.inputs[i], inputs[i]);
    TRY(place_outputs(outputs));
    if (plan_.head.plan != nullptr) TRY(run_head(times_ns));
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      if (i < plan_.head.steps && plan_.steps[i].kind == StepKind::kNothing) continue;
      TRY(machine_.control.check());
      const int64_t start = times_ns == nullptr ? 0 : now_ns();
      Status status = run_step(i);
      if (!status.ok()) return std::move(status).error().at(step_place(file_.steps[i]));
      if (times_ns != nullptr) times_ns[i] = now_ns() - start;
    }
    return collect(outputs);
  }

 private:
  Tensor& value(int i) { return execution_.values[static_cast<size_t>(i)]; }
  const PlanValue& planned(int i) const { return plan_.values[static_cast<size_t>(i)]; }

  // A value of known type has its dims for good; only the memory changes.
  void bind(int v, const Tensor& t) {
    if (value(v).defined())
      value(v).rebind(t.raw(), t.owner());
    else
      value(v) = t;
  }

  Status place_outputs(std::span<Tensor> outputs) {
    for (size_t i = 0; i < outputs.size(); ++i) {
      int v = plan_.outputs[i];
      if (planned(v).place == Place::kView) v = planned(v).source;
      if (planned(v).place != Place::kOutput || value(v).raw() != nullptr) continue;
      if (outputs[i].defined())
        bind(v, outputs[i]);
      else
        value(v) = TRY(Tensor::allocate(value(v).dtype(), value(v).dims()));
    }
    return {};
  }

  Status collect(std::span<Tensor> outputs) {
    for (size_t i = 0; i < outputs.size(); ++i) {
      const Tensor& t = value(plan_.outputs[i]);
      Tensor& out = outputs[i];
      if (!out.defined()) {
        out = t;
      } else if (out.raw() != t.raw()) {
        if (out.dtype() != t.dtype() || out.dims() != t.dims() || t.is_list())
          return invalid_argument(fmt::format("output {} is {}, the buffer given for it {}", i,
                                              t.type().to_string(), out.type().to_string()));
        if (t.dtype() == DType::string)
          std::copy_n(t.data<std::string>(), t.elements(), out.mutable_data<std::string>());
        else if (t.byte_size() > 0)
          std::memcpy(out.mutable_raw(), t.raw(), t.byte_size());
      }
    }
    return {};
  }

  // Points a part's tensors at its rows.
  void bind_part(size_t part) {
    const PlanHead& head = plan_.head;
    const auto rows_of = [&](const Tensor& whole, Tensor& rows) {
      const auto* first = static_cast<const std::byte*>(whole.raw());
      rows.rebind(first + part * rows.byte_size(), nullptr);
    };
    std::vector<Tensor>& inputs = execution_.part_inputs[part];
    for (size_t i = 0; i < inputs.size(); ++i)
      if (head.splits[i])
        rows_of(value(file_.inputs[i]), inputs[i]);
      else
        inputs[i] = value(file_.inputs[i]);
    std::vector<Tensor>& outputs = execution_.part_outputs[part];
    for (size_t i = 0; i < outputs.size(); ++i) rows_of(value(head.plan->outputs[i]), outputs[i]);
  }

  Status run_head(int64_t* times_ns) {
    static ThreadPool alone(1);
    const PlanHead& head = plan_.head;
    cpu::KernelSettings kernels = machine_.kernels;
    if (head.side_by_side) kernels.threads = 1;
    ThreadPool& pool = head.side_by_side ? alone : machine_.pool;
    const auto run_part = [&](int64_t p, RunControl& control, int64_t* times) -> Status {
      const auto part = static_cast<size_t>(p);
      bind_part(part);
      return run_plan(*head.plan, execution_.part_inputs[part], execution_.part_outputs[part],
                      {pool, kernels, control}, times);
    };
    if (!head.side_by_side || times_ns != nullptr) {
      std::vector<int64_t> times(times_ns == nullptr ? 0 : head.steps);
      for (int64_t p = 0; p < head.parts; ++p) {
        TRY(run_part(p, machine_.control, times_ns == nullptr ? nullptr : times.data()));
        for (size_t i = 0; i < times.size(); ++i) times_ns[i] += times[i];
      }
      return {};
    }
    std::atomic<bool> failed = false;
    Status failure;
    machine_.pool.parallel_for(head.parts, [&](int64_t p, int thread) {
      if (failed.load(std::memory_order_relaxed)) return;
      RunControl beside = machine_.control.beside();
      Status status = run_part(p, thread == 0 ? machine_.control : beside, nullptr);
      if (!status.ok() && !failed.exchange(true)) failure = std::move(status);
    });
    return failure;
  }

  Status run_step(size_t index) {
    const PlanStep& step = plan_.steps[index];
    switch (step.kind) {
      case StepKind::kNothing:
      case StepKind::kJoined:
        return {};
      case StepKind::kView:
        bind(step.step->outputs[0], value(step.step->inputs[0]));
        return {};
      case StepKind::kStatic:
        return run_static(index, step);
      case StepKind::kDynamic:
        return run_dynamic(index, *step.step);
      case StepKind::kRegions:
        return run_fused_or_regions(index, *step.step);
    }
    return {};
  }

  std::vector<Tensor> operands_of(const FileStep& step) {
    std::vector<Tensor> operands;
    operands.reserve(step.inputs.size());
    for (const int v : step.inputs) operands.push_back(v < 0 ? Tensor() : value(v));
    return operands;
  }

  Status run_static(size_t index, const PlanStep& step) {
    if (step.choice.kernel != nullptr) {
      void* scratch = execution_.arena.get() + plan_.scratch_offset;
      return step.choice.kernel->run(
          {execution_.operands[index], execution_.results[index], machine_.pool, scratch});
    }
    const std::vector<Tensor> operands = operands_of(*step.step);
    std::vector<Tensor> results;
    for (const int v : step.step->outputs) results.push_back(value(v));
    EvalContext context(operands, results);
    TRY(step.step->op->eval(context));
    for (size_t i = 0; i < results.size(); ++i) {
      Tensor& planned_result = value(step.step->outputs[i]);
      const Tensor& t = results[i];
      if (t.raw() == planned_result.raw() || !planned_result.defined()) continue;
      if (t.dtype() != planned_result.dtype() || t.dims() != planned_result.dims())
        return internal_error("the result has another type than was inferred");
      if (t.byte_size() > 0) std::memcpy(planned_result.mutable_raw(), t.raw(), t.byte_size());
    }
    return {};
  }

  Status run_dynamic(size_t index, const FileStep& step) {
    if (TRY(run_on_list(index, step))) return {};
    TRY(run_with_kernel(index, step));
    if (value_done_) return {};
    auto results =
        TRY(evaluate(*step.op, operands_of(step), static_cast<int>(step.outputs.size())));
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      TRY(own(results[i]));
      value(step.outputs[i]) = std::move(results[i]);
    }
    return {};
  }

  // What loops do with their lists, without looking through all items for their type: true where it
  // is done.
  Result<bool> run_on_list(size_t index, const FileStep& step) {
    const std::vector<bool>& in_place = plan_.graph->in_place.steps;
    const bool changes = index < in_place.size() && in_place[index];
    if (!changes && step.op->def().name != ListGet::name) return false;
    const Tensor& list = value(step.inputs[0]);
    const Tensor& second = value(step.inputs[1]);
    const Tensor& item = value(step.inputs.back());
    const bool is_index = is_int(second.dtype()) && second.elements() == 1;
    if (!list.is_list() || (!is_index && step.op->def().name != ListPush::name)) return false;
    Tensor result;
    if (changes) {
      if (item.is_list() || item.dtype() != list.dtype()) return false;
      result = TRY(change_list(step, list, item, second));
    } else {
      const Tensor operands[] = {list, second};
      EvalContext context(operands, std::span(&result, 1));
      TRY(step.op->eval(context));
      TRY(own(result));
      if (!is_of_type(result, planned(step.outputs[0]).type)) return false;
    }
    value(step.outputs[0]) = std::move(result);
    return true;
  }

  Status run_fused_or_regions(size_t index, const FileStep& step) {
    if (step.op->def().name == "fused") {
      TRY(run_with_kernel(index, step));
      if (value_done_) return {};
    }
    return run_regions(index, step);
  }

  // A fast kernel for the types found at run time, where there is one.
  Status run_with_kernel(size_t index, const FileStep& step) {
    value_done_ = false;
    const std::vector<const Tensor*>& operands = execution_.operands[index];
    std::vector<OperandInfo> infos(operands.size());
    std::vector<const Tensor*> constants(operands.size());
    for (size_t i = 0; i < operands.size(); ++i) {
      const Tensor& t = *operands[i];
      if (t.is_list() || t.dtype() == DType::string) return {};
      infos[i] = {t.type(), t.defined() ? &t : nullptr, nullptr};
      const int v = step.inputs[i];
      // Indices are as good as constant: the kernel is made for this run only.
      const bool indices = t.dtype() == DType::i32 || t.dtype() == DType::i64;
      const bool known = v >= 0 && planned(v).place == Place::kKnown;
      if (known || indices) constants[i] = &t;
    }
    TensorTypes results = TRY(infer_step(step, infos));
    results.resize(std::max(results.size(), step.outputs.size()));
    for (size_t i = 0; i < step.outputs.size(); ++i)
      if (results[i].is_list || (!results[i].is_none() && !results[i].shape.is_static())) return {};
    TensorTypes types(operands.size());
    for (size_t i = 0; i < types.size(); ++i) types[i] = std::move(infos[i].type);
    const cpu::Region region = step.regions.empty() ? cpu::Region() : region_of(step);
    const cpu::KernelChoice choice = cpu::choose_kernel(
        {*step.op, types, results, constants, machine_.kernels.packs, machine_.kernels.threads,
         step.regions.empty() ? nullptr : &region, machine_.kernels.tuning});
    if (choice.kernel == nullptr) return {};
    machine_.kernels.packs.fill_pending(machine_.pool);
    for (size_t i = 0; i < step.outputs.size(); ++i)
      if (!results[i].is_none())
        value(step.outputs[i]) = TRY(Tensor::allocate(results[i].dtype, results[i].shape.sizes()));
    const auto scratch = static_cast<size_t>(choice.kernel->scratch_bytes());
    const auto room = scratch > 0 ? allocate_aligned(scratch) : nullptr;
    TRY(choice.kernel->run({operands, execution_.results[index], machine_.pool, room.get()}));
    value_done_ = true;
    return {};
  }

  Result<std::vector<Tensor>> run_region(size_t index, size_t region,
                                         std::span<const Tensor> inputs) {
    GraphState& graph = *plan_.graph->regions[index][region];
    auto plan = graph.find_plan(inputs);
    if (plan == nullptr) {
      TensorTypes types;
      for (const Tensor& t : inputs) types.push_back(t.type());
      plan = TRY(graph.plan(types, machine_.kernels));
    }
    std::vector<Tensor> outputs(graph.file->outputs.size());
    TRY(run_plan(*plan, inputs, outputs, machine_));
    return outputs;
  }

  Result<std::vector<Tensor>> choose_and_run(size_t index, const FileStep& step,
                                             std::span<const Tensor> inputs) {
    const std::string_view name = step.op->def().name;
    if (name == "fused") return run_region(index, 0, inputs);
    if (name == "while") {
      if (step.regions.size() != 2) return invalid_model("a loop needs a condition and a body");
      const auto& regions = plan_.graph->regions[index];
      return run_loop(*regions[0], *regions[1], {inputs.begin(), inputs.end()}, machine_);
    }
    if (inputs.empty() || inputs[0].is_list() || inputs[0].elements() < 1)
      return invalid_model("a branch needs a scalar to choose by");
    return run_region(index, branch_taken(step, inputs[0].int_at(0)), inputs.subspan(1));
  }

  Status run_regions(size_t index, const FileStep& step) {
    auto results = TRY(choose_and_run(index, step, operands_of(step)));
    if (results.size() < step.outputs.size())
      return invalid_model(fmt::format("the sub-graph gives {} values, {} are needed",
                                       results.size(), step.outputs.size()));
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      TRY(own(results[i]));
      const TensorType& type = planned(step.outputs[i]).type;
      if (!is_of_type(results[i], type))
        return invalid_model(fmt::format("the sub-graph gives {} where {} was expected",
                                         results[i].type().to_string(), type.to_string()));
      value(step.outputs[i]) = std::move(results[i]);
    }
    return {};
  }

  Plan& plan_;
  const FileGraph& file_;
  Execution& execution_;
  const Machine& machine_;
  bool value_done_ = false;
};

// Whether the value is bound to memory for each run, but always under the same dims.
bool has_dims_for_good(const PlanValue& v) {
  return (v.place == Place::kInput || v.place == Place::kOutput || v.place == Place::kView) &&
         !v.type.is_list && v.type.shape.is_static();
}

Result<std::unique_ptr<Execution>> make_execution(const Plan& plan) {
  auto execution = std::make_unique<Execution>();
  execution->arena = allocate_aligned(static_cast<size_t>(plan.arena_bytes));
  if (execution->arena == nullptr)
    return resource_exhausted(
        fmt::format("out of memory allocating {} bytes of activations", plan.arena_bytes));
  auto& values = execution->values;
  values.resize(plan.values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const PlanValue& v = plan.values[i];
    if (v.place == Place::kKnown) values[i] = v.known;
    if (has_dims_for_good(v)) values[i] = Tensor::view(v.type.dtype, v.type.shape.sizes(), nullptr);
    if (v.place == Place::kArena)
      values[i] =
          Tensor::view(v.type.dtype, v.type.shape.sizes(), execution->arena.get() + v.offset);
  }
  const PlanHead& head = plan.head;
  for (int64_t p = 0; p < head.parts; ++p) {
    auto& inputs = execution->part_inputs.emplace_back();
    for (size_t i = 0; i < head.splits.size(); ++i) {
      const PlanValue& v = head.plan->values[static_cast<size_t>(plan.graph->file->inputs[i])];
      inputs.push_back(head.splits[i] ? Tensor::view(v.type.dtype, v.type.shape.sizes(), nullptr)
                                      : Tensor());
    }
    auto& outputs = execution->part_outputs.emplace_back();
    for (const int o : head.plan->outputs) {
      const TensorType& type = head.plan->values[static_cast<size_t>(o)].type;
      outputs.push_back(Tensor::view(type.dtype, type.shape.sizes(), nullptr));
    }
  }
  for (const PlanStep& step : plan.steps) {
    auto& operands = execution->operands.emplace_back();
    auto& results = execution->results.emplace_back();
    for (const int v : step.inputs())
      operands.push_back(v < 0 ? &kAbsentTensor : &values[static_cast<size_t>(v)]);
    for (const int v : step.step->outputs) results.push_back(&values[static_cast<size_t>(v)]);
  }
  return execution;
}

// The system clears the pages now instead of at their first use.
void touch_pages(std::byte* first, size_t size) {
  constexpr size_t kPage = 4096;
  for (size_t at = 0; at < size; at += kPage) first[at] = std::byte{};
}

}  // namespace

Error RunControl::cancelled() {
  return {Code::cancelled, "the run was cancelled"};
}

Status RunControl::ask() {
  constexpr auto kInterval = std::chrono::milliseconds(20);
  constexpr auto kShort = std::chrono::milliseconds(1);
  constexpr int kMostChecks = 8;
  const auto now = std::chrono::steady_clock::now();
  // Of short steps several go by between two looks at the clock, which takes as long as some do.
  checks_between_looks_ =
      now - last_look_ < kShort ? std::min(2 * checks_between_looks_, kMostChecks) : 1;
  checks_to_look_ = checks_between_looks_;
  last_look_ = now;
  if (now < next_question_) return {};
  // A run that is short asks nothing.
  const bool is_first = next_question_ == std::chrono::steady_clock::time_point();
  next_question_ = now + kInterval;
  if (is_first) return {};
  return switch_.interrupted() ? cancelled() : Status();
}

Status prepare_run(Plan& plan, cpu::PackStore& packs, ThreadPool& pool) {
  packs.fill_pending(pool);
  // One is enough, however many handles are made ready.
  auto execution = plan.take_execution();
  if (execution == nullptr) {
    execution = TRY(make_execution(plan));
    touch_pages(execution->arena.get(), static_cast<size_t>(plan.arena_bytes));
  }
  plan.give_back(std::move(execution));
  return {};
}

Status run_plan(Plan& plan, std::span<const Tensor> inputs, std::span<Tensor> outputs,
                const Machine& machine, int64_t* times_ns) {
  machine.kernels.packs.fill_pending(machine.pool);
  auto execution = plan.take_execution();
  if (execution == nullptr) execution = TRY(make_execution(plan));
  TRY(Runner(plan, *execution, machine).run(inputs, outputs, times_ns));
  for (const int v : plan.transient) {
    Tensor& t = execution->values[static_cast<size_t>(v)];
    if (has_dims_for_good(plan.values[static_cast<size_t>(v)]))
      t.rebind(nullptr, nullptr);
    else
      t = Tensor();
  }
  plan.give_back(std::move(execution));
  return {};
}

}  // namespace tenon::runtime
