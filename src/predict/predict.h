// How long a model takes on a chip that is not there: its tile programs, timed by simulation.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"
#include "lower/device_program.h"
#include "predict/spills.h"
#include "simulate/timing.h"

namespace tenon {

// One kernel, or a node left to the host.
struct LayerPrediction {
  std::string name;                   // in the user's model
  std::string algorithm;              // of the kernel; "host"
  std::string op;                     // of the node
  std::string reason;                 // why the host
  std::string tiling;                 // of the kernel, in words
  std::vector<Alternative> rejected;  // the other ways to compute the node, where this is its first
  double node_seconds = 0;            // kernel, and the time of all kernels of the node,
  std::vector<std::string> advice;    // as DeviceStep has them
  std::vector<int64_t> memory;        // bytes that a core uses, per memory
  double seconds = 0;
  double operations = 0;
  int64_t bytes = 0;             // of the global memory
  int64_t moved = 0;             // between cores and global memory, what its cache held among it
  Spills spills;                 // of what was moved
  std::vector<int64_t> on_chip;  // bytes of each memory of a core, at most (isa/footprint.h)
  std::string bound_by;          // "m", "mte2", …: the queue that was busiest; "memory"; "host"
  std::vector<double> busy;      // seconds per queue
  simulate::Causes causes{};     // of the longest way through the kernel
  // A concatenation whose operands are written where they belong, or a sum that a convolution
  // writes.
  bool in_place = false;
  double layout = 0;         // seconds of copies that only change layouts (layouts.h)
  int64_t more_kernels = 0;  // of the vendor's software: those copies, an activation
};

// Everything is simulated; nothing ran on a chip.
struct Prediction {
  std::string target, precision;
  int64_t batch = 1;
  double seconds = 0;        // one execution, data on the chip already
  double low = 0, high = 0;  // seconds; where the truth is expected, by the calibration
  double operations = 0;
  int64_t bytes = 0;
  int64_t peak_bytes = 0;
  int64_t moved = 0;
  Spills spills;
  std::vector<int64_t> on_chip;  // bytes of each memory of a core, at most
  int64_t cache_bytes = 0;       // of the chip's L2; 0: it has none
  int64_t working_bytes = 0;     // of the tensors of the kernel that works on most
  int64_t beyond_cache = 0;      // kernels whose tensors are more than the cache holds
  std::string bound_by;
  std::vector<std::string> queues;
  std::vector<std::pair<std::string, int64_t>> memories;  // of the chip, and their bytes
  std::vector<double> utilisation;                        // per queue
  std::vector<LayerPrediction> layers;
  // What the seconds went to: simulate::kCauseNames, "layout", "launch", "run_start", "host_start",
  // "host".
  std::vector<std::pair<std::string_view, double>> spent;

  double throughput() const { return seconds > 0 ? static_cast<double>(batch) / seconds : 0; }
};

// Of a graph as it was imported, for one batch: prepared, lowered, timed. Errors: those of
// prepare_for_batch; resource_exhausted where the chip is too small.
Result<Prediction> predict(const Graph& graph, const Machine& machine, int64_t batch,
                           LowerOptions options);

// Of a program that was lowered for this machine with these options.
Result<Prediction> predict(const DeviceProgram& program, const Machine& machine,
                           const LowerOptions& options);

// Bytes that a node left to the host takes from and to the chip. Constants are on both sides.
int64_t crossing_bytes(const DeviceProgram& program, const DeviceStep& step);

// A copy of a graph as it was imported, optimised, all types static; where the model leaves sizes
// open, `batch` is the first dimension of its inputs. Errors: invalid_argument where other sizes
// are open.
Result<std::unique_ptr<Graph>> prepare_for_batch(const Graph& graph, int64_t batch);

// A copy of the graph whose inputs have the types of these tensors, optimised.
Result<std::unique_ptr<Graph>> prepare_for_inputs(const Graph& graph,
                                                  std::span<const Tensor> inputs);

}  // namespace tenon
