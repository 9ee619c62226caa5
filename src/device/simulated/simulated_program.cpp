#include "device/simulated/simulated_program.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>

#include "encode/encode.h"
#include "format/custom_ops.h"
#include "lower/lowering.h"

namespace tenon::device {
namespace {

// Simulated memory is large: plans of a few sizes are kept.
constexpr size_t kMostPlans = 8;

bool same_types(std::span<const TensorType> types, std::span<const Tensor> inputs) {
  return std::ranges::equal(types, inputs, {}, {}, [](const Tensor& t) { return t.type(); });
}

std::string sizes_of(std::span<const Tensor> inputs) {
  std::string text;
  for (const Tensor& t : inputs)
    text += (text.empty() ? "" : ", ") + (t.defined() ? t.type().to_string() : "none");
  return text;
}

// The first dimension of the first input that has one, as `tenon predict` counts samples.
int64_t batch_of(std::span<const Tensor> inputs) {
  for (const Tensor& t : inputs)
    if (t.defined() && t.rank() > 0) return std::max<int64_t>(t.dim(0), 1);
  return 1;
}

}  // namespace

Result<std::unique_ptr<Program>> SimulatedProgram::load(const Machine& machine, const Load& load,
                                                        std::shared_ptr<ThreadPool> pool) {
  std::unique_ptr<SimulatedProgram> out(new SimulatedProgram(machine, std::move(pool)));
  out->model_ = TRY(read_model(load.model, {.verify_weights = load.verify_weights}));
  out->max_loop_iterations_ = load.max_loop_iterations;
  for (const auto& [key, value] : out->model_.notes)
    if (key == kMaxLoopIterationsNote && out->max_loop_iterations_ == 0)
      out->max_loop_iterations_ = std::max(std::strtoll(value.c_str(), nullptr, 10), 0LL);
  out->model_.device_sections.clear();
  if (!load.section.empty())
    out->model_.device_sections.push_back(
        TRY(read_device_section(load.model, machine.name, load.section)));
  TRY(bind_custom_ops(out->model_, {load.custom_ops, load.allow_embedded_code}));
  const auto& functions = out->model_.functions;
  const auto found = std::ranges::find(functions, load.function, &FileFunction::key);
  if (found == functions.end())
    return not_found(fmt::format("the model has no function '{}'", load.function));
  out->function_ = &*found;
  out->graph_ = TRY(decode_graph(found->graph));
  out->precision_ = load.precision;
  TRY(out->read_section(load));
  out->lower_.real = TRY(device_real(out->precision_));
  return std::unique_ptr<Program>(std::move(out));
}

// What the file has for the function, and says where that is nothing.
Status SimulatedProgram::read_section(const Load& load) {
  const std::string wanted = load.precision;
  for (const FileDeviceSection& section : model_.device_sections) {
    if (section.machine != machine_hash(machine_)) {
      notices_.push_back(fmt::format(
          "the programs for {} in the file were made for another description of the chip; they "
          "are made anew",
          machine_.name));
      continue;
    }
    for (const FileDeviceProgram& p : section.programs) {
      if (p.function != load.function) continue;
      const auto real = TRY(device_real(p.precision));
      if (!wanted.empty() && TRY(device_real(wanted)) != real) continue;
      if (precision_.empty()) precision_ = p.precision;
      if (TRY(device_real(precision_)) != real) continue;
      stored_.push_back({&p, TRY(decode_program(p, machine_))});
    }
  }
  if (precision_.empty()) precision_ = "fp16";
  if (load.section.empty())
    notices_.push_back(
        fmt::format("the file has no programs for {}; they are compiled from its portable graph",
                    machine_.name));
  return {};
}

Status SimulatedProgram::check_inputs(std::span<const Tensor> inputs) const {
  if (inputs.size() != graph_->inputs().size())
    return invalid_argument(fmt::format("the function takes {} inputs, {} were given",
                                        graph_->inputs().size(), inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Value& input = *graph_->inputs()[i];
    if (!inputs[i].defined() && input.type().is_none()) continue;
    if (!is_compatible(input.type(), inputs[i].type()))
      return invalid_argument(fmt::format("input {} must be {}, got {}", i,
                                          input.type().to_string(), inputs[i].type().to_string()));
  }
  return {};
}

void SimulatedProgram::describe(const Plan& plan) {
  notices_.push_back(fmt::format("{}: {} kernels, {} nodes on the host", machine_.title,
                                 plan.kernels, plan.host_nodes));
  for (size_t i = 0; i < plan.program.steps.size(); ++i) {
    const DeviceStep& step = plan.program.steps[i];
    if (step.program) continue;
    notices_.push_back(fmt::format("on the host: {} ({}), {} bytes cross, {:.4f} ms predicted: {}",
                                   lower::layer_of(*step.node), step.node->def().name,
                                   crossing_bytes(plan.program, step),
                                   plan.prediction.layers[i].seconds * 1e3, step.reason));
  }
}

Result<std::shared_ptr<SimulatedProgram::Plan>> SimulatedProgram::make_plan(
    std::span<const Tensor> inputs) {
  auto plan = std::make_shared<Plan>();
  for (const Tensor& t : inputs) plan->inputs.push_back(t.type());
  const auto found = std::ranges::find_if(
      stored_, [&](const Stored& s) { return same_types(s.file->inputs, inputs); });
  LowerOptions options = lower_;
  options.batch = batch_of(inputs);
  if (found != stored_.end()) {
    if (!found->decoded) found->decoded = TRY(decode_program(*found->file, machine_));
    plan->graph = std::move(found->decoded->graph);
    plan->program = std::move(found->decoded->program);
    found->decoded.reset();
  } else {
    if (!stored_.empty())
      notices_.push_back(fmt::format(
          "the file has no program for {} for inputs {}; it is compiled from the portable graph",
          machine_.name, sizes_of(inputs)));
    plan->graph = TRY(prepare_for_inputs(*graph_, inputs));
    plan->program = TRY(lower_graph(*plan->graph, machine_, options));
  }
  plan->simulated = TRY(SimulatedGraph::load(*plan->graph, plan->program));
  plan->prediction = TRY(predict(plan->program, machine_, options));
  for (const DeviceStep& step : plan->program.steps)
    ++(step.program ? plan->kernels : plan->host_nodes);
  describe(*plan);
  return plan;
}

Result<std::shared_ptr<SimulatedProgram::Plan>> SimulatedProgram::plan_for(
    std::span<const Tensor> inputs) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(
      plans_, [&](const auto& plan) { return same_types(plan->inputs, inputs); });
  if (found != plans_.end()) {
    plans_.splice(plans_.begin(), plans_, found);
  } else {
    plans_.push_front(TRY(make_plan(inputs)));
    if (plans_.size() > kMostPlans) plans_.pop_back();
  }
  return plans_.front();
}

Result<std::vector<Tensor>> SimulatedProgram::execute(std::span<const Tensor> inputs,
                                                      const Interrupted& interrupted) {
  TRY(check_inputs(inputs));
  const std::shared_ptr<Plan> plan = TRY(plan_for(inputs));
  ChipRunOptions options{.pool = pool_.get(), .interrupted = interrupted};
  options.max_loop_iterations = max_loop_iterations_;
  std::vector<Tensor> results;
  std::vector<int64_t> peaks;
  options.peaks = &peaks;
  {
    const std::lock_guard lock(plan->mutex);
    results = TRY(plan->simulated->run(inputs, options));
  }
  const std::lock_guard lock(mutex_);
  executions_ += 1;
  launches_ += static_cast<double>(plan->kernels);
  host_nodes_ += static_cast<double>(plan->host_nodes);
  peak_ = std::max(peak_, static_cast<double>(plan->program.peak_bytes));
  seconds_ += plan->prediction.seconds;
  last_ = plan->prediction.seconds;
  moved_ += static_cast<double>(plan->prediction.bytes);
  peaks_.resize(std::max(peaks_.size(), peaks.size()));
  for (size_t i = 0; i < peaks.size(); ++i) peaks_[i] = std::max(peaks_[i], peaks[i]);
  return results;
}

std::vector<Counter> SimulatedProgram::counters() {
  const std::lock_guard lock(mutex_);
  const isa::Architecture architecture = isa::architecture_of(machine_);
  std::vector<Counter> all{{"executions", "", executions_},
                           {"launches", "", launches_},
                           {"host_nodes", "", host_nodes_},
                           {"memory_bytes", "bytes", peak_},
                           {"seconds", "seconds", seconds_},
                           {"last_seconds", "seconds", last_},
                           {"cycles", "cycles", seconds_ * architecture.clock},
                           {"moved_bytes", "bytes", moved_}};
  // What kernels touched of each memory of a core, at most.
  for (size_t i = 1; i < architecture.memories.size(); ++i)
    all.push_back({"peak_bytes." + architecture.memories[i].name, "bytes",
                   i < peaks_.size() ? static_cast<double>(peaks_[i]) : 0});
  return all;
}

std::vector<std::string> SimulatedProgram::notices() {
  const std::lock_guard lock(mutex_);
  return notices_;
}

}  // namespace tenon::device
