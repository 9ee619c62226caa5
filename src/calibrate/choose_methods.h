// Which method gives each tensor its range, by the error that it causes at the model's outputs.
#pragma once

#include "calibrate/trial.h"

namespace tenon {

// Sets the method of the options and of single tensors: first the one that is best for all, then
// for each tensor whose range depends on it whatever is better still. The number of
// trials is bounded by what a run costs; what has not been tried by then stays as it is.
Status choose_methods(const Trial& trial, const quant::FunctionStatistics& statistics,
                      quant::QuantizeOptions& options);

}  // namespace tenon
