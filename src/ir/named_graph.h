// A graph as a model offers it: under a key, with the names its callers use.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace tenon {

// One entry of a model: a signature, or the whole graph under "serving_default".
struct NamedGraph {
  std::string key;
  std::unique_ptr<Graph> graph;
  std::vector<std::string> input_names;  // in the order of graph inputs
  std::vector<std::string> output_names;
};

}  // namespace tenon
