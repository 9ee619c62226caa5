// A compiled model against what was imported: the runtime runs the file, the reference interpreter
// the graph before any pass, on the same inputs.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "compiler/compile.h"
#include "runtime/model.h"

namespace tenon {

struct VerifyOptions {
  // Given inputs by name, for functions that have them all; others get made-up ones.
  std::map<std::string, Tensor> inputs;
  // Verify whatever it costs, and fail where it cannot be done; else a function whose reference run
  // would take longer than `seconds`, or that cannot be run on made-up inputs, is passed over.
  bool always = false;
  double seconds = 1;
  // Relative L2 of each output. More is allowed where rounding alone moves the outputs so far.
  double tolerance = 1e-3;
  runtime::LoadOptions load;
};

// What was done for one function.
struct Verification {
  std::string key;
  bool verified = false;
  std::string reason;      // why not
  double relative_l2 = 0;  // of the output that is furthest from the reference's
};

// The seconds that the reference interpreter takes at most for inputs of these types, roughly.
double estimated_seconds(const Graph& graph, std::span<const Tensor> inputs);

// `compiled` must have been made with keep_imported. One entry for each function. Error: internal
// where an output differs, saying the first node of the user's model that does, with a reproducer.
Result<std::vector<Verification>> verify_compiled(const Compiled& compiled,
                                                  const VerifyOptions& options);

}  // namespace tenon
