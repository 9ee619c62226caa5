// What became of every node of the user's model: the result of `tenon check`.
#pragma once

#include <string>
#include <vector>

namespace tenon {

enum class Fate : uint8_t {
  mapped,       // became ops of the graph
  folded,       // computed at import, or without effect on the result (Identity, NoOp, dropout)
  on_cpu,       // runs, but only on the CPU, never on a chip
  unsupported,  // cannot be run; `reason` says why and what to do
};

struct NodeReport {
  std::string name;  // the node in the user's model, functions inlined: "call/inner/conv1"
  std::string op;    // its type there, e.g. "Conv2D"
  Fate fate = Fate::mapped;
  std::string reason;  // for `unsupported` and `on_cpu`: why, and the way out
};

// One pass over the model fills it, in the model's order.
struct ImportReport {
  std::string format;  // "TensorFlow SavedModel", "TensorFlow GraphDef", "ONNX opset 17"
  std::vector<NodeReport> nodes;

  int count(Fate fate) const {
    int n = 0;
    for (const NodeReport& node : nodes) n += node.fate == fate;
    return n;
  }
};

}  // namespace tenon
