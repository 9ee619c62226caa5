// Turns a graph of real numbers into one whose products are of 8-bit integers, by the ranges that
// its tensors had on calibration data. The arithmetic itself is put in by the rules for products of
// dequantised integers (passes/quantized.cpp), which run afterwards.
#pragma once

#include <map>
#include <optional>
#include <set>
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

// x with the activation that is fused to a convolution or matrix product, as an op of its own.
Result<Value*> activated(Builder& builder, const Node& product, Value* x);

// The reals that the integers of x, of type i8 or u8, stand for.
Result<Value*> through_bytes(Builder& builder, Value* x, const QuantParams& params, DType type);

// The tensors whose ranges quantize() may ask for: inputs and results of nodes in f32, not those of
// sub-graphs.
std::vector<NamedValue> observed_values(const Graph& graph);

struct QuantizeOptions {
  Method method = Method::automatic;
  std::map<std::string, Method> methods;  // of single tensors, by name
  // Products that stay as they are, by the name of their result, with the reason.
  std::map<std::string, std::string> keep_float;
  // Those of them whose weights are not rounded either.
  std::set<std::string> exact;
  // Those of them that multiply reals by weights that are rounded to bytes.
  std::set<std::string> byte_weights;
  // Recurrent layers that multiply two bytes of what they read and of their state, and dense ones
  // that do so of what they read.
  std::set<std::string> two_bytes;
  // Biases make up for what the rounding of weights adds to the mean of each output channel.
  bool bias_correction = true;
  // Integers of weights that are not each rounded to the nearest, by the name of the result.
  std::map<std::string, Tensor> rounded;
  // Weights, f32, in place of those that become bytes of recurrent layers and of byte_weights, in
  // the order of weights_of(); each is a byte times its channel's scale already. By the name of the
  // result.
  std::map<std::string, std::vector<Tensor>> weights;
  // Biases, f32, in place of those of products, by the name of the result; not corrected further.
  std::map<std::string, Tensor> biases;
};

// What can be switched off by name beside rules and passes.
struct Technique {
  std::string_view name;
  std::string_view doc;
};
inline constexpr Technique kTechniques[] = {
    {"bias-correction", "biases make up for the mean error that rounded weights cause"},
    {"cross-layer-equalisation", "channels between products are brought to like sizes"},
    {"smooth-quant", "channels behind normalisations are brought to like sizes"},
    {"input-equalisation", "what the first layers read is multiplied by channel to like sizes"},
    {"adaptive-rounding", "weights are rounded for the least error of a layer's results"},
    {"first-layer", "the first products stay in fp32 where most is lost there"},
    {"last-layer", "the last products stay in fp32 where most is lost there"},
    {"recurrent-layers", "recurrent layers multiply two bytes of each number where one loses"},
    {"dense-layers", "dense layers multiply two bytes of each number where one loses"},
    {"layer-fitting", "layer by layer, weights and biases make up for what was lost before it"},
};

// What became of a convolution, matrix product or recurrent layer.
struct LayerChoice {
  std::string name;  // of its result, as in observed_values
  std::string
      node;  // in the user's model: what multiplies; the result may be that of an activation
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
  int bits = 8;           // 16: read in two bytes, see two_bytes.h; params are the first one's
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
