// What the layers of a model compute, by the names they have in the user's model, and the first
// that differs between two builds or from what was recorded elsewhere.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "format/model_file.h"
#include "ir/graph.h"
#include "quant/ranges.h"
#include "runtime/model.h"
#include "tensor/compare.h"

namespace tenon {

// The result of one node of a graph. A fused node stands for several of the user's model, in the
// model's order: its result is that of the last.
struct Layer {
  std::string op;
  std::vector<std::string> origins;
  std::vector<Tensor> results;
  Tensor real;  // where the first result is of quantised integers: the reals they stand for
};
using Layers = std::vector<Layer>;

// Of the graph itself, not of sub-graphs, in order.
Result<Layers> layers_by_reference(const Graph& graph, std::span<const Tensor> inputs);
// The same by the runtime: the graph is compiled once more with every value as an output. Kernels
// and order are those of the graph; memory is laid out differently.
Result<Layers> layers_by_runtime(const Graph& graph, std::span<const Tensor> inputs,
                                 const runtime::LoadOptions& options = {});

// The layers of a graph by the runtime, for any number of runs.
class LayerProbe {
 public:
  static Result<LayerProbe> make(const Graph& graph, const runtime::LoadOptions& options);
  Result<Layers> run(std::span<const Tensor> inputs) const;
  // What the integers of each layer's first result stand for.
  std::vector<std::optional<quant::QuantParams>> params() const;

 private:
  std::unique_ptr<Graph> graph_;
  std::optional<runtime::Function> function_;
};

// The reals of a layer's first result.
const Tensor& value_of(const Layer& layer);

// A layer and its counterpart, by place.
struct LayerPair {
  std::string name;  // in the user's model
  size_t actual, expected;
};
// Layers of `actual` that have a counterpart of the same type in `expected`, in order. Of several
// counterparts the nearest counts; `by_last`: among those of the last node a layer stands for that
// has any, however far they are. A fused layer of `expected` is the counterpart of the one that
// gives its result, if there is one, not of those inside of it.
std::vector<LayerPair> pair_layers(const Layers& actual, const Layers& expected, bool by_last);

struct LayerDifference {
  std::string name;  // in the user's model
  Difference difference;
};

// Layers of `actual` that have a counterpart of the same type in `expected`, in the order of
// `actual`; integers that stand for reals are compared as these. Of several counterparts the
// nearest counts: one node of the user's model may have become several.
std::vector<LayerDifference> compare_layers(const Layers& actual, const Layers& expected);

// Tensors by the names of nodes of the user's model: `name` or `name:output`. Nodes inside of
// TensorFlow's call nodes are known with and without these, since tools differ in how they inline
// calls.
using Recorded = std::map<std::string, Tensor>;
struct RecordedComparison {
  std::vector<LayerDifference> layers;  // in the order of the graph
  std::vector<std::string> unknown;     // recorded names without a layer, or inside of a fused one
};
RecordedComparison compare_recorded(const Layers& actual, const Recorded& recorded);

// The first beyond the tolerance, or null.
const LayerDifference* first_difference(std::span<const LayerDifference> layers, double tolerance);

}  // namespace tenon
