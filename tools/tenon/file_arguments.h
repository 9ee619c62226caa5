// What the commands that work on a .tenon file share: their options, sample inputs, the clock.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/model.h"

namespace tenon::tool {

// The notes the compiler leaves of the rules that fired, one per signature, begin so.
constexpr std::string_view kRulesNote = "rules.";

struct FileArguments {
  std::string file, signature;
  int threads = 0;
  bool json = false;
};

void add_file_arguments(CLI::App& command, FileArguments& a);

// Inputs of the declared types, open dimensions set to the batch (the first) or 1; small values
// from the seed. Error: unsupported for an input without a rank or of lists.
Result<std::vector<Tensor>> sample_inputs(std::span<const runtime::PortInfo> ports, int64_t batch,
                                          uint32_t seed = 1);

double milliseconds_since(std::chrono::steady_clock::time_point begin);

}  // namespace tenon::tool
