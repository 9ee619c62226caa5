// `tenon explain --target`: how a chip would compute each layer, and why not another way.
#pragma once

#include <string>

#include "model_arguments.h"

namespace tenon::tool {

struct ChipExplainArguments : ModelArguments {
  std::string target, precision = "fp16", layers = "*", folder, html;
  int64_t batch = 1;
  bool memory = false;  // also what lives where and when
};

// Everything it prints is simulated.
Status explain_for_chip(const ChipExplainArguments& a);

}  // namespace tenon::tool
