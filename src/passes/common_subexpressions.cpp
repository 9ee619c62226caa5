// One node for equal ops on equal operands; one constant for equal contents.
#include <unordered_map>

#include "ops/constant.h"
#include "passes/passes.h"

namespace tenon {
namespace {

// Enough to tell constants apart; equality looks at every byte.
uint64_t constant_hash(const Tensor& t) {
  constexpr size_t kWhole = 4096, kSamples = 64, kStep = 64;
  if (t.is_list() || t.dtype() == DType::string || t.byte_size() <= kWhole) return tensor_hash(t);
  uint64_t h = t.byte_size() * 31 + static_cast<uint64_t>(t.dtype());
  const std::string_view bytes(static_cast<const char*>(t.raw()), t.byte_size());
  for (size_t i = 0; i < kSamples; ++i) {
    const size_t at = (bytes.size() - kStep) / (kSamples - 1) * i;
    h = h * 1099511628211u + std::hash<std::string_view>{}(bytes.substr(at, kStep));
  }
  return h;
}

uint64_t node_hash(const Node& node) {
  if (const Tensor* t = node.output()->constant()) return constant_hash(*t);
  uint64_t h = std::hash<std::string_view>{}(node.def().name);
  for (const Value* v : node.inputs()) h = h * 1099511628211u + reinterpret_cast<uintptr_t>(v);
  return h;
}

bool same_computation(const Node& a, const Node& b) {
  return a.inputs() == b.inputs() && a.output_count() == b.output_count() && equal(a.op(), b.op());
}

}  // namespace

Result<bool> eliminate_common_subexpressions(Graph& graph, PassContext& context) {
  bool changed = false;
  std::unordered_multimap<uint64_t, Node*> seen;
  for (const auto& node : graph.nodes()) {
    for (const auto& region : node->regions())
      changed |= TRY(eliminate_common_subexpressions(*region, context));
    if (node->def().has(kRandom) || !node->regions().empty() || node->output_count() == 0) continue;
    const uint64_t hash = node_hash(*node);
    Node* twin = nullptr;
    const auto [first, last] = seen.equal_range(hash);
    for (auto it = first; it != last && twin == nullptr; ++it)
      if (same_computation(*it->second, *node)) twin = it->second;
    if (twin == nullptr) {
      seen.emplace(hash, node.get());
      continue;
    }
    bool used = false;
    for (int i = 0; i < node->output_count(); ++i) {
      used |= !node->output(i)->uses().empty() || graph.is_output(node->output(i));
      graph.replace_all_uses(node->output(i), twin->output(i));
    }
    if (used && !node->is("const"))
      context.firings.push_back({"common-subexpressions",
                                 node->origins.empty() ? std::string() : node->origins[0], 1,
                                 intermediate_bytes(*node)});
    changed |= used;
  }
  return remove_dead_nodes(graph) > 0 || changed;
}

}  // namespace tenon
