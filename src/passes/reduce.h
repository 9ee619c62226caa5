// Delta reduction: the smallest graph found on which something still goes wrong.
#pragma once

#include <functional>

#include "ir/graph.h"

namespace tenon {

// Whether the graph still shows what is looked for. Must not change it.
using StillFails = std::function<bool(const Graph&)>;

// Tries to leave out outputs, to cut off what computes a value (it becomes an input), and to let a
// value stand for a later one of its type, as long as the graph still fails; `graph` must. Returns
// the number of steps taken.
int reduce_graph(std::unique_ptr<Graph>& graph, const StillFails& still_fails);

// Inputs that nobody reads are left out.
std::unique_ptr<Graph> without_unused_inputs(const Graph& graph);

}  // namespace tenon
