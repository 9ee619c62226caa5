// The options of every command that reads a model.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "calibrate/settings.h"
#include "import/importer.h"

namespace tenon::tool {

struct ModelArguments {
  std::string model, signature;
  std::vector<std::string> shapes, inputs, outputs, custom_ops;
  bool json = false;
};

void add_input_shapes(CLI::App& command, std::vector<std::string>& shapes);
// --inputs and --outputs: where to cut a graph.
void add_cuts(CLI::App& command, ModelArguments& a);
void add_model_arguments(CLI::App& command, ModelArguments& a);
void add_calibration(CLI::App& command, CalibrationSettings& settings);
// Error: invalid_argument for an --input-shape that is none.
Result<ImportOptions> import_options(const ModelArguments& a);

}  // namespace tenon::tool
