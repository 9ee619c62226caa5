#include "run_arguments.h"

#include "import/custom_ops.h"
#include "number_arguments.h"

namespace tenon::tool {

void add_custom_ops(CLI::App& command, std::vector<std::string>& paths) {
  command
      .add_option("--custom-ops", paths,
                  "shared library with ops of your own (see `tenon new-op`), or a .tn file with "
                  "decompositions; repeatable")
      ->allow_extra_args(false);
}

void add_embedded_code(CLI::App& command, bool& allowed) {
  command.add_flag(
      "--allow-embedded-code", allowed,
      "run the libraries of custom ops that the file itself carries: for files you trust");
}

void add_max_loop_iterations(CLI::App& command, int64_t& iterations) {
  command
      .add_option("--max-loop-iterations", iterations,
                  "end a loop with an error after so many (default: 100 million)")
      ->check(positive_number());
}

void add_run_limits(CLI::App& command, RunLimits& a) {
  add_custom_ops(command, a.custom_ops);
  add_embedded_code(command, a.allow_embedded_code);
  add_max_loop_iterations(command, a.max_loop_iterations);
}

runtime::LoadOptions load_options(const RunLimits& a, int threads) {
  runtime::LoadOptions options;
  options.threads = threads;
  options.max_loop_iterations = a.max_loop_iterations;
  options.custom_ops = {a.custom_ops, a.allow_embedded_code};
  return options;
}

Result<ImportOptions> import_options(const runtime::LoadOptions& options) {
  ImportOptions import;
  if (!options.custom_ops.libraries.empty())
    import.custom_ops = TRY(CustomOps::load(options.custom_ops.libraries));
  return import;
}

}  // namespace tenon::tool
