// Running one function of a model: its inputs checked, a plan found, its state brought along.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "device/plugin/plugin.h"
#include "runtime/execute.h"
#include "runtime/model.h"
#include "runtime/model_state.h"
#include "runtime/state.h"

namespace tenon::runtime {
namespace {

// A symbol has one size in all inputs of a call.
Status check_shape(const PortInfo& port, const TensorType& given,
                   std::map<std::string_view, std::pair<int64_t, std::string_view>>& symbols) {
  const auto wrong = [&](std::string why) {
    return invalid_argument(fmt::format(
        "input '{}' must be {} {}, got {} {}{}", port.name, dtype_long_name(port.type.dtype),
        port.type.shape.to_string(), dtype_long_name(given.dtype), given.shape.to_string(), why));
  };
  if (given.is_none())
    return port.type.is_none() ? Status()
                               : invalid_argument(fmt::format("input '{}' is missing", port.name));
  if (!is_compatible(port.type, given)) return wrong("");
  if (given.is_list || !port.type.shape.ranked()) return {};
  for (int i = 0; i < port.type.shape.rank(); ++i) {
    const Dim d = port.type.shape[i];
    if (!d.is_symbol()) continue;
    const int64_t size = given.shape[i].size();
    const auto [entry, added] = symbols.try_emplace(d.name(), size, port.name);
    if (!added && entry->second.first != size)
      return wrong(fmt::format("; '{}' is {} in input '{}'", d.name(), entry->second.first,
                               entry->second.second));
  }
  return {};
}

// `x` and `x:0` name the same tensor.
std::string_view bare(std::string_view name) {
  return name.ends_with(":0") ? name.substr(0, name.size() - 2) : name;
}

std::string names_of(std::span<const PortInfo> ports) {
  std::string names;
  for (const PortInfo& p : ports) names += (names.empty() ? "'" : ", '") + p.name + "'";
  return names.empty() ? "none" : names;
}

// Number, types and sizes of what a run is given.
Status check_inputs(const FunctionState& function, std::span<const TensorType> types) {
  if (types.size() != function.inputs.size())
    return invalid_argument(fmt::format(
        "function '{}' takes {} inputs ({}), {} were given", function.file->key,
        function.input_count(), names_of(std::span(function.inputs).first(function.input_count())),
        types.size() - std::min(types.size(), function.reads.size())));
  std::map<std::string_view, std::pair<int64_t, std::string_view>> symbols;
  for (size_t i = 0; i < types.size(); ++i) {
    if (!types[i].is_list && !types[i].is_none() && !types[i].shape.is_static())
      return invalid_argument(fmt::format("input '{}' needs known sizes, got {}",
                                          function.inputs[i].name, types[i].to_string()));
    TRY(check_shape(function.inputs[i], types[i], symbols));
  }
  return {};
}

Result<std::shared_ptr<Plan>> plan_for(ModelState& state, FunctionState& function,
                                       std::span<const TensorType> types) {
  TRY(check_inputs(function, types));
  return function.graph->plan(types, state.kernels());
}

// The cached plan for these tensors, or a new one.
Result<std::shared_ptr<Plan>> plan_of(ModelState& state, FunctionState& function,
                                      std::span<const Tensor> inputs) {
  if (auto plan = function.graph->find_plan(inputs)) return plan;
  TensorTypes types;
  for (const Tensor& t : inputs) types.push_back(t.type());
  return plan_for(state, function, types);
}

int64_t bytes_of(const TensorType& type) {
  return type.is_none() || type.is_list ? 0 : type.byte_size().value_or(0);
}

void fill_report(const ModelState& state, const FunctionState& function, const Plan& plan,
                 const std::vector<int64_t>& times, PlanReport& report) {
  report = {};
  report.arena_bytes = plan.arena_bytes;
  report.weight_bytes = function.weight_bytes;
  report.packed_bytes = state.packs.bytes();
  if (const PlanHead& head = plan.head; head.plan != nullptr) {
    report.part_steps = head.steps;
    report.parts = head.parts;
    report.arena_bytes += head.plan->arena_bytes * (head.side_by_side ? state.pool->threads() : 1);
  }
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const PlanStep& step = plan.step(i);
    StepReport& out = report.steps.emplace_back();
    out.op = step.step->op->def().name;
    out.kernel = step.choice.name;
    if (step.kind == StepKind::kView) out.kernel = "view";
    if (step.kind == StepKind::kNothing) out.kernel = "done while planning";
    if (step.kind == StepKind::kJoined) out.kernel = "with a later step";
    if (step.kind == StepKind::kDynamic) out.kernel = "chosen at run time";
    if (const auto* custom = step.step->op->as<Custom>()) {
      out.op = custom->op;
      out.kernel = custom->library;
    }
    out.refusals = step.choice.refusals;
    out.key = step.choice.key;
    for (const auto& m : step.choice.measured) out.measured.emplace_back(m.name, m.time_ns);
    out.origins = step.step->origins;
    out.at_plan_time = step.kind == StepKind::kNothing;
    TensorTypes inputs;
    const bool typed = step.kind == StepKind::kStatic || step.kind == StepKind::kJoined;
    const auto type_of = [&](int v) {
      return v < 0 ? TensorType() : plan.values[static_cast<size_t>(v)].type;
    };
    for (const int v : step.inputs()) out.bytes += bytes_of(type_of(v));
    for (const int v : step.step->inputs) inputs.push_back(type_of(v));
    for (const int v : step.step->outputs) out.outputs.push_back(type_of(v));
    for (const TensorType& t : out.outputs) out.bytes += bytes_of(t);
    if (typed) out.flops = step.step->op->flops(inputs, out.outputs);
    for (const size_t earlier : step.joined) {
      out.flops += report.steps[earlier].flops;
      report.steps[earlier].flops = report.steps[earlier].bytes = 0;
    }
    if (i < times.size()) out.time_ns = times[i];
  }
}

Status check_buffers(const FunctionState& function, const Plan& plan,
                     std::span<const Tensor> outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].defined()) continue;
    const TensorType& type = plan.values[static_cast<size_t>(function.file->graph.outputs[i])].type;
    if (!is_of_type(outputs[i], type))
      return invalid_argument(
          fmt::format("the buffer for output '{}' must be {} {}, got {} {}",
                      function.outputs[i].name, dtype_long_name(type.dtype), type.shape.to_string(),
                      dtype_long_name(outputs[i].dtype()), outputs[i].type().shape.to_string()));
  }
  return {};
}

}  // namespace

