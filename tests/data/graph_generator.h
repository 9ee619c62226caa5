// Random graphs from a seed: the same seed makes the same graph.
#pragma once

#include <memory>

#include "ir/graph.h"

namespace tenon::data_tests {

// A graph of 5 to 50 ops over small inputs of several element types, some with symbolic, unknown or
// no elements, with branches and loops. What it computes does not hang on how sums are rounded:
// integers come from integers only.
Result<std::unique_ptr<Graph>> random_graph(uint32_t seed);

}  // namespace tenon::data_tests
