// `tenon compile --prepack`: the forms in which kernels read weights are kept in the file, so that
// loading makes none.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "format/model_file.h"
#include "runtime/model.h"

namespace tenon::tool {

struct PrepackArguments {
  bool prepack = false;
  std::vector<int64_t> batches = {1};
};
void add_prepack(CLI::App& command, PrepackArguments& arguments);

// Runs the functions of `path` once for each batch and puts what they packed into `model`, which
// is what the file holds; returns its bytes. Functions that cannot be run on made-up inputs are
// passed over with a warning: what they need is made when they are loaded.
Result<int64_t> prepack_model(const std::string& path, const PrepackArguments& arguments,
                              runtime::LoadOptions load, FileModel& model,
                              std::vector<std::string>& warnings);

}  // namespace tenon::tool