Function::Function(std::shared_ptr<ModelState> state, int index, std::shared_ptr<State> variables)
    : state_(std::move(state)),
      index_(index),
      variables_(std::move(variables)),
      switch_(std::make_shared<RunSwitch>()) {}

void Function::cancel() const {
  switch_->cancels.fetch_add(1, std::memory_order_relaxed);
}
void Function::set_interrupt_check(std::function<bool()> check) {
  switch_->interrupted = std::move(check);
}

FunctionState& Function::function() const {
  return state_->functions[static_cast<size_t>(index_)];
}
const std::string& Function::key() const {
  return function().file->key;
}
std::span<const PortInfo> Function::inputs() const {
  return std::span(function().inputs).first(function().input_count());
}
std::span<const PortInfo> Function::outputs() const {
  return std::span(function().outputs).first(function().output_count());
}

void Function::prepare() const {
  FunctionState& function = this->function();
  if (program_ != nullptr) return;
  TensorTypes types;
  for (const PortInfo& port : function.inputs) {
    types.push_back(port.type);
    if (port.type.is_none() || port.type.is_list) continue;
    if (!port.type.shape.ranked()) return;
    Shape& shape = types.back().shape;
    for (int i = 0; i < shape.rank(); ++i)
      if (!shape[i].known()) shape[i] = Dim(1);
  }
  const auto plan = plan_for(*state_, function, types);
  if (plan.ok()) (void)prepare_run(**plan, state_->packs, *state_->pool);
}

Result<std::vector<Tensor>> Function::run(std::span<const Tensor> inputs,
                                          std::span<const Tensor> outputs,
                                          PlanReport* profile) const {
  std::vector<Tensor> results(outputs.begin(), outputs.end());
  results.resize(this->outputs().size());
  TRY(run_into(inputs, results, profile));
  return results;
}

Status Function::run_into(std::span<const Tensor> inputs, std::span<Tensor> results,
                          PlanReport* profile) const {
  const FunctionState& function = this->function();
  if (results.size() != function.output_count())
    return invalid_argument(fmt::format("function '{}' has {} outputs, {} were given",
                                        function.file->key, function.output_count(),
                                        results.size()));
  if (program_ != nullptr) return run_on_device(inputs, results);
  if (!function.reads.empty()) return run_with_state(inputs, results, profile);
  const auto plan = TRY(plan_of(*state_, this->function(), inputs));
  return run_plan_into(*plan, inputs, results, profile);
}

