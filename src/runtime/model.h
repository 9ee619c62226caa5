// A loaded model: its functions, and running them. The C++ core behind include/tenon/runtime.h.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "device/abi/backend.h"
#include "device/cpu/tuning.h"
#include "format/custom_ops.h"
#include "tensor/packed_weight.h"
#include "tensor/tensor.h"

namespace tenon::device {
class LoadedProgram;
}

namespace tenon::runtime {

struct LoadOptions {
  int threads = 0;     // 0: one per core
  bool verify = true;  // check the weights' checksum
  // Iterations after which a loop is an error; 0: what the file says, or 100 million.
  int64_t max_loop_iterations = 0;
  // How kernels are chosen, instead of by what the file says was measured on this processor.
  std::optional<cpu::Tuning> tuning;
  CustomOpOptions custom_ops;  // libraries for the ops that Tenon does not have itself
};

struct PortInfo {
  std::string name;
  TensorType type;
};

// What a step of a plan does and how; for explain and profile.
struct StepReport {
  std::string op;
  std::string kernel;                 // "reference" where no faster one applies
  std::vector<std::string> refusals;  // "kernel: reason" for each faster one that does not apply
  std::vector<std::string> origins;   // names in the user's model
  // Where kernels are chosen by a tuning: the step's key in it, and (name, ns) of those measured.
  std::string key;
  std::vector<std::pair<std::string, int64_t>> measured;
  TensorTypes outputs;
  int64_t flops = 0;
  int64_t bytes = 0;    // of operands and results, where their types are known
  int64_t time_ns = 0;  // of the profiled run; else 0
  bool at_plan_time = false;
};

struct PlanReport {
  int64_t arena_bytes = 0;   // the activations' memory, known before running
  int64_t weight_bytes = 0;  // constants of this function, in the file
  int64_t packed_bytes = 0;  // the model's weights rearranged for kernels
  std::vector<StepReport> steps;
  size_t part_steps = 0;  // how many of them, from the first on, are run for a part of the batch
  int64_t parts = 1;      // at a time, and how often
};

struct RunOptions {
  // Where given, outputs are written here (by name; dtype and sizes must agree).
  std::map<std::string, Tensor>* outputs = nullptr;
  PlanReport* profile = nullptr;  // filled, with times
};

// Where a function runs. Devices but the CPU are plug-ins (device/plugin/plugin.h).
struct DeviceChoice {
  std::string name = "cpu";
  std::string precision;  // of real numbers there; empty: what the device does by itself
};

class Function;
class State;
struct ModelState;
struct FunctionState;
struct Plan;

// Thread-safe: one model may run in many threads at once; each run has memory of its own, kept for
// later runs.
class Model {
 public:
  // Errors: those of read_model_file.
  static Result<Model> load(const std::string& path, LoadOptions options = {});
  static Result<Model> load(Blob bytes, LoadOptions options = {});

  std::vector<std::string> functions() const;
  // The function of this key; empty: "serving_default", or the first one. Its variables are those
  // of `state`, or of a new set. Errors: not_found, which lists the keys there are; unsupported,
  // which lists the devices; those of the device.
  Result<Function> function(std::string_view key = {}, std::shared_ptr<State> state = {},
                            const DeviceChoice& device = {}) const;
  // Free notes the compiler left.
  const std::vector<std::pair<std::string, std::string>>& notes() const;
  const std::string& producer() const;
  // The forms of constants that runs so far had to make and that the file may hold for later ones
  // (FileModel::prepacked).
  std::vector<PrepackedWeight> prepacked() const;
  // How many plans have been made so far, those of sub-graphs included: a run for shapes seen
  // lately makes none.
  int64_t plans_made() const;

 private:
  Result<size_t> find(std::string_view key) const;
  explicit Model(std::shared_ptr<ModelState> state) : state_(std::move(state)) {}
  std::shared_ptr<ModelState> state_;
};

// What stops the runs of one handle.
struct RunSwitch;

// One function of a model; a cheap handle that keeps the model alive. Copies share the variables.
class Function {
 public:
  const std::string& key() const;
  std::span<const PortInfo> inputs() const;
  std::span<const PortInfo> outputs() const;

  // Runs on inputs by name; returns every output. Inputs are used where they lie. Errors:
  // invalid_argument naming the input (missing, unknown name, dtype, shape) or from the ops.
  Result<std::map<std::string, Tensor>> run(const std::map<std::string, Tensor>& inputs,
                                            const RunOptions& options = {}) const;
  // The same with inputs and outputs in the order of inputs() and outputs(). `outputs` may hold
  // undefined tensors, which are then allocated.
  Result<std::vector<Tensor>> run(std::span<const Tensor> inputs, std::span<const Tensor> outputs,
                                  PlanReport* profile = nullptr) const;
  // The same into `outputs`, one per output: defined ones are written into, undefined ones set.
  // Where all are defined, a run for shapes seen before allocates nothing, but for steps without a
  // fast kernel and those whose shapes depend on data.
  Status run_into(std::span<const Tensor> inputs, std::span<Tensor> outputs,
                  PlanReport* profile = nullptr) const;
  // Gets ready for runs with every open dimension 1, so that the first of them takes no longer than
  // later ones: the plan is made, weights are packed on the model's threads, memory is there. What
  // stands in the way is said by the run that meets it. Not needed for any run; nothing on devices
  // other than the CPU.
  void prepare() const;
  // What would be done for inputs of these types (static shapes), in the order of inputs().
  Result<PlanReport> explain(std::span<const TensorType> inputs) const;
  // The variables that runs read and write; never null.
  const std::shared_ptr<State>& state() const { return variables_; }

  // The device's name; "cpu".
  const std::string& device() const;
  // What the device counted and has to say (tenon/device.h); nothing on the CPU.
  Result<std::vector<device::Counter>> counters() const;
  std::vector<std::string> notices() const;

  // Ends the runs of this handle and of its copies that are under way: between two steps each gives
  // the error `cancelled`. Later runs are not affected. Any thread may call it.
  void cancel() const;
  // Asked by every run now and then, in the thread that runs: true ends the run. To be set before
  // the first run.
  void set_interrupt_check(std::function<bool()> check);

 private:
  friend class Model;
  Function(std::shared_ptr<ModelState> state, int index, std::shared_ptr<State> variables);
  FunctionState& function() const;
  Status run_plan_into(Plan& plan, std::span<const Tensor> inputs, std::span<Tensor> outputs,
                       PlanReport* profile) const;
  Status run_with_state(std::span<const Tensor> inputs, std::span<Tensor> outputs,
                        PlanReport* profile) const;
  Status run_on_device(std::span<const Tensor> inputs, std::span<Tensor> outputs) const;

  std::shared_ptr<ModelState> state_;
  int index_;
  std::shared_ptr<State> variables_;
  std::shared_ptr<RunSwitch> switch_;
  std::shared_ptr<device::LoadedProgram> program_;  // null: the CPU
};

}  // namespace tenon::runtime
