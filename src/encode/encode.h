// Between the graphs of the compiler and the plain data of a .tenon file.
#pragma once

#include <memory>
#include <vector>

#include "format/model_file.h"
#include "ir/named_graph.h"

namespace tenon {

// The graph as the file holds it. The graph is left without names it had not. Steps are its nodes
// but for constants, in order.
FileGraph encode_graph(const Graph& graph);
// The graph a file holds, as encode_graph was given it; its stage is not in the file. Constants are
// views into the file. Errors: invalid_model where the file contradicts its ops.
Result<std::unique_ptr<Graph>> decode_graph(const FileGraph& file);
// Every function of a file.
Result<std::vector<NamedGraph>> decode_model(const FileModel& model);

}  // namespace tenon