Status Function::run_with_state(std::span<const Tensor> inputs, std::span<Tensor> results,
                                PlanReport* profile) const {
  FunctionState& function = this->function();
  State& state = *variables_;
  const std::lock_guard lock(state.mutex_);
  if (state.calls_.size() != state_->functions.size())
    state.calls_.resize(state_->functions.size());
  auto& [all_inputs, all_outputs] = state.calls_[static_cast<size_t>(index_)];
  all_inputs.resize(inputs.size() + function.reads.size());
  all_outputs.resize(function.outputs.size());
  std::copy(inputs.begin(), inputs.end(), all_inputs.begin());
  for (size_t i = 0; i < function.reads.size(); ++i)
    all_inputs[inputs.size() + i] = state.slots_[function.reads[i]].value;
  const auto plan = TRY(plan_of(*state_, function, all_inputs));
  std::copy(results.begin(), results.end(), all_outputs.begin());
  for (size_t i = 0; i < function.writes.size(); ++i) {
    const size_t at = results.size() + i;
    Tensor& spare = state.slots_[function.writes[i]].spare;
    const int v = function.file->graph.outputs[at];
    const TensorType& type = plan->values[static_cast<size_t>(v)].type;
    const bool fits =
        spare.defined() && !type.is_list && type.shape.is_static() && is_of_type(spare, type);
    all_outputs[at] = fits ? std::move(spare) : Tensor();
    spare = Tensor();
  }
  TRY(run_plan_into(*plan, all_inputs, all_outputs, profile));
  for (size_t i = 0; i < function.writes.size(); ++i) {
    Tensor& value = all_outputs[results.size() + i];
    const TensorType& type = state_->variables[function.writes[i]].type;
    if (!is_of_type(value, type))
      return invalid_argument(fmt::format("variable '{}' is {} and was assigned {}",
                                          state_->variables[function.writes[i]].name,
                                          type.to_string(), value.type().to_string()));
  }
  for (size_t i = 0; i < function.writes.size(); ++i) {
    State::Slot& slot = state.slots_[function.writes[i]];
    std::swap(slot.value, all_outputs[results.size() + i]);
    if (slot.is_owned) std::swap(slot.spare, all_outputs[results.size() + i]);
    slot.is_owned = true;
  }
  for (size_t i = 0; i < results.size(); ++i)
    if (!results[i].defined()) results[i] = all_outputs[i];
  // What callers gave is no longer held.
  for (auto* tensors : {&all_inputs, &all_outputs})
    for (Tensor& t : *tensors)
      if (!t.is_list()) t.rebind(nullptr, nullptr);
  return {};
}

Status Function::run_plan_into(Plan& plan, std::span<const Tensor> inputs,
                               std::span<Tensor> results, PlanReport* profile) const {
  const FunctionState& function = this->function();
  TRY(check_buffers(function, plan, results));
  std::vector<bool> given;  // only where some are not
  for (size_t i = 0; i < results.size(); ++i)
    if (!results[i].defined()) given.resize(results.size());
  for (size_t i = 0; i < given.size(); ++i) given[i] = results[i].defined();
  std::vector<int64_t> times(profile == nullptr ? 0 : plan.steps.size());
  RunControl control(*switch_, state_->max_loop_iterations);
  TRY(run_plan(plan, inputs, results, {*state_->pool, state_->kernels(), control},
               profile == nullptr ? nullptr : times.data()));
  // What callers get is theirs: no part of the inputs, the model or another output.
  for (size_t i = 0; i < given.size(); ++i) {
    if (given[i]) continue;
    int v = function.file->graph.outputs[i];
    if (plan.values[static_cast<size_t>(v)].place == Place::kView)
      v = plan.values[static_cast<size_t>(v)].source;
    const Place place = plan.values[static_cast<size_t>(v)].place;
    bool shared = place == Place::kInput || place == Place::kKnown || place == Place::kHeap;
    for (size_t j = 0; j < results.size(); ++j)
      shared |= j != i && (j < i || given[j]) && !results[j].is_list() &&
                results[j].raw() == results[i].raw();
    if (shared && results[i].defined() && !results[i].is_list())
      results[i] = TRY(results[i].clone());
  }
  if (profile != nullptr) fill_report(*state_, function, plan, times, *profile);
  return {};
}

const std::string& Function::device() const {
  static const std::string kCpu = "cpu";
  return program_ == nullptr ? kCpu : program_->device().name;
}
Result<std::vector<device::Counter>> Function::counters() const {
  if (program_ == nullptr) return std::vector<device::Counter>();
  return program_->counters();
}
std::vector<std::string> Function::notices() const {
  return program_ == nullptr ? std::vector<std::string>() : program_->notices();
}

