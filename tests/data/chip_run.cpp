// Graphs through the lowering and the simulator of a chip.
#include "chip/simulated_graph.h"
#include "runner.h"

namespace tenon::data_tests {

Result<std::vector<Tensor>> run_on_chip(const Graph& graph, std::span<const Tensor> inputs,
                                        const std::string& target, DType real) {
  static const MachineCatalog catalog = MachineCatalog::load().value();
  const DeviceProgram program = TRY(lower_graph(graph, *TRY(catalog.find(target)), {.real = real}));
  const auto simulated = TRY(SimulatedGraph::load(graph, program));
  return simulated->run(inputs, {});
}

}  // namespace tenon::data_tests
