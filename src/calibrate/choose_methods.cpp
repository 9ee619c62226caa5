#include "calibrate/choose_methods.h"

#include <algorithm>
#include <cmath>

namespace tenon {
namespace {

using quant::Method;

constexpr Method kCandidates[] = {Method::mse,        Method::min_max,
                                  Method::percentile, Method::moving_average,
                                  Method::entropy,    Method::aciq};
// By the estimate for the reference, which is some fifty times as slow; counted so and not by a
// clock that the same data give the same file.
constexpr double kSecondsForTrials = 1000;
constexpr int kMostTrials = 200;
// Ranges nearer than this are the same. What is gained by less than this, of the whole or by one
// tensor, may be chance.
constexpr double kSameRange = 0.03, kGain = 0.01, kTensorGain = 0.05;

bool differ(const quant::Range& a, const quant::Range& b) {
  const double width = std::max(a.high - a.low, b.high - b.low);
  return std::abs(a.high - b.high) + std::abs(a.low - b.low) > kSameRange * width;
}

}  // namespace

Status choose_methods(const Trial& trial, const quant::FunctionStatistics& statistics,
                      quant::QuantizeOptions& options) {
  const double affordable = kSecondsForTrials / std::max(trial.estimated_cost(), 1e-9);
  int left = static_cast<int>(std::min<double>(kMostTrials, affordable));
  double least = INFINITY;
  for (const Method method : kCandidates) {
    if (left-- <= 0 && std::isfinite(least)) break;
    quant::QuantizeOptions candidate = options;
    candidate.method = method;
    const double error = TRY(trial.loss(statistics, candidate));
    if (error < least * (1 - kGain)) {
      least = error;
      options.method = method;
    }
  }
  for (const auto& [name, tensor] : statistics.tensors) {
    if (tensor.count == 0 || least == 0) continue;
    quant::Range current = quant::choose_range(tensor, options.method);
    for (const Method method : kCandidates) {
      if (left <= 0) return {};
      if (method == options.method || !differ(quant::choose_range(tensor, method), current))
        continue;
      --left;
      quant::QuantizeOptions candidate = options;
      candidate.methods[name] = method;
      const double error = TRY(trial.loss(statistics, candidate));
      if (error >= least * (1 - kTensorGain)) continue;
      least = error;
      options = std::move(candidate);
      current = quant::choose_range(tensor, method);
    }
  }
  return {};
}

}  // namespace tenon
