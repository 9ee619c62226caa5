// Channels of tensors brought to like sizes, by factors that products before and behind them take
// into their weights, or that what the function reads is multiplied by: the function in real
// numbers stays the same, integers lose less.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "quant/statistics.h"

namespace tenon::quant {

enum class Rescaling : uint8_t {
  between_products,  // cross-layer equalisation: a product's channels, read by products
  behind_norms,      // SmoothQuant: what a normalisation scales, read by matrix products
  of_inputs          // what no layer comes before, read by products and recurrent layers
};

// Changes the weights in a graph that is prepared and whose statistics these are; they do not hold
// any more then. `part`, 0 to 1, of what a channel is too large goes into the weights that read it,
// the rest stays. The names of the tensors whose channels were rescaled; empty: nothing was done.
Result<std::vector<std::string>> rescale_channels(Graph& graph,
                                                  const FunctionStatistics& statistics,
                                                  Rescaling kind, double part);

}  // namespace tenon::quant
