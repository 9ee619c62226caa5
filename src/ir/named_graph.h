// A graph as a model offers it: under a key, with the names its callers use.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace tenon {

// A variable of the user's model that keeps its value between runs. Graphs of one model that name
// the same variable share it.
struct StateVariable {
  std::string name;
  Tensor initial;
  bool is_written = true;
};

// One entry of a model: a signature, or the whole graph under "serving_default". Behind the inputs
// that have names the graph has one for each variable, which gets the value it has before the run;
// behind the outputs that have names, one for each variable that is written, its value afterwards.
struct NamedGraph {
  std::string key;
  std::unique_ptr<Graph> graph;
  std::vector<std::string> input_names;  // in the order of graph inputs
  std::vector<std::string> output_names;
  std::vector<StateVariable> state;
};

}  // namespace tenon
