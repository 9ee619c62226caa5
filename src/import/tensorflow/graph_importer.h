// Walks a TensorFlow graph from the outputs of a signature back to its inputs, calls followed into
// their functions, and hands each node to the rule of its op.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "import/importer.h"
#include "import/tensorflow/rule.h"
#include "import/tensorflow/saved_model.h"

namespace tenon::tf {

// The graph or the body of one function call: names there, and what the arguments are bound to.
struct Frame {
  const std::vector<NodeDef>* nodes = nullptr;
  const FunctionDef* function = nullptr;
  std::string prefix;  // "call/inner/"
  std::unordered_map<std::string_view, const NodeDef*> by_name;
  std::unordered_map<std::string_view, Value*> arguments;             // tensors
  std::unordered_map<std::string_view, std::string> resources;        // handles: a variable's node
  std::unordered_map<std::string_view, std::vector<Value*>> results;  // of nodes done
  std::unordered_map<std::string_view, bool> in_progress;
};

class GraphImporter {
 public:
  GraphImporter(LoadedModel& model, Graph& graph, ImportReport& report,
                const std::map<std::string, std::string>& variable_keys)
      : model_(model), graph_(graph), report_(report), variable_keys_(variable_keys) {}

  // Binds a tensor name of the main graph to a value that comes from outside.
  void bind(Frame& frame, std::string_view node, Value* value) { frame.results[node] = {value}; }
  // The value of "node", "node:1" or, in functions, "node:out:1".
  Result<Value*> tensor(Frame& frame, std::string_view reference);
  Result<std::vector<Value*>> call(Frame& caller, const NodeDef& node, std::string_view function);
  // The constant of the variable behind a resource reference.
  Result<Value*> read_variable(Frame& frame, std::string_view reference, Builder& builder);
  static Frame make_frame(const std::vector<NodeDef>& nodes);
  const LoadedModel& model() const { return model_; }
  int unsupported_nodes() const { return unsupported_; }

 private:
  Result<std::vector<Value*>> node_results(Frame& frame, const NodeDef& node);
  // The name of the variable's node in the main graph.
  Result<std::string> resource(Frame& frame, std::string_view reference);
  void note(Frame& frame, const NodeDef& node, Fate fate, std::string reason = {});

  LoadedModel& model_;
  Graph& graph_;
  ImportReport& report_;
  const std::map<std::string, std::string>& variable_keys_;
  std::unordered_map<std::string, Value*> variables_;
  int depth_ = 0;
  int unsupported_ = 0;
};

// Which checkpoint key each variable node of the main graph is restored from, read off the graph's
// own restore operations.
std::map<std::string, std::string> find_variable_keys(const LoadedModel& model);

}  // namespace tenon::tf
