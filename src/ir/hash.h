// A structural hash of a graph: ops, attributes, operands, types, sub-graphs and outputs, not names
// and origins.
#pragma once

#include "ir/graph.h"

namespace tenon {

enum class ConstantHash : uint8_t {
  kContent,  // equal graphs hash equal, in any process
  kStorage   // constants by where they lie: for "has this graph changed" within a process, cheap
};

uint64_t graph_hash(const Graph& graph, ConstantHash constants = ConstantHash::kContent);

}  // namespace tenon
