// Which tensors of a graph become bytes, by which parameters, and which nodes work on them. Made
// before anything is changed.
#pragma once

#include <unordered_map>
#include <unordered_set>

#include "quant/quantize.h"
#include "quant/support.h"

namespace tenon::quant {

struct Plan {
  std::vector<Node*> order;  // the nodes of the graph
  std::unordered_map<const Value*, std::string> names;
  std::unordered_map<const Node*, Support> supports;
  // Products to be made of integers, and what works on bytes between them.
  std::unordered_set<const Node*> integer;
  // Recurrent layers that multiply bytes; what they read and give stays real.
  std::unordered_set<const Node*> recurrent;
  // Dense layers that multiply two bytes of each number; what they read and give stays real, too.
  std::unordered_map<const Node*, const TensorStatistics*> two_bytes;  // of what they read
  // A pointwise result that depends on one other value alone, and that value.
  std::unordered_map<const Value*, const Value*> bases;
  std::unordered_map<const Value*, QuantParams> params;  // of the tensors that become bytes
  std::unordered_map<const Value*, Tensor> tables;       // of the results that tables give
  // Of the channels of a product's input, where biases are to be corrected.
  std::unordered_map<const Node*, std::vector<double>> input_means;
  QuantizeReport report;

  bool is_integer(const Node* node) const { return node != nullptr && integer.contains(node); }
  bool in_bytes(const Value* v) const { return params.contains(v); }
  Support support(const Node& node) const {
    const auto it = supports.find(&node);
    return it == supports.end() ? Support::none : it->second;
  }
  const Value* base_of(const Value* v) const {
    const auto it = bases.find(v);
    return it == bases.end() ? v : it->second;
  }
  // A node that moves bytes as it moves reals.
  bool moves_bytes(const Node& node) const {
    return support(node) == Support::move && is_integer(&node) && in_bytes(node.output());
  }
};

bool is_product(const Node& node);
// What quantize() decides on: a product or a recurrent layer.
bool is_candidate(const Node& node);
// Why a product of a graph after prepare() cannot be of integers; empty where it can.
std::string product_refusal(const Node& node);

// Errors as those of quantize().
Result<Plan> make_plan(const Graph& graph, const FunctionStatistics& statistics,
                       const QuantizeOptions& options);

}  // namespace tenon::quant
