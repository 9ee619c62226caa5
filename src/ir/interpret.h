// The reference interpreter: runs a graph with each op's own evaluation. The oracle, not fast.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "ir/graph.h"

namespace tenon {

// Told the results of every node of the graph itself, not of its sub-graphs.
using NodeObserver = std::function<void(const Node&, std::span<const Tensor>)>;

struct InterpretOptions {
  NodeObserver observer;  // may be empty
  int64_t max_loop_iterations = 100'000'000;
  // Asked before every node, in sub-graphs too: an error ends the run. May be empty.
  std::function<Status()> check;
  // Real results are multiplied by 1 + e, |e| at most this, as rounding might: how far the outputs
  // move says how far two correct runs may be apart.
  double rounding_noise = 0;
};

// Runs the graph on one tensor per input. Errors name the node of the user's model. Thread-safe.
Result<std::vector<Tensor>> interpret(const Graph& graph, std::span<const Tensor> inputs,
                                      const InterpretOptions& options);
Result<std::vector<Tensor>> interpret(const Graph& graph, std::span<const Tensor> inputs,
                                      const NodeObserver& observer = {});

// The results of one node, on a tensor per operand.
Result<std::vector<Tensor>> interpret_node(const Node& node, std::span<const Tensor> operands,
                                           const InterpretOptions& options);

}  // namespace tenon
