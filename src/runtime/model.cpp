#include "runtime/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>
#include <thread>

#include "format/model_file.h"
#include "runtime/execute.h"
#include "runtime/state.h"

namespace tenon::runtime {

struct FunctionState {
  const FileFunction* file = nullptr;
  std::unique_ptr<GraphState> graph;
  std::vector<PortInfo> inputs, outputs;  // with those of variables, behind the others
  std::vector<size_t> reads;              // the variable of each input behind the others
  std::vector<size_t> writes;             // and of each output
  int64_t weight_bytes = 0;

  size_t input_count() const { return inputs.size() - reads.size(); }
  size_t output_count() const { return outputs.size() - writes.size(); }
};

struct ModelState {
  FileModel file;
  std::vector<FunctionState> functions;
  std::vector<PortInfo> variables;
  std::vector<Tensor> initial;
  cpu::PackStore packs;
  std::unique_ptr<ThreadPool> pool;
  int64_t max_loop_iterations = 0;
};

namespace {

void add_weights(const FileGraph& graph, std::set<const void*>& seen, int64_t& bytes) {
  for (const FileConstant& c : graph.constants)
    if (seen.insert(c.tensor.raw()).second) bytes += static_cast<int64_t>(c.tensor.byte_size());
  for (const FileStep& step : graph.steps)
    for (const FileGraph& region : step.regions) add_weights(region, seen, bytes);
}

// Gives the variables of a function their places among those of the model.
Status add_variables(ModelState& model, FunctionState& function) {
  const FileFunction& f = *function.file;
  for (size_t i = 0; i < f.state.size(); ++i) {
    const FileState& variable = f.state[i];
    const int v = f.graph.inputs[f.input_names.size() + i];
    const TensorType& type = f.graph.values[static_cast<size_t>(v)].type;
    size_t at = 0;
    while (at < model.variables.size() && model.variables[at].name != variable.name) ++at;
    if (at == model.variables.size()) {
      model.variables.push_back({variable.name, type});
      model.initial.push_back(variable.initial);
    } else if (model.variables[at].type != type ||
               !bitwise_equal(model.initial[at], variable.initial)) {
      return invalid_model(fmt::format(
          "the functions of the file differ in state variable '{}'; compile the model again",
          variable.name));
    }
    function.reads.push_back(at);
    function.inputs.push_back({variable.name, type});
    if (!variable.is_written) continue;
    function.writes.push_back(at);
    const int out = f.graph.outputs[f.output_names.size() + function.writes.size() - 1];
    function.outputs.push_back({variable.name, f.graph.values[static_cast<size_t>(out)].type});
  }
  return {};
}

// What the caller says, or else the compiler's note, or else the default.
Result<int64_t> loop_limit(const FileModel& file, const LoadOptions& options) {
  if (options.max_loop_iterations < 0)
    return invalid_argument(fmt::format(
        "a loop cannot be ended after {} iterations; give 1 or more", options.max_loop_iterations));
  if (options.max_loop_iterations > 0) return options.max_loop_iterations;
  for (const auto& [key, value] : file.notes)
    if (key == kMaxLoopIterationsNote) {
      const int64_t limit = std::strtoll(value.c_str(), nullptr, 10);
      if (limit > 0) return limit;
    }
  return RunControl::kDefaultMaxLoopIterations;
}

Result<std::shared_ptr<ModelState>> make_state(FileModel file, const LoadOptions& options) {
  if (file.functions.empty())
    return invalid_model("the model has no functions; compile it again and name a signature");
  if (options.threads < 0 || options.threads > 1024)
    return invalid_argument(
        fmt::format("{} threads were asked for; give 0 (one per core) to 1024", options.threads));
  TRY(bind_custom_ops(file, options.custom_ops));
  auto state = std::make_shared<ModelState>();
  state->file = std::move(file);
  state->max_loop_iterations = TRY(loop_limit(state->file, options));
  for (const FileFunction& f : state->file.functions) {
    FunctionState& function = state->functions.emplace_back();
    function.file = &f;
    auto graph = prepare(f.graph);
    if (!graph.ok())
      return std::move(graph).error().note(fmt::format("while loading function '{}'", f.key));
    function.graph = std::move(*graph);
    const auto port = [&](const std::string& name, int v) {
      return PortInfo{name, f.graph.values[static_cast<size_t>(v)].type};
    };
    for (size_t i = 0; i < f.input_names.size(); ++i)
      function.inputs.push_back(port(f.input_names[i], f.graph.inputs[i]));
    for (size_t i = 0; i < f.output_names.size(); ++i)
      function.outputs.push_back(port(f.output_names[i], f.graph.outputs[i]));
    TRY(add_variables(*state, function));
    std::set<const void*> seen;
    add_weights(f.graph, seen, function.weight_bytes);
  }
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  state->pool = std::make_unique<ThreadPool>(options.threads == 0 ? cores : options.threads);
  return state;
}

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

Result<std::shared_ptr<Plan>> plan_for(ModelState& state, FunctionState& function,
                                       std::span<const TensorType> types) {
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
  return function.graph->plan(types, state.packs, state.pool->threads());
}

// The cached plan for these tensors, or a new one.
Result<std::shared_ptr<Plan>> plan_of(ModelState& state, FunctionState& function,
                                      std::span<const Tensor> inputs) {
  if (auto plan = function.graph->find_plan(inputs)) return plan;
  TensorTypes types;
  for (const Tensor& t : inputs) types.push_back(t.type());
  return plan_for(state, function, types);
}

void fill_report(const ModelState& state, const FunctionState& function, const Plan& plan,
                 const std::vector<int64_t>& times, PlanReport& report) {
  report = {};
  report.arena_bytes = plan.arena_bytes;
  report.weight_bytes = function.weight_bytes;
  report.packed_bytes = state.packs.bytes();
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const PlanStep& step = plan.steps[i];
    StepReport& out = report.steps.emplace_back();
    out.op = step.step->op->def().name;
    out.kernel = step.choice.name;
    if (step.kind == StepKind::kView) out.kernel = "view";
    if (step.kind == StepKind::kNothing) out.kernel = "done while planning";
    if (step.kind == StepKind::kDynamic) out.kernel = "chosen at run time";
    if (const auto* custom = step.step->op->as<Custom>()) {
      out.op = custom->op;
      out.kernel = custom->library;
    }
    out.refusals = step.choice.refusals;
    out.origins = step.step->origins;
    out.at_plan_time = step.kind == StepKind::kNothing;
    TensorTypes inputs;
    bool typed = step.kind == StepKind::kStatic;
    const auto type_of = [&](int v) {
      return v < 0 ? TensorType() : plan.values[static_cast<size_t>(v)].type;
    };
    for (const int v : step.step->inputs) inputs.push_back(type_of(v));
    for (const int v : step.step->outputs) out.outputs.push_back(type_of(v));
    for (const TensorTypes* types : {&inputs, &out.outputs})
      for (const TensorType& t : *types)
        if (!t.is_none() && !t.is_list) out.bytes += t.byte_size().value_or(0);
    if (typed) out.flops = step.step->op->flops(inputs, out.outputs);
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

Result<Model> Model::load(const std::string& path, LoadOptions options) {
  const auto mapping = TRY(MappedFile::open(path));
  auto file = read_model({mapping->bytes(), mapping}, {.verify_weights = options.verify});
  if (!file.ok()) return std::move(file).error().at(path);
  auto state = make_state(std::move(*file), options);
  if (!state.ok()) return std::move(state).error().at(path);
  (*state)->packs.release_pages_of(mapping->bytes());
  return Model(std::move(*state));
}

Result<Model> Model::load(Blob bytes, LoadOptions options) {
  // Kernels want aligned weights; a mapped file has them, other memory may not.
  if (reinterpret_cast<uintptr_t>(bytes.bytes.data()) % 64 != 0) {
    auto copy = allocate_aligned(bytes.bytes.size());
    if (copy == nullptr) return resource_exhausted("out of memory reading the model");
    std::memcpy(copy.get(), bytes.bytes.data(), bytes.bytes.size());
    bytes = {{copy.get(), bytes.bytes.size()}, copy};
  }
  auto file = TRY(read_model(std::move(bytes), {.verify_weights = options.verify}));
  return Model(TRY(make_state(std::move(file), options)));
}

std::vector<std::string> Model::functions() const {
  std::vector<std::string> keys;
  for (const FunctionState& f : state_->functions) keys.push_back(f.file->key);
  return keys;
}

Result<Function> Model::function(std::string_view key, std::shared_ptr<State> state) const {
  const auto& all = state_->functions;
  if (state == nullptr) state = std::make_shared<State>(state_->variables, state_->initial);
  if (state->variables().size() != state_->variables.size())
    return invalid_argument("the state is that of another model");
  const std::string_view wanted = key.empty() ? "serving_default" : key;
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i].file->key == wanted) return Function(state_, static_cast<int>(i), std::move(state));
  if (key.empty()) return Function(state_, 0, std::move(state));
  return not_found(
      fmt::format("the model has no function '{}'; it has: {}", key, fmt::join(functions(), ", ")));
}

const std::vector<std::pair<std::string, std::string>>& Model::notes() const {
  return state_->file.notes;
}
const std::string& Model::producer() const {
  return state_->file.producer;
}

int64_t Model::plans_made() const {
  int64_t made = 0;
  for (const FunctionState& f : state_->functions) made += f.graph->plans_made();
  return made;
}

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
  TRY(run_plan(plan, inputs, results, {*state_->pool, state_->packs, control},
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
