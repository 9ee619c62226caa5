#include "ir/interpret.h"

#include <fmt/format.h>

#include <unordered_map>

namespace tenon {
namespace {

template <typename T>
void disturb(Tensor& t, double noise, uint64_t& state) {
  for (T& x : std::span(t.mutable_data<T>(), static_cast<size_t>(t.elements()))) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double unit = static_cast<double>(state >> 11) * 0x1p-52 - 1;
    x = static_cast<T>(static_cast<double>(x) * (1 + noise * unit));
  }
}

// Copies: results may share memory with what others read.
Status add_noise(std::span<Tensor> results, double noise) {
  uint64_t state = 1;
  for (Tensor& t : results) {
    if (!t.defined() || t.is_list() || t.elements() == 0) continue;
    if (t.dtype() != DType::f32 && t.dtype() != DType::f64) continue;
    t = TRY(t.clone());
    t.dtype() == DType::f32 ? disturb<float>(t, noise, state) : disturb<double>(t, noise, state);
  }
  return {};
}

Result<std::vector<Tensor>> run_region(const Node& node, std::span<const Tensor> inputs,
                                       const InterpretOptions& options) {
  if (node.is("fused")) return interpret(*node.regions()[0], inputs, options);
  if (node.is("while")) {
    std::vector<Tensor> state(inputs.begin(), inputs.end());
    for (int64_t i = 0;; ++i) {
      const auto cond = TRY(interpret(*node.regions()[0], state, options));
      if (cond.size() != 1 || cond[0].is_list() || cond[0].elements() < 1)
        return invalid_model("the condition of a loop gives no value");
      if (cond[0].int_at(0) == 0) return state;
      if (i >= options.max_loop_iterations)
        return invalid_model(
            fmt::format("the loop has not ended after {} iterations, the most that "
                        "--max-loop-iterations allows",
                        options.max_loop_iterations));
      state = TRY(interpret(*node.regions()[1], state, options));
    }
  }
  if (inputs.empty() || inputs[0].is_list() || inputs[0].elements() < 1)
    return invalid_model(fmt::format("op '{}' needs a scalar to choose by", node.def().name));
  const auto branches = static_cast<int64_t>(node.regions().size());
  int64_t choice = inputs[0].int_at(0);
  if (node.is("if")) choice = choice != 0 ? 0 : 1;
  // TensorFlow's Case takes the last branch for an index outside.
  if (choice < 0 || choice >= branches) choice = branches - 1;
  return interpret(*node.regions()[static_cast<size_t>(choice)], inputs.subspan(1), options);
}

}  // namespace

Result<std::vector<Tensor>> interpret_node(const Node& node, std::span<const Tensor> operands,
                                           const InterpretOptions& options) {
  auto results = node.def().has_eval ? evaluate(node.op(), operands, node.output_count())
                                     : run_region(node, operands, options);
  if (!results.ok())
    return std::move(results).error().at(fmt::format(
        "node '{}' ({})", node.origins.empty() ? "" : node.origins[0], node.def().name));
  if (results->size() < static_cast<size_t>(node.output_count()))
    return invalid_model(fmt::format("the sub-graph of '{}' gives {} values, {} are needed",
                                     node.def().name, results->size(), node.output_count()));
  return results;
}

Result<std::vector<Tensor>> interpret(const Graph& graph, std::span<const Tensor> inputs,
                                      const NodeObserver& observer) {
  return interpret(graph, inputs, InterpretOptions{.observer = observer});
}

Result<std::vector<Tensor>> interpret(const Graph& graph, std::span<const Tensor> inputs,
                                      const InterpretOptions& options) {
  // Only the graph's own nodes are told to the observer.
  InterpretOptions inner = options;
  inner.observer = nullptr;
  std::unordered_map<const Value*, Tensor> values;
  if (inputs.size() != graph.inputs().size())
    return invalid_argument(fmt::format("graph '{}' takes {} inputs, {} were given", graph.name,
                                        graph.inputs().size(), inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs()[i].get()] = inputs[i];
  for (const auto& node : graph.nodes()) {
    if (options.check) TRY(options.check());
    std::vector<Tensor> operands;
    for (const Value* v : node->inputs()) operands.push_back(v == nullptr ? Tensor() : values[v]);
    auto results = interpret_node(*node, operands, inner);
    if (!results.ok()) return results;
    if (options.rounding_noise != 0 && !node->is("const"))
      TRY(add_noise(*results, options.rounding_noise));
    if (options.observer) options.observer(*node, *results);
    for (int i = 0; i < node->output_count(); ++i)
      values[node->output(i)] = std::move((*results)[static_cast<size_t>(i)]);
  }
  std::vector<Tensor> outputs;
  for (const Value* v : graph.outputs()) outputs.push_back(values[v]);
  return outputs;
}

}  // namespace tenon
