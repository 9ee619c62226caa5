// What a precision does to the time of each layer of a model, as the CPU's cost model has it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cost/cpu_cost.h"
#include "quant/config.h"
#include "quant/quantize.h"

namespace tenon::cost {

// A step of the optimised graph of one precision.
struct StepCost {
  std::string op;
  std::string name;  // in the user's model
  int layer = -1;    // which of the layers it belongs to
  int reader = -1;   // the first step that reads its result; of that kernels may compute both
  StepFeatures features;
  double ns = 0;
};

// A layer with weights, with what comes before and behind it because of its precision.
struct LayerCost {
  std::string name;  // of its result, as in quant::LayerChoice
  std::string node;
  std::string op;
  bool changes = false;  // multiplies in the other precision
  std::string reason;    // why it does not
  double fp32_ns = 0, other_ns = 0;
};

// fp32 beside another precision.
struct PrecisionCost {
  double fp32_ns = 0, other_ns = 0;  // of all steps
  std::vector<LayerCost> layers;
  std::vector<StepCost> fp32, other;
};

// Sizes that a model leaves open: the first dimension of inputs, and others.
struct AssumedSizes {
  int64_t batch = 1;
  int64_t other = 64;
};

// Integers by ranges, of a graph after quant::prepare().
Result<PrecisionCost> compare_integers(const Graph& prepared,
                                       const quant::FunctionStatistics& statistics,
                                       const quant::QuantizeOptions& options, CpuLevel level,
                                       const AssumedSizes& sizes = {});
// A precision that takes no ranges (quant/narrow.h), of a graph after canonicalize(), wherever it
// can be.
Result<PrecisionCost> compare_narrowed(const Graph& canonical, quant::LayerPrecision precision,
                                       CpuLevel level, const AssumedSizes& sizes = {});

// Statistics as of a model whose tensors are all between -1 and 1: for what is asked before there
// are data.
quant::FunctionStatistics assumed_statistics(const Graph& prepared);

// The layers that are to stay in f32 because integers would make the model slower there, with the
// reason: those that are slower by themselves, as far as all is faster without them.
Result<std::map<std::string, std::string>> slower_in_integers(
    const Graph& prepared, const quant::FunctionStatistics& statistics,
    const quant::QuantizeOptions& options, CpuLevel level);
// The same of products in a precision that takes no ranges: layers of the canonical graph.
Result<std::map<const Node*, std::string>> slower_narrowed(const Graph& canonical,
                                                           quant::LayerPrecision precision,
                                                           CpuLevel level);

}  // namespace tenon::cost
