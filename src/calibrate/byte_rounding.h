// Weights that become bytes while what they are multiplied by stays real, or is rounded when the
// layer runs, rounded for the least error of the layer's results on the inputs it has.
#pragma once

#include "calibrate/techniques.h"

namespace tenon {

// Sets QuantizeOptions::weights where that makes the outputs of the trial better. A part of
// "adaptive-rounding".
Status choose_byte_rounding(const Trial& trial, const quant::FunctionStatistics& statistics,
                            const CalibrationOptions& how, const DisabledNames& disabled,
                            quant::QuantizeOptions& options, std::vector<TechniqueGain>& gains);

}  // namespace tenon
