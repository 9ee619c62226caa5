// Runs a graph on the user's data, for the statistics of all its tensors.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "calibrate/dataset.h"
#include "compiler/compile.h"
#include "ir/named_graph.h"
#include "quant/statistics.h"
#include "runtime/model.h"

namespace tenon {

struct CalibrationOptions {
  std::string
      data;  // file or folder (open_dataset); empty: random numbers, whose ranges are guesses
  Preprocess preprocess;
  int64_t samples = 256;  // at most; taken evenly from data whose size is known
  // Where statistics are kept: read where they are there, written as they come. May be empty.
  std::string statistics_file;
  uint32_t seed = 1;
  runtime::LoadOptions load;
  // Told how far it is; total is 0 where nobody knows. May be empty.
  std::function<void(int64_t done, int64_t total)> progress;
};

struct Calibration {
  quant::FunctionStatistics statistics;
  std::vector<std::string> warnings;
};

// `function` after quant::prepare(). A statistics file that is complete for the graph and the data
// is used as it is; one that is not is continued. Errors: those of the data; invalid_argument for a
// file that was taken of another model or other data.
Result<Calibration> calibrate(const NamedGraph& function, const CalibrationOptions& options);

// The inputs that the user's model has, as the runtime would show them.
std::vector<runtime::PortInfo> ports_of(const NamedGraph& function);

// Up to `count` samples of the data, evenly, in memory: fewer where they are large.
Result<std::vector<Sample>> some_samples(const NamedGraph& function,
                                         const CalibrationOptions& options, int64_t count);

}  // namespace tenon
