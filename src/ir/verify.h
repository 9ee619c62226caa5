// Whether a graph is valid, in three tiers: structure (definitions before uses, use lists,
// sub-graphs that fit their node), ops (types agree with inference), stage (a known one).
// What the ops compute is not looked at.
#pragma once

#include "ir/graph.h"

namespace tenon {

// An internal error naming the node when the graph is broken: it was a pass or an importer of ours.
Status verify(const Graph& graph);

}  // namespace tenon
