// The order in which the nodes of a graph can be mapped, and what sub-graphs read of their
// surroundings. Names only; no values, no types.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "import/onnx/proto.h"

namespace tenon::onnx {

// Names that sub-graphs read but do not define, each once, in order of appearance.
std::vector<std::string_view> free_names(const std::vector<const GraphProto*>& graphs);
// Every name that must be there before the node can be mapped: its inputs and what its sub-graphs
// read.
std::vector<std::string_view> names_read(const NodeProto& node);

// The nodes needed to have `wanted`, as indices: in the model's order where that computes
// everything before it is read. Names for which is_bound holds need no node. Errors: a name
// computed twice, a cycle; both name the node.
Result<std::vector<size_t>> order_nodes(const std::vector<NodeProto>& nodes,
                                        const std::vector<std::string_view>& wanted,
                                        const std::function<bool(std::string_view)>& is_bound);

}  // namespace tenon::onnx
