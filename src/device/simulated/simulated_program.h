// A function of a model on a simulated chip: one plan for each set of sizes it is executed with.
#pragma once

#include <list>
#include <mutex>
#include <optional>

#include "base/thread_pool.h"
#include "chip/program_file.h"
#include "chip/simulated_graph.h"
#include "device/abi/backend.h"
#include "predict/predict.h"

namespace tenon::device {

class SimulatedProgram : public Program {
 public:
  // Programs that the file has for this chip are verified now. Errors: those of reading the file;
  // invalid_model naming layer and instruction; not_found, unsupported.
  static Result<std::unique_ptr<Program>> load(const Machine& machine, const Load& load,
                                               std::shared_ptr<ThreadPool> pool);

  Result<std::vector<Tensor>> execute(std::span<const Tensor> inputs,
                                      const Interrupted& interrupted) override;
  std::vector<Counter> counters() override;
  std::vector<std::string> notices() override;

 private:
  // The function for these sizes. Executions of one plan follow one another: they share the
  // simulated memory.
  struct Plan {
    TensorTypes inputs;
    std::unique_ptr<Graph> graph;
    DeviceProgram program;
    std::unique_ptr<SimulatedGraph> simulated;
    Prediction prediction;
    size_t kernels = 0, host_nodes = 0;
    std::mutex mutex;
  };

  SimulatedProgram(const Machine& machine, std::shared_ptr<ThreadPool> pool)
      : machine_(machine), pool_(std::move(pool)) {}

  Status read_section(const Load& load);
  Result<std::shared_ptr<Plan>> plan_for(std::span<const Tensor> inputs);
  Result<std::shared_ptr<Plan>> make_plan(std::span<const Tensor> inputs);
  Status check_inputs(std::span<const Tensor> inputs) const;
  void describe(const Plan& plan);

  const Machine& machine_;
  std::shared_ptr<ThreadPool> pool_;
  FileModel model_;
  const FileFunction* function_ = nullptr;
  std::unique_ptr<Graph> graph_;
  LowerOptions lower_;
  std::string precision_;
  int64_t max_loop_iterations_ = 0;

  std::mutex mutex_;  // of what follows
  // Of the file, verified; the plan that uses one first takes what was decoded.
  struct Stored {
    const FileDeviceProgram* file;
    std::optional<StoredProgram> decoded;
  };
  std::vector<Stored> stored_;
  std::list<std::shared_ptr<Plan>> plans_;  // the last one used first
  std::vector<std::string> notices_;
  double executions_ = 0, launches_ = 0, host_nodes_ = 0, peak_ = 0, seconds_ = 0, last_ = 0;
  double moved_ = 0;
  std::vector<int64_t> peaks_;  // per memory of a core, of what was executed
};

}  // namespace tenon::device
