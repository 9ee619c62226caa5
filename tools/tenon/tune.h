// `tenon compile --tune`: which kernel of those that apply is the fastest for each step, measured
// on the machine at hand.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "format/model_file.h"
#include "runtime/model.h"

namespace tenon::tool {

struct TuneArguments {
  bool tune = false;
  std::vector<int64_t> batches = {1};
  std::vector<int> threads;  // none: one per core
  double seconds = 10;       // for each function, batch and number of threads
};
void add_tune(CLI::App& command, TuneArguments& arguments);

// What tuning a function for one batch and number of threads came to.
struct Tuned {
  std::string key;  // of the function
  int64_t batch = 1;
  int threads = 1;
  size_t steps = 0, changed = 0;  // steps with a choice, and those where it is now another
  double before_ms = 0, after_ms = 0;
};

// Measures the functions of `path` and puts what is the fastest into the notes of `model`, which
// is what the file holds; measurements for other processors are kept. Functions that cannot be run
// on made-up inputs are passed over with a warning.
Result<std::vector<Tuned>> tune_model(
    const std::string& path, const TuneArguments& arguments, runtime::LoadOptions load,
    const std::function<void(int64_t done, int64_t total)>& progress, FileModel& model,
    std::vector<std::string>& warnings);

}  // namespace tenon::tool
