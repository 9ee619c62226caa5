// What `tenon check --precision` says: whether a precision is faster, layer by layer.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "compiler/compile.h"

namespace tenon::tool {

struct PrecisionQuestion {
  std::string precision;               // empty: not asked
  std::string target = "cpu", folder;  // a chip, and where its description may be
  std::string cpu;                     // level (cost/cpu_cost.h); empty: this one
  int64_t batch = 1;
  bool json = false;

  bool operator()() const { return !precision.empty(); }
};

// The error for the texts themselves.
Status check_question(const PrecisionQuestion& question);
// Prints the answer, or gives it as JSON. The graphs of the model are changed. Errors: those of
// predict() for a chip.
Result<nlohmann::json> answer(const PrecisionQuestion& question, ImportedModel& model);

}  // namespace tenon::tool
