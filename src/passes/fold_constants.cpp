// Evaluates what depends on constants alone, and writes down what shape inference has solved.
#include "passes/passes.h"

namespace tenon {
namespace {

// Folding must not blow the file up: results larger than this stay computed unless they shrink.
constexpr int64_t kMaxFoldedBytes = 1 << 20;

bool all_inputs_constant(const Node& node) {
  for (const Value* v : node.inputs())
    if (v != nullptr && v->constant() == nullptr) return false;
  return true;
}

int64_t input_bytes(const Node& node) {
  int64_t bytes = 0;
  for (const Value* v : node.inputs())
    if (v != nullptr) bytes += static_cast<int64_t>(v->constant()->byte_size());
  return bytes;
}

// The value of an integer tensor that shape inference knows in full.
std::optional<Tensor> known_value(const Value& value) {
  const auto& ints = value.ints();
  if (!ints || !value.shape().is_static() || value.shape().rank() > 1) return std::nullopt;
  if (value.dtype() != DType::i32 && value.dtype() != DType::i64) return std::nullopt;
  auto tensor = Tensor::allocate(value.dtype(), value.shape().sizes());
  if (!tensor.ok() || tensor->elements() != static_cast<int64_t>(ints->size())) return std::nullopt;
  for (size_t i = 0; i < ints->size(); ++i) {
    if (!(*ints)[i].value) return std::nullopt;
    if (value.dtype() == DType::i32)
      tensor->mutable_data<int32_t>()[i] = static_cast<int32_t>(*(*ints)[i].value);
    else
      tensor->mutable_data<int64_t>()[i] = *(*ints)[i].value;
  }
  return std::move(*tensor);
}

Firing firing_at(const Node& node) {
  return {"fold-constants", node.origins.empty() ? std::string(node.def().name) : node.origins[0],
          1, intermediate_bytes(node)};
}

Result<bool> fold_node(Graph& graph, Node& node, PassContext& context) {
  if (node.is("const") || node.output_count() == 0) return false;
  Builder builder(graph, &node);
  if (const auto known = known_value(*node.output()); known && node.output_count() == 1) {
    graph.replace_all_uses(node.output(), builder.constant(*known));
    context.firings.push_back(firing_at(node));
    return true;
  }
  if (!node.def().has_eval || node.def().has(kRandom) || node.input_count() == 0 ||
      !all_inputs_constant(node))
    return false;
  int64_t bytes = 0;
  for (int i = 0; i < node.output_count(); ++i)
    bytes += node.output(i)->type().byte_size().value_or(0);
  if (bytes > kMaxFoldedBytes && bytes > input_bytes(node)) return false;
  std::vector<Tensor> operands;
  for (const Value* v : node.inputs()) operands.push_back(v == nullptr ? Tensor() : *v->constant());
  auto results = evaluate(node.op(), operands, node.output_count());
  if (!results.ok()) return false;  // it would fail when run, too, if it ever is
  for (const Tensor& t : *results)
    if (t.is_list() || !t.defined()) return false;
  for (int i = 0; i < node.output_count(); ++i)
    graph.replace_all_uses(node.output(i), builder.constant((*results)[static_cast<size_t>(i)]));
  context.firings.push_back(firing_at(node));
  return true;
}

}  // namespace

Result<bool> fold_constants(Graph& graph, PassContext& context) {
  bool changed = false;
  std::vector<Node*> order;
  for (const auto& node : graph.nodes()) order.push_back(node.get());
  for (Node* node : order) {
    for (const auto& region : node->regions()) changed |= TRY(fold_constants(*region, context));
    const bool folded = TRY(fold_node(graph, *node, context));
    if (!folded && changed) TRY(graph.infer(*node));
    changed |= folded;
  }
  if (changed) remove_dead_nodes(graph);
  return changed;
}

}  // namespace tenon
