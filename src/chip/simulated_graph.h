// A lowered graph run on a simulated chip: its kernels by the functional simulator over one global
// memory, placed as the chip would have it, and what is left to the host by the ops' references.
// What it computes is simulated: nothing here ran on silicon.
#pragma once

#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/thread_pool.h"
#include "ir/graph.h"
#include "lower/device_program.h"

namespace tenon {

struct ChipRunOptions {
  ThreadPool* pool = nullptr;  // blocks run on its threads
  bool check_order = true;     // find races and reads of what nobody wrote
  // Asked before each step, and within loops on the host: true ends the run. May be empty.
  std::function<bool()> interrupted;
  // Where given, per memory of a core the first byte behind all that was touched; it grows.
  std::vector<int64_t>* peaks = nullptr;
  // Elements that a kernel may touch: programs of others may loop for ever.
  int64_t max_work = std::numeric_limits<int64_t>::max();
  int64_t max_loop_iterations = 0;  // of loops on the host; 0: the interpreter's limit
};

class SimulatedGraph {
 public:
  // Checks every kernel and puts the constants into the global memory. The graph and the program
  // made of it must outlive this.
  static Result<std::unique_ptr<SimulatedGraph>> load(const Graph& graph,
                                                      const DeviceProgram& program);

  // One tensor per input of the graph, of its types. Errors name the layer, the line of its tile
  // program and the instruction. Not thread-safe.
  Result<std::vector<Tensor>> run(std::span<const Tensor> inputs, const ChipRunOptions& options);

 private:
  SimulatedGraph(const Graph& graph, const DeviceProgram& program)
      : graph_(graph), program_(program) {}

  Status run_kernel(const DeviceStep& step, const ChipRunOptions& options);
  Status run_host(const DeviceStep& step, const ChipRunOptions& options);
  std::span<std::byte> place(int tensor);
  // Between the types of the graph and those of the chip.
  Status store(int tensor, const Tensor& value);
  Result<Tensor> load(int tensor, const TensorType& type);
  // A value of the graph that is in this tensor, unless it is known otherwise.
  Result<Tensor> value_of(const Value* value, int tensor);

  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  const Graph& graph_;
  const DeviceProgram& program_;
  std::unique_ptr<std::byte, Free> memory_;
  std::unordered_map<const Value*, Tensor> on_host_;  // what the host computed, of any type
};

}  // namespace tenon
