// A graph in the runtime, without a file.
#pragma once

#include "ir/graph.h"
#include "runtime/model.h"

namespace tenon {

// The graph as it is, no pass run, as the one function of a model in memory, which the function
// keeps. Errors: those of encoding and loading.
Result<runtime::Function> load_graph(const Graph& graph, const runtime::LoadOptions& options);

}  // namespace tenon
