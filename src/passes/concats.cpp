// Concats of concats, once pointwise ops are grouped.
#include <algorithm>

#include "ops/concat.h"
#include "passes/passes.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

constexpr size_t kMostParts = 64;

// A concat of reals along their last dim.
bool joins_channels(const Value* v) {
  const Node* node = v->producer();
  if (node == nullptr || !node->is("concat") || !v->shape().ranked()) return false;
  const int64_t axis = node->as<Concat>()->axis;
  return v->dtype() == DType::f32 && (axis == -1 || axis == v->shape().rank() - 1);
}

// concat(concat(x, y), z) = concat(x, y, z) where a kernel reads it that reads parts as well: then
// neither has to be written. All other readers are concats to which the same is done.
Result<bool> flatten_concat(Graph& graph, Node& node) {
  if (!joins_channels(node.output()) || graph.is_output(node.output())) return false;
  int kernels = 0;
  for (const Use& use : node.output()->uses()) {
    if (!use.user->is("fused") && !joins_channels(use.user->output(0))) return false;
    kernels += use.user->is("fused") ? 1 : 0;
  }
  std::vector<Value*> parts;
  for (Value* v : node.inputs()) {
    if (joins_channels(v))
      parts.insert(parts.end(), v->producer()->inputs().begin(), v->producer()->inputs().end());
    else
      parts.push_back(v);
  }
  if (kernels != 1 || parts.size() > kMostParts || parts.size() == node.inputs().size())
    return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  replace_node(graph, node, TRY(builder.op("concat", parts, {{"axis", int64_t{-1}}})));
  return true;
}

constexpr Rule kRules[] = {
    {"flatten-concat", "concat(concat(x, y), z) = concat(x, y, z) where one kernel reads it",
     flatten_concat},
};

}  // namespace

std::span<const Rule> concat_rules() {
  return kRules;
}

}  // namespace tenon
