// Programs for chips put into a model: each function is lowered for each chip and batch, and the
// file carries what came out beside the portable graph.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/model_file.h"
#include "lower/device_program.h"
#include "predict/predict.h"

namespace tenon {

// The chips of names of chips and families, each once, in the order given; "cpu" is what every file
// runs on and is passed over. Error: unsupported, with the nearest and all names.
Result<std::vector<const Machine*>> chips_named(const MachineCatalog& catalog,
                                                std::span<const std::string> names);

// A node that a chip leaves to the host.
struct HostNode {
  std::string name, op;  // in the user's model
  std::string reason;
  int64_t bytes = 0;   // that cross between host and chip
  double seconds = 0;  // predicted, the crossing included
};

// What became of one function for one chip and batch.
struct ChipReport {
  std::string target, function;
  std::string inputs;   // their types
  std::string missing;  // why there is no program: it is made when the sizes are known
  size_t kernels = 0;
  std::vector<HostNode> host;
  Prediction prediction;
};

// Adds a section for each chip to the model, replacing one that is there. Where the first dimension
// of inputs is open, a program is made for each of `batches`. Errors: resource_exhausted where a
// chip's memory is too small, with the largest layers; internal.
Result<std::vector<ChipReport>> add_chip_programs(FileModel& model,
                                                  std::span<const Machine* const> machines,
                                                  std::span<const int64_t> batches,
                                                  std::string_view precision);

}  // namespace tenon
