// What integers do to each layer of a model, and what each layer does to the outputs.
#pragma once

#include <string>
#include <vector>

#include "calibrate/techniques.h"
#include "calibrate/trial.h"

namespace tenon {

struct LayerAccuracy {
  std::string name;  // as in quant::LayerChoice
  std::string node;
  std::string op;
  bool integer = false;
  std::string reason;  // why it is in fp32
  Accuracy result;     // of the layer's result in the whole quantised model, against fp32
  // The layer's part of what is lost at the outputs where each is quantised alone: 0 to 1; negative
  // where that was not measured.
  double share = -1;
  double alone_relative_l2 = 0;  // at the outputs, this layer alone being integers
};

struct LayerReport {
  std::string key;
  size_t samples = 0;
  Accuracy outputs;
  std::vector<LayerAccuracy> layers;  // the largest share first
  std::vector<TechniqueGain> gains;
  quant::QuantizeReport choices;
};

// A way to quantise, with the trial to measure it.
struct Quantised {
  const Trial& trial;
  const quant::FunctionStatistics& statistics;
  const quant::QuantizeOptions& options;
};

// Shares are measured where a run for each layer is affordable, in `plain`, which has the weights
// as they came: they say which layers are hard, whatever was done about it.
Result<LayerReport> report_layers(const Quantised& chosen, const Quantised& plain);

// One page that needs no other file: the outputs, a bar for each layer, and the histogram of each
// tensor with the range that was chosen.
std::string layers_page(const std::vector<LayerReport>& reports,
                        const quant::Statistics& statistics, const std::string& title);

}  // namespace tenon
