// Weights of fewer bits, and products in bf16: what of a graph needs no ranges of its tensors.
// After canonicalize(), whose rules want to see f32.
//
// A product in bf16 multiplies numbers rounded to bf16 (to nearest, ties to even), whose products
// are exact in f32, and adds them in f32; bias, residual and activation are of f32. That is a cast
// in front of it, made once for all who read a tensor; a tensor that is else only added to what
// such products give is added rounded, so that it need not be kept in f32. Where a product in bf16
// is not worth it the arithmetic is that of f32, of weights of whichever 16 bits are nearer, as it
// is with f16.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"
#include "quant/config.h"

namespace tenon::quant {

// What became of a layer.
struct NarrowedLayer {
  std::string name;  // in the user's model
  std::string op;
  // Of the weights; those of a bf16 layer that multiplies in f32 are f16 where that is nearer.
  LayerPrecision precision = LayerPrecision::fp32;
  bool multiplies_narrow = false;  // in that precision, too
  std::string reason;              // why not
};

// Makes every layer what is decided of it, and others, also in sub-graphs, `otherwise`; layers that
// are of integers already stay so.
Result<std::vector<NarrowedLayer>> narrow(Graph& graph, LayerPrecision otherwise,
                                          const LayerDecisions& decisions);

}  // namespace tenon::quant
