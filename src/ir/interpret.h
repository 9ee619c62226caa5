// The reference interpreter: runs a graph with each op's own evaluation. The oracle, not fast.
#pragma once

#include <span>
#include <vector>

#include "ir/graph.h"

namespace tenon {

// Runs the graph on one tensor per input. Errors name the node of the user's model. Thread-safe.
Result<std::vector<Tensor>> interpret(const Graph& graph, std::span<const Tensor> inputs);

}  // namespace tenon
