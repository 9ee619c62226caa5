// Techniques against what integers lose, each used where it makes the outputs on calibration data
// better.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "calibrate/calibrate.h"
#include "calibrate/trial.h"

namespace tenon {

// What a technique does for the outputs.
struct TechniqueGain {
  std::string name;
  double without = 0, with = 0;  // relative L2 at the outputs
  bool used = true;
};

using DisabledNames = std::set<std::string, std::less<>>;

// A function with other weights that computes the same, and what it holds on the data.
struct RescaledFunction {
  NamedGraph function;
  quant::FunctionStatistics statistics;
};

// The function with channels rescaled (quant/rescale.h), as far as that helps; null where it does
// not. `trial` is of the function.
Result<std::unique_ptr<RescaledFunction>> rescale_function(
    const Trial& trial, const quant::FunctionStatistics& statistics,
    const quant::QuantizeOptions& options, const CalibrationOptions& how,
    const DisabledNames& disabled, std::vector<TechniqueGain>& gains);

// Has recurrent layers multiply two bytes of each number where one loses: what they read and give
// is rounded by each row's own range, whatever lies in it. Those that would be no faster than in
// fp32, as predicted for this CPU, stay in fp32 unless `forced`.
Status choose_recurrent(const Trial& trial, const quant::FunctionStatistics& statistics,
                        const DisabledNames& disabled, bool forced, quant::QuantizeOptions& options,
                        std::vector<TechniqueGain>& gains);

// The same of dense layers, whose input is rounded by one range for all data. Only those that gain
// by it; where they would be no faster than in fp32 they multiply one byte, unless `forced`.
Status choose_dense(const Trial& trial, const quant::FunctionStatistics& statistics,
                    const DisabledNames& disabled, bool forced, quant::QuantizeOptions& options,
                    std::vector<TechniqueGain>& gains);

// Keeps the first products, or the last, in fp32 where they alone lose most of what is lost, that
// is much, and the model takes little longer for it, as predicted for this CPU.
Status choose_ends(const Trial& trial, const quant::FunctionStatistics& statistics,
                   const DisabledNames& disabled, quant::QuantizeOptions& options,
                   std::vector<TechniqueGain>& gains);

// Whether biases make up for rounded weights: unless the outputs are better without. Biases that
// were fitted do already.
Status choose_bias_correction(const Trial& trial, const quant::FunctionStatistics& statistics,
                              quant::QuantizeOptions& options, std::vector<TechniqueGain>& gains);

// Takes `other` in place of `options` where the outputs are clearly better with it, and notes the
// gain under `name`.
Status take_if_better(const Trial& trial, const quant::FunctionStatistics& statistics,
                      std::string name, quant::QuantizeOptions other,
                      quant::QuantizeOptions& options, std::vector<TechniqueGain>& gains);

// Chooses how weights are rounded (quant/rounding.h), where that helps.
Status choose_rounding(const Trial& trial, const quant::FunctionStatistics& statistics,
                       const CalibrationOptions& how, const DisabledNames& disabled,
                       quant::QuantizeOptions& options, std::vector<TechniqueGain>& gains);

}  // namespace tenon
