// The reference interpreter: runs a graph with each op's own evaluation. The oracle, not fast.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "ir/graph.h"

namespace tenon {

// Told the results of every node of the graph itself, not of its sub-graphs.
using NodeObserver = std::function<void(const Node&, std::span<const Tensor>)>;

// Runs the graph on one tensor per input. Errors name the node of the user's model. Thread-safe.
Result<std::vector<Tensor>> interpret(const Graph& graph, std::span<const Tensor> inputs,
                                      const NodeObserver& observer = {});

}  // namespace tenon
