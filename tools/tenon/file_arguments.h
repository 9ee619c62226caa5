// What the commands that work on a .tenon file share: their options, the clock.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "run_arguments.h"
#include "runtime/model.h"

namespace tenon::tool {

// The notes the compiler leaves of the rules that fired, one per signature, begin so.
constexpr std::string_view kRulesNote = "rules.";

struct FileArguments : RunLimits {
  std::string file, signature;
  int threads = 0;
  bool json = false;
};

// All of them; with `threads` false without --threads.
void add_file_arguments(CLI::App& command, FileArguments& a, bool threads = true);

double milliseconds_since(std::chrono::steady_clock::time_point begin);

}  // namespace tenon::tool
