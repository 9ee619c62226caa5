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
// --output: the file that is made of the model. Refuses a folder.
void add_output(CLI::App& command, std::string& output);
// `output`, or MODEL.tenon beside the model where it is empty; a model's folder such as . goes by
// its real name. Error: io where there is no folder for it, before the work and not after it.
Result<std::string> output_file(const std::string& output, const std::string& model);
// Error: invalid_argument for an --input-shape that is none.
Result<ImportOptions> import_options(const ModelArguments& a);

}  // namespace tenon::tool
