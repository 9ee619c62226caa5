// Where the value of each variable lies in the checkpoint.
#pragma once

#include <map>
#include <string>

#include "import/tensorflow/node_graph.h"
#include "import/tensorflow/saved_model.h"
#include "tensor/tensor.h"

namespace tenon::tf {

struct VariableSource {
  std::string key;    // in the checkpoint
  std::string slice;  // "10 4 0,4:0,4": sizes of the whole, then start,length of each dimension
};
// By the name of the variable's node in the main graph.
using VariableSources = std::map<std::string, VariableSource>;

// Read off the graph's own restore operations, which every SavedModel carries, so that no naming
// convention has to be guessed.
VariableSources find_variable_sources(const LoadedModel& model, const NodeGraph& main,
                                      const FunctionLibrary& library);

// The value of a variable: a tensor of the checkpoint, or the part of it that `slice` tells.
Result<Tensor> read_checkpoint(LoadedModel& model, const VariableSource& source,
                               const std::string& variable);

}  // namespace tenon::tf
