// Random graphs of 5 to 50 ops: optimised they compute what they did before, pass by pass and on
// the CPU device; text and file read back the same; a pass that has run changes nothing when run
// again.
#include <fmt/format.h>

#include <cmath>

#include "graph_generator.h"
#include "ir/interpret.h"
#include "ir/text.h"
#include "passes/passes.h"
#include "runner.h"
#include "tensor/compare.h"

namespace tenon::data_tests {
namespace {

// A pass that has just run finds nothing to do.
Status check_idempotent(const Graph& original) {
  for (const Pass& pass : all_passes()) {
    const auto graph = original.clone();
    PassContext context;
    TRY(run_pass(*graph, pass, context));
    const std::string once = print_graph(*graph, TextForm::kFull);
    if (TRY(run_pass(*graph, pass, context)))
      return internal_error(fmt::format("pass '{}' changes what it made:\n{}\nbecomes\n{}",
                                        pass.name, once, print_graph(*graph, TextForm::kFull)));
  }
  return {};
}

// As close as rounding leaves results that may be differences of nearly equal numbers, or beyond
// what f32 holds.
Status expect_near(std::span<const Tensor> actual, std::span<const Tensor> expected,
                   const std::string& what) {
  constexpr double kTolerance = 1e-4, kSmallest = 1e-5, kLargest = 1e36;
  if (actual.size() != expected.size()) return expect_close(actual, expected, kTolerance, what);
  for (size_t i = 0; i < expected.size(); ++i) {
    if (compare(actual[i], expected[i]).max_abs <= kSmallest) continue;
    bool is_finite = true;
    for (int64_t k = 0; k < expected[i].elements() && is_float(expected[i].dtype()); ++k)
      is_finite &= std::abs(expected[i].real_at(k)) < kLargest;
    if (is_finite)
      TRY(expect_close(actual.subspan(i, 1), expected.subspan(i, 1), kTolerance,
                       fmt::format("{}: of result {}", what, i)));
  }
  return {};
}

Status check_graph(uint32_t seed) {
  const auto original = TRY(random_graph(seed));
  TRY(check_round_trips(*original));
  TRY(check_idempotent(*original));
  const auto inputs = TRY(random_inputs(*original, seed));
  const auto interpreted = interpret(*original, inputs);
  if (!interpreted.ok()) {  // sizes that only show when it runs do not fit
    if (run_on_cpu(*original, inputs).ok())
      return internal_error("the CPU runs what the interpreter refuses: " +
                            interpreted.error().to_string());
    return {};
  }
  const std::vector<Tensor>& expected = *interpreted;
  TRY(expect_near(TRY(run_on_cpu(*original, inputs)), expected, "on the CPU"));
  auto graph = original->clone();
  PassContext context;
  context.observer = [&](const Pass& pass, const Graph& after, bool changed) -> Status {
    if (!changed) return {};
    return expect_near(TRY(interpret(after, inputs)), expected,
                       fmt::format("after pass '{}'", pass.name));
  };
  TRY(optimize(*graph, context));
  TRY(check_round_trips(*graph));
  TRY(check_idempotent(*graph));
  TRY(expect_near(TRY(run_on_cpu(*graph, inputs)), expected, "optimised, on the CPU"));
  for (const std::string chip : {"ascend910b3", "mlu370-s4"})
    TRY(expect_near(TRY(run_on_chip(*graph, inputs, chip, {.real = DType::f32})), expected,
                    "on " + chip));
  return {};
}

}  // namespace

void run_random_graphs(Runner& runner) {
  for (uint32_t seed = 0; seed < runner.options().random_graphs; ++seed)
    runner.run(fmt::format("random/{}", seed), [&]() -> Status {
      Status status = check_graph(seed);
      if (status.ok()) return status;
      const auto graph = random_graph(seed);
      return std::move(status).error().note(
          "of the graph\n" + (graph.ok() ? print_graph(**graph, TextForm::kFull) : std::string()));
    });
}

}  // namespace tenon::data_tests
