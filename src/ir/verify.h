// Whether a graph is valid: order, use lists, regions, and types that agree with inference.
#pragma once

#include "ir/graph.h"

namespace tenon {

// An internal error naming the node when the graph is broken: it was a pass or an importer of ours.
Status verify(const Graph& graph);

}  // namespace tenon
