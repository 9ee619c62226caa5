// A plan: how a graph is run for inputs of one set of concrete types. Made once, shared by all
// executions; what depends on data is left to execute.h.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "device/cpu/kernel.h"
#include "format/model_file.h"
#include "runtime/model.h"

namespace tenon::runtime {

// Where a value lives while a plan runs.
enum class Place : uint8_t {
  kAbsent,
  kInput,   // the caller's tensor
  kKnown,   // constant, or computed while planning
  kArena,   // at an offset of the execution's arena
  kOutput,  // memory of its own, handed to the caller
  kHeap,    // allocated by the step, its type known only then, or a string or list
  kView     // the bytes of another value
};

struct PlanValue {
  Place place = Place::kAbsent;
  TensorType type;     // static unless kHeap
  Tensor known;        // of kKnown
  int64_t offset = 0;  // of kArena
  int source = -1;     // of kView: the value whose bytes it has, itself no view
};

enum class StepKind : uint8_t {
  kNothing,  // done while planning or by the head, or a view
  kJoined,   // computed with a later step
  kView,     // a view of an input or output tensor, made anew for each run
  kStatic,   // types known
  kDynamic,  // types inferred at run time
  kRegions   // control flow
};

struct PlanStep {
  const FileStep* step = nullptr;
  StepKind kind = StepKind::kNothing;
  cpu::KernelChoice choice;
  std::vector<size_t> joined;  // the earlier steps that are computed with this one: join.h
  std::vector<int> operands;   // of all of them; where there are any

  const std::vector<int>& inputs() const { return joined.empty() ? step->inputs : operands; }
};

struct GraphState;
struct Execution;

struct Plan;

// The first steps of a plan, run for a part of the batch at a time: batch_head.h.
struct PlanHead {
  size_t steps = 0;
  std::shared_ptr<Plan> plan;  // of a part; null where there is no head
  int64_t parts = 0;
  std::vector<bool> splits;   // by input: whether a part gets its rows of it, or all
  bool side_by_side = false;  // every thread runs parts of its own
};

struct Plan {
  const GraphState* graph = nullptr;
  std::vector<PlanValue> values;
  std::vector<PlanStep> steps;
  std::vector<int> outputs;  // values
  PlanHead head;
  int64_t arena_bytes = 0;  // with scratch
  int64_t scratch_offset = 0;
  std::vector<int> transient;  // values bound to memory anew for each run

  Plan();
  ~Plan();
  // An execution's memory, returned for later runs.
  std::unique_ptr<Execution> take_execution();
  void give_back(std::unique_ptr<Execution> execution);
  // The step with its kernel, which for one of the head is that of a part.
  const PlanStep& step(size_t i) const { return i < head.steps ? head.plan->steps[i] : steps[i]; }
  // The memory of executions kept for later, which drop_idle() gives back.
  int64_t idle_bytes();
  void drop_idle();

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Execution>> idle_;
};

// What the body of a loop changes where it is: loop.h.
struct ListsInPlace {
  std::vector<size_t> states;  // by input
  std::vector<bool> steps;     // that change one; empty where none does
};

// A graph of the file with what planning needs, and its plans so far.
struct GraphState {
  const FileGraph* file = nullptr;
  ListsInPlace in_place;                                          // of a body
  std::vector<std::vector<std::unique_ptr<GraphState>>> regions;  // by step

  // The plan made before for values of these types, or null. Allocates nothing.
  std::shared_ptr<Plan> find_plan(std::span<const Tensor> inputs);
  // The plan for these types, from the cache or new. Errors: of the ops' inference.
  Result<std::shared_ptr<Plan>> plan(std::span<const TensorType> inputs,
                                     const cpu::KernelSettings& settings);
  // How many have been made, by sub-graphs too.
  int64_t plans_made();

 private:
  // Shapes whose plans are kept, the latest ones. The memory of their runs is kept for as many of
  // them as fit.
  static constexpr size_t kMaxPlans = 128;
  static constexpr int64_t kMaxIdleBytes = int64_t{64} << 20;
  struct Entry {
    TensorTypes key;
    std::shared_ptr<Plan> plan;
  };
  // The first cached plan whose key fits, moved to the front.
  template <typename Fits>
  std::shared_ptr<Plan> find(Fits&& fits);
  std::mutex mutex_;
  std::vector<Entry> plans_;  // most recently used first
  int64_t plans_made_ = 0;
};

// A plan for inputs of these types; GraphState::plan() keeps it. Errors: of the ops' inference.
Result<std::shared_ptr<Plan>> make_plan(GraphState& graph, std::span<const TensorType> inputs,
                                        const cpu::KernelSettings& settings);

// Checks what the reader leaves to the user of the ops: counts of outputs and regions.
Result<std::unique_ptr<GraphState>> prepare(const FileGraph& graph);

// Whether a value is of this type; dimensions of `type` that are not known fit any.
bool is_of_type(const Tensor& value, const TensorType& type);

// The types of a step's results; those of `fused`, and of a branch that is decided, come from
// inference over its sub-graph. Errors: of the ops' inference; control flow that data decides.
Result<TensorTypes> infer_step(const FileStep& step, std::span<const OperandInfo> operands);
// The sub-graph of a `fused` step as kernels see it; refers to the step.
cpu::Region region_of(const FileStep& step);

// "node 'x' (conv)", for errors.
std::string step_place(const FileStep& step);

}  // namespace tenon::runtime
