// Runs one graph of a loaded model: a plan per set of input shapes, an arena per execution.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/kernel.h"
#include "runtime/model.h"

namespace tenon::runtime {

// How a step runs at fixed input shapes.
struct PlannedStep {
  bool skip = false;  // its results are known from planning, or nobody needs a computation (views)
  bool dynamic = false;  // shapes are known only when it runs
  const Kernel* kernel = nullptr;
  std::vector<std::string> refusals;
};

struct Plan {
  TensorTypes input_types;
  std::vector<TensorType> types;  // per value; unknown dims where dynamic
  std::vector<Tensor> known;      // per value: constants and values solved while planning
  std::vector<int> storage;       // per value: the value whose buffer it shares (views)
  std::vector<int64_t> offsets;   // per value: place in the arena, -1 for none
  std::vector<PlannedStep> steps;
  std::vector<std::unique_ptr<Kernel>> kernels;
  int64_t arena_bytes = 0;
  int64_t scratch_bytes = 0;

  std::mutex mutex;
  std::vector<std::shared_ptr<std::byte>> idle_arenas;  // kept for the next execution
};

class Executor {
 public:
  Executor(const FileGraph& graph, ThreadPool& pool);
  ~Executor();
  // Thread-safe. Inputs need not be checked beforehand but for their number.
  Result<std::vector<Tensor>> run(std::span<const Tensor> inputs, PlanReport* profile);
  // What would be done for inputs of these types.
  Result<PlanReport> explain(std::span<const TensorType> inputs);

 private:
  struct Execution;
  Result<std::shared_ptr<Plan>> plan_for(std::span<const TensorType> inputs);
  Result<std::shared_ptr<Plan>> make_plan(std::span<const TensorType> inputs);
  PlanReport report(const Plan& plan) const;
  Status plan_step(Plan& plan, size_t index) const;
  void plan_arena(Plan& plan) const;
  Status run_step(Execution& e, size_t index);
  Result<std::vector<Tensor>> run_regions(size_t index, std::span<const Tensor> inputs);

  const FileGraph& graph_;
  ThreadPool& pool_;
  std::vector<std::vector<std::unique_ptr<Executor>>> regions_;  // per step
  mutable std::mutex mutex_;
  std::list<std::shared_ptr<Plan>> plans_;  // most recently used first
};

}  // namespace tenon::runtime
