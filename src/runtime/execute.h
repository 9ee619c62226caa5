// Running a plan: one execution's memory and the walk over the steps.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
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
  // What the plan of the head gets and gives, by part.
  std::vector<std::vector<Tensor>> part_inputs, part_outputs;
};

struct RunSwitch {
  std::atomic<uint64_t> cancels = 0;
  std::function<bool()> interrupted;  // may be empty
};

// What ends one run early; belongs to the thread that runs.
class RunControl {
 public:
  // Iterations after which a loop is an error where nobody says.
  static constexpr int64_t kDefaultMaxLoopIterations = 100'000'000;

  RunControl(const RunSwitch& run_switch, int64_t max_loop_iterations)
      : switch_(run_switch),
        cancels_before_(run_switch.cancels.load(std::memory_order_relaxed)),
        max_loop_iterations_(max_loop_iterations) {}
  int64_t max_loop_iterations() const { return max_loop_iterations_; }
  // For another thread of the same run: ends when that is cancelled, but asks nobody.
  RunControl beside() const {
    RunControl other = *this;
    other.asks_ = false;
    return other;
  }
  // What a run ends with that something stopped.
  static Error cancelled();
  // Called between steps. Error: cancelled.
  Status check() {
    if (switch_.cancels.load(std::memory_order_relaxed) != cancels_before_) return cancelled();
    return asks_ && switch_.interrupted && --checks_to_look_ <= 0 ? ask() : Status();
  }

 private:
  Status ask();

  const RunSwitch& switch_;
  uint64_t cancels_before_;
  int64_t max_loop_iterations_;
  bool asks_ = true;
  std::chrono::steady_clock::time_point last_look_{}, next_question_{};  // at the clock
  int checks_to_look_ = 1, checks_between_looks_ = 1;
};

struct Machine {
  ThreadPool& pool;
  cpu::KernelSettings kernels;
  RunControl& control;
};

// Does beforehand what a plan's first run would: fills packed weights, and gives the plan an
// execution with its memory touched.
Status prepare_run(Plan& plan, cpu::PackStore& packs, ThreadPool& pool);

// Runs the plan. Defined `outputs` are written into (their types have been checked where the plan
// knows them); undefined ones are set, to tensors that may share memory with the inputs and
// constants. `times_ns`, one per step, may be null.
Status run_plan(Plan& plan, std::span<const Tensor> inputs, std::span<Tensor> outputs,
                const Machine& machine, int64_t* times_ns = nullptr);

}  // namespace tenon::runtime
