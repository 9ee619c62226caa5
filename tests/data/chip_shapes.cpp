// The graphs of shape_cases.h on chips of both families. Numbers are sixteenths, which f16 has,
// too: what rounds or compares has to be the reference's, element by element.
#include <fmt/format.h>

#include <cmath>
#include <random>

#include "ir/interpret.h"
#include "ir/text.h"
#include "passes/passes.h"
#include "rewrite/pass.h"
#include "runner.h"
#include "shape_cases.h"

namespace tenon::data_tests {
namespace {

// Sixteenths from -4 to 4, whole numbers from -9 to 9, true and false.
Result<std::vector<Tensor>> inputs_of(const Graph& graph, uint32_t seed) {
  std::mt19937 random(seed);
  const auto between = [&](int low, int high) {
    return low + static_cast<int>(random() % static_cast<uint32_t>(high - low + 1));
  };
  std::vector<Tensor> inputs;
  for (const auto& input : graph.inputs()) {
    Tensor t = TRY(Tensor::zeros(input->dtype(), input->shape().sizes()));
    for (int64_t i = 0; i < t.elements(); ++i) {
      if (t.dtype() == DType::f32)
        t.mutable_data<float>()[i] = static_cast<float>(between(-64, 64)) / 16;
      else if (t.dtype() == DType::i32)
        t.mutable_data<int32_t>()[i] = between(-9, 9);
      else
        t.mutable_data<bool>()[i] = between(0, 1) == 1;
    }
    inputs.push_back(std::move(t));
  }
  return inputs;
}

struct Target {
  std::string name;
  DType real;
  double tolerance;
};

// Every element, against itself or the size of most of them.
Status expect_elements(const Tensor& actual, const Tensor& expected, const Target& target) {
  if (!is_float(expected.dtype()))
    return expect_close(std::span(&actual, 1), std::span(&expected, 1), 0, target.name);
  constexpr double kMost = 6e4;  // of f16
  double squares = 0;
  for (int64_t i = 0; i < expected.elements(); ++i) {
    const double e = expected.real_at(i);
    if (std::abs(e) < kMost) squares += e * e;
  }
  const double size =
      std::sqrt(squares / static_cast<double>(std::max<int64_t>(expected.elements(), 1)));
  int64_t wrong = 0, first = 0;
  for (int64_t i = 0; i < expected.elements(); ++i) {
    const double a = actual.real_at(i), e = expected.real_at(i);
    if (std::abs(e) >= kMost && target.real == DType::f16) continue;
    if (a == e || (std::isnan(a) && std::isnan(e))) continue;
    if (std::abs(a - e) <= target.tolerance * std::max(std::abs(e), size)) continue;
    if (wrong++ == 0) first = i;
  }
  if (wrong == 0) return {};
  return internal_error(fmt::format("{}: {} of {} elements are wrong, the first at {}: {}, not {}",
                                    target.name, wrong, expected.elements(), first,
                                    actual.real_at(first), expected.real_at(first)));
}

Status check_case(const ShapeCase& c, uint32_t seed, const Target& target) {
  const std::string text = c.graph(seed);
  const auto attempt = [&]() -> Status {
    const auto graph = TRY(parse_graph(text, "the case"));
    const auto inputs = TRY(inputs_of(*graph, seed));
    const auto expected = TRY(interpret(*graph, inputs));
    PassContext context;
    TRY(optimize(*graph, context));
    const auto actual = TRY(run_on_chip(*graph, inputs, target.name, {.real = target.real}));
    for (size_t i = 0; i < expected.size(); ++i)
      TRY(expect_elements(actual[i], expected[i], target));
    return {};
  };
  Status status = attempt();
  if (status.ok()) return status;
  return std::move(status).error().note("of the graph\n" + text);
}

}  // namespace

void run_chip_shapes(Runner& runner) {
  const std::vector<Target> targets{
      {"ascend310p3", DType::f16, 2e-2},  {"ascend910b3", DType::f32, 2e-5},
      {"mlu370-s4", DType::f32, 2e-5},    {"mlu370-x4", DType::f16, 2e-2},
      {"ascend310b1", DType::bf16, 5e-2}, {"mlu590", DType::bf16, 5e-2}};
  for (const ShapeCase& c : shape_cases())
    for (uint32_t seed = 0; seed < runner.options().random_graphs / 50; ++seed)
      for (const Target& t : targets)
        runner.run(fmt::format("shapes/{}/{} [{}]", c.name, seed, t.name),
                   [&] { return check_case(c, seed, t); });
}

}  // namespace tenon::data_tests
