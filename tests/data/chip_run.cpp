// Graphs through the lowering and the simulator of a chip.
#include <fmt/format.h>

#include <algorithm>

#include "chip/simulated_graph.h"
#include "ir/graph.h"
#include "passes/passes.h"
#include "runner.h"

namespace tenon::data_tests {

Result<std::vector<Tensor>> run_on_chip(const Graph& graph, std::span<const Tensor> inputs,
                                        const std::string& target, const LowerOptions& options,
                                        bool whole) {
  static const MachineCatalog catalog = MachineCatalog::load().value();
  // Chips take graphs of known sizes.
  const auto bound = graph.clone();
  for (size_t i = 0; i < inputs.size(); ++i) bound->inputs()[i]->set_type(inputs[i].type());
  TRY(bound->infer_all());
  PassContext context;
  TRY(rewrite_for_chips(*bound, context));
  const auto program = TRY(lower_graph(*bound, *TRY(catalog.find(target)), options));
  for (const DeviceStep& step : program.steps)
    if (whole && !step.program)
      return internal_error(
          fmt::format("'{}' is left to the host: {}", step.node->def().name, step.reason));
  const auto is_asked = [&](const DeviceStep& step) {
    return step.program && step.program->algorithm == options.algorithm;
  };
  if (!options.algorithm.empty() && std::ranges::none_of(program.steps, is_asked))
    return unsupported(fmt::format("no kernel is {}", options.algorithm));
  const auto simulated = TRY(SimulatedGraph::load(*bound, program));
  return simulated->run(inputs, {});
}

}  // namespace tenon::data_tests