Status Function::run_on_device(std::span<const Tensor> inputs, std::span<Tensor> results) const {
  const FunctionState& function = this->function();
  State& state = *variables_;
  std::unique_lock lock(state.mutex_, std::defer_lock);
  if (!function.reads.empty()) lock.lock();
  std::vector<Tensor> all(inputs.begin(), inputs.end());
  for (const size_t variable : function.reads) all.push_back(state.slots_[variable].value);
  TensorTypes types;
  for (const Tensor& t : all) types.push_back(t.type());
  TRY(check_inputs(function, types));
  RunControl control(*switch_, state_->max_loop_iterations);
  std::vector<Tensor> given = TRY(program_->run(all, [&control] { return !control.check().ok(); }));
  if (given.size() != function.outputs.size())
    return internal_error(fmt::format("device '{}' gave {} results of {}", device(), given.size(),
                                      function.outputs.size()));
  for (size_t i = 0; i < given.size(); ++i) {
    if (!is_compatible(function.outputs[i].type, given[i].type()))
      return internal_error(fmt::format(
          "device '{}' gave {} for output '{}', which is {}", device(), given[i].type().to_string(),
          function.outputs[i].name, function.outputs[i].type.to_string()));
    if (i >= results.size() || !results[i].defined()) continue;
    if (results[i].type() != given[i].type())
      return invalid_argument(fmt::format("the buffer for output '{}' must be {}, got {}",
                                          function.outputs[i].name, given[i].type().to_string(),
                                          results[i].type().to_string()));
    if (given[i].dtype() == DType::string)
      std::ranges::copy(given[i].span<std::string>(), results[i].mutable_data<std::string>());
    else if (given[i].byte_size() > 0)
      std::memcpy(results[i].mutable_raw(), given[i].raw(), given[i].byte_size());
  }
  for (size_t i = 0; i < function.writes.size(); ++i)
    state.slots_[function.writes[i]] = {std::move(given[results.size() + i]), {}, true};
  for (size_t i = 0; i < results.size(); ++i)
    if (!results[i].defined()) results[i] = std::move(given[i]);
  return {};
}

Result<std::map<std::string, Tensor>> Function::run(const std::map<std::string, Tensor>& inputs,
                                                    const RunOptions& options) const {
  const auto in = this->inputs(), out = this->outputs();
  std::vector<Tensor> operands, buffers;
  for (const PortInfo& p : in) {
    if (p.type.is_none()) {
      operands.emplace_back();
      continue;
    }
    const auto found = std::find_if(inputs.begin(), inputs.end(), [&](const auto& given) {
      return bare(given.first) == bare(p.name);
    });
    if (found == inputs.end())
      return invalid_argument(fmt::format("input '{}' ({} {}) is missing; function '{}' takes: {}",
                                          p.name, dtype_long_name(p.type.dtype),
                                          p.type.shape.to_string(), key(), names_of(in)));
    operands.push_back(found->second);
  }
  for (const auto& [name, tensor] : inputs)
    if (std::none_of(in.begin(), in.end(),
                     [&, &n = name](const PortInfo& p) { return bare(p.name) == bare(n); }))
      return invalid_argument(fmt::format("there is no input '{}'; function '{}' takes: {}", name,
                                          key(), names_of(in)));
  if (options.outputs != nullptr) {
    for (const auto& [name, tensor] : *options.outputs)
      if (std::none_of(out.begin(), out.end(),
                       [&, &n = name](const PortInfo& p) { return p.name == n; }))
        return invalid_argument(fmt::format("there is no output '{}'; function '{}' gives: {}",
                                            name, key(), names_of(out)));
    for (const PortInfo& p : out) {
      const auto found = options.outputs->find(p.name);
      buffers.push_back(found == options.outputs->end() ? Tensor() : found->second);
    }
  }
  auto results = TRY(run(operands, buffers, options.profile));
  std::map<std::string, Tensor> named;
  for (size_t i = 0; i < out.size(); ++i) named[out[i].name] = std::move(results[i]);
  return named;
}

Result<PlanReport> Function::explain(std::span<const TensorType> inputs) const {
  FunctionState& function = this->function();
  TensorTypes types(inputs.begin(), inputs.end());
  const TensorTypes state = variables_->types();
  for (const size_t variable : function.reads) types.push_back(state[variable]);
  const auto plan = TRY(plan_for(*state_, function, types));
  PlanReport report;
  fill_report(*state_, function, *plan, {}, report);
  return report;
}

}  // namespace tenon::runtime
