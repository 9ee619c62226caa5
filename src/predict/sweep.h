// What predictions of one model on one chip over batch sizes say together: where throughput bends,
// and why; as words, and as a page to look at.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "predict/predict.h"

namespace tenon {

// Of one target in one precision, by growing batch. A sentence each: the best batch, where
// throughput stops growing or falls, and what of the chip is behind it.
std::vector<std::string> explain_sweep(std::span<const Prediction> sweep);

// A page without anything to load from elsewhere: throughput over batch for every target, the band
// around it, a table of all figures, and what explain_sweep says.
std::string sweep_page(const std::string& model, std::span<const Prediction> predictions);

// Predictions of each target and precision together, in the order given.
std::vector<std::vector<Prediction>> sweeps_of(std::span<const Prediction> predictions);

}  // namespace tenon
