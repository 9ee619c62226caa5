#include "file_arguments.h"

#include "number_arguments.h"

namespace tenon::tool {

void add_file_arguments(CLI::App& command, FileArguments& a, bool threads) {
  command.add_option("FILE", a.file, ".tenon file")->required();
  command.add_option("--signature", a.signature, "signature to run (default: serving_default)");
  if (threads)
    command.add_option("--threads", a.threads, "threads (default: one per core)")
        ->check(positive_number());
  add_run_limits(command, a);
  command.add_flag("--json", a.json, "machine-readable output");
}

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

}  // namespace tenon::tool
