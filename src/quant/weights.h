// Constant weights of products as 8-bit integers with a scale per output channel.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"
#include "tensor/scaled_layout.h"

namespace tenon::quant {

struct QuantizedWeights {
  Tensor integers;  // i8, -127 to 127
  Tensor scales;    // f32, one per output channel
  int64_t axis = 0;
};

// With a scale for each column of each batch.
struct ScaledIntegers {
  Tensor integers;  // i8, -127 to 127
  Tensor scales;    // f32 [batch, columns]
};
Result<ScaledIntegers> scaled_integers(const Tensor& weights, const ScaledLayout& channels,
                                       double factor = 1);
// What they stand for.
Result<Tensor> reals_of(const ScaledIntegers& weights, const ScaledLayout& channels);
// What the integers stand for, and how much of the weights' norm is lost by that.
struct RoundedWeights {
  Tensor reals;  // f32
  double loss = 0;
};
Result<RoundedWeights> rounded_weights(const Tensor& weights, const ScaledLayout& channels);

// `axis` is that of the output channels; values are multiplied by `factor` first.
Result<QuantizedWeights> quantize_weights(const Tensor& weights, int64_t axis, double factor = 1);

// What the rounding of the weights takes from the mean of each output channel, given the means of
// the input's channels; windows are taken to lie inside of the input.
std::vector<double> lost_means(const Node& product, const QuantizedWeights& quantized,
                               const std::vector<double>& input_means);

// Why the weights of a conv or matmul cannot be integers; empty where they can.
std::string weights_refusal(const Node& product);

}  // namespace tenon::quant
