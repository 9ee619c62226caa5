// Graphs through the lowering and the simulator of a chip.
#include "chip/simulated_graph.h"
#include "runner.h"

namespace tenon::data_tests {

Result<std::vector<Tensor>> run_on_chip(const Graph& graph, std::span<const Tensor> inputs,
                                        const std::string& target, DType real) {
  static const MachineCatalog catalog = MachineCatalog::load().value();
  // Chips take graphs of known sizes.
  const auto bound = graph.clone();
  for (size_t i = 0; i < inputs.size(); ++i) bound->inputs()[i]->set_type(inputs[i].type());
  TRY(bound->infer_all());
  const auto program = TRY(lower_graph(*bound, *TRY(catalog.find(target)), {.real = real}));
  const auto simulated = TRY(SimulatedGraph::load(*bound, program));
  return simulated->run(inputs, {});
}

}  // namespace tenon::data_tests
