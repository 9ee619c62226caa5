// Running a plan: one execution's memory and the walk over the steps.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "runtime/plan.h"

namespace tenon::runtime {

// The memory of one run at a time. Arena and known values stay between runs.
struct Execution {
  std::shared_ptr<std::byte> arena;
  std::vector<Tensor> values;
  std::vector<std::vector<const Tensor*>> operands;  // by step
  std::vector<std::vector<Tensor*>> results;
};

struct Machine {
  ThreadPool& pool;
  cpu::PackStore& packs;
};

// Runs the plan. Defined `outputs` are written into (their types have been checked where the plan
// knows them); undefined ones are set, to tensors that may share memory with the inputs and
// constants. `times_ns`, one per step, may be null.
Status run_plan(Plan& plan, std::span<const Tensor> inputs, std::span<Tensor> outputs,
                const Machine& machine, int64_t* times_ns = nullptr);

}  // namespace tenon::runtime
