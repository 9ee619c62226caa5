// The options of every command that runs something: whose code, and for how long.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "import/importer.h"
#include "runtime/model.h"

namespace tenon::tool {

struct RunLimits {
  std::vector<std::string> custom_ops;
  bool allow_embedded_code = false;
  int64_t max_loop_iterations = 0;
};

void add_custom_ops(CLI::App& command, std::vector<std::string>& paths);
void add_embedded_code(CLI::App& command, bool& allowed);
void add_max_loop_iterations(CLI::App& command, int64_t& iterations);
// All of them.
void add_run_limits(CLI::App& command, RunLimits& a);

runtime::LoadOptions load_options(const RunLimits& a, int threads = 0);
// The options for a model that is not compiled yet. Errors: of the libraries and decompositions.
Result<ImportOptions> import_options(const runtime::LoadOptions& options);

}  // namespace tenon::tool
