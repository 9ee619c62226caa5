// Turns a graph of real numbers into one whose products are of 8-bit integers, by the ranges that
// its tensors had on calibration data. The arithmetic itself is put in by the rules for products of
// dequantised integers (passes/quantized.cpp), which run afterwards.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "quant/ranges.h"

namespace tenon::quant {

// A real tensor of a graph by its name in the user's model, unique within the graph.
struct NamedValue {
  Value* value;
  std::string name;
};

// Takes residuals and activations that integers have no fused form for out of products again. To
// come before the calibration: what they read is a tensor of its own then.
Status prepare(Graph& graph);

// The tensors whose ranges quantize() may ask for: inputs and results of nodes in f32, not those of
// sub-graphs.
std::vector<NamedValue> observed_values(const Graph& graph);

struct QuantizeOptions {
  Method method = Method::automatic;
  std::map<std::string, Method> methods;  // of single tensors, by name
  // Why a product stays as it is; empty: it need not. May be null.
  std::function<std::string(const Node&)> keep_float;
};

// What became of a convolution or matrix product.
struct LayerChoice {
  std::string name;  // of its result, as in observed_values
  std::string op;
  bool integer = false;
  std::string reason;  // why not
};

// What became of a tensor.
struct TensorChoice {
  std::string name;
  Range range;
  QuantParams params;
  double saturation = 0;  // part of the values seen that are clipped
  double sqnr_db = 0;     // of the values seen, by their histogram
};

struct QuantizeReport {
  std::vector<LayerChoice> layers;
  std::vector<TensorChoice> tensors;
  std::vector<std::string> warnings;
};

// The real tensors of a quantised graph: as observed_values() of the graph before, as far as they
// are still computed.
using RealValues = std::vector<NamedValue>;

// The graph must be as it was when the statistics were taken. Error: not_found where they lack a
// tensor that is needed. `reals` (null: not wanted) gets what each tensor is now, before passes.
Result<QuantizeReport> quantize(Graph& graph, const FunctionStatistics& statistics,
                                const QuantizeOptions& options, RealValues* reals = nullptr);

// What the integers of a value in a quantised graph stand for: found from the node that makes it,
// or from what it is moved from. Null for other values, and for scales that are not constant.
std::optional<QuantParams> params_of_value(const Value& value);

}  // namespace tenon::quant
