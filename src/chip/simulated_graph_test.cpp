#include "chip/simulated_graph.h"

#include <gtest/gtest.h>

#include "ir/text.h"
#include "lower/lowering.h"

namespace tenon {
namespace {

// A dropout that keeps all, as frozen TensorFlow graphs have it.
constexpr std::string_view kDropout = R"(graph @main (%keep: f32[1]) {
  %shape = const dense<[30000]> : i64[1]
  %u = random_uniform(%shape)
  %s = add(%u, %keep)
  %y = floor(%s)
  return (%y)
}
)";

TEST(SimulatedGraph, DrawsRandomNumbersInTheTypeOfTheChip) {
  const auto graph = parse_graph(kDropout, "dropout").value();
  const MachineCatalog catalog = MachineCatalog::load().value();
  const Tensor keep = Tensor::vector<float>({1});
  for (const std::string target : {"ascend310p3", "mlu370-s4"}) {
    const DeviceProgram program =
        lower_graph(*graph, **catalog.find(target), {.real = DType::f16}).value();
    const auto chip = SimulatedGraph::load(*graph, program).value();
    const auto outputs = chip->run({&keep, 1}, {}).value();
    for (const float kept : outputs[0].span<float>()) ASSERT_EQ(kept, 1) << target;
  }
}

}  // namespace
}  // namespace tenon
