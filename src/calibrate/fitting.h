// Weights and biases of products fitted layer by layer, in the order of the network, each to what
// it gives in f32 when it reads what the layers before it give in integers.
#pragma once

#include "calibrate/techniques.h"

namespace tenon {

// Sets QuantizeOptions::rounded and biases where that makes the outputs of the trial better.
// Layers are taken together where a run for each would take too long; nothing is done where even
// that does.
Status fit_layers(const Trial& trial, const quant::FunctionStatistics& statistics,
                  const CalibrationOptions& how, quant::QuantizeOptions& options,
                  std::vector<TechniqueGain>& gains);

}  // namespace tenon
