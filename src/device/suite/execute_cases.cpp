// Models of many ops against the reference.
#include "device/suite/cases.h"
#include "device/suite/models.h"

namespace tenon::device {
namespace {

Status execute(Bench& bench, std::string_view graph) {
  const Blob file = TRY(file_of(graph));
  const auto program = TRY(loaded(bench, file));
  // Twice: the second finds everything made.
  for (const uint32_t seed : {1U, 2U}) {
    const auto inputs = TRY(inputs_for(graph, 2, seed));
    const auto expected = TRY(expected_of(graph, inputs));
    TRY(compare_all(bench, TRY(program->run(inputs, {})), expected));
  }
  return {};
}

}  // namespace

std::vector<Case> execute_cases() {
  std::vector<Case> cases;
  for (const SuiteModel& model : suite_models())
    cases.push_back({"execute/" + std::string(model.name),
                     [graph = model.graph](Bench& bench) { return execute(bench, graph); }});
  return cases;
}

}  // namespace tenon::device
