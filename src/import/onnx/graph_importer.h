// Walks an ONNX graph in an order in which everything is computed before it is read, inlines the
// model's own functions, builds sub-graphs as regions, and hands each node to the rule of its op.
// Nodes that cannot be mapped do not stop the walk: what depends on them is only looked up, so that
// the report has all of them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "import/importer.h"
#include "import/onnx/rule.h"
#include "import/onnx/tensor_value.h"

namespace tenon::onnx {

// Where names of attributes and versions of domains are looked up: the model, or one call of a
// function.
struct Frame {
  std::map<std::string_view, int64_t> opsets;  // "" for ai.onnx
  // Of a function: the call's attributes and the defaults of those it leaves out.
  std::map<std::string_view, const AttributeProto*> attributes;
};

// What a name stands for.
struct Binding {
  Value* value = nullptr;
  // Values known at compile time that no constant was made of yet.
  Tensor tensor;
  const TensorProto* initializer = nullptr;
  const SparseTensorProto* sparse_initializer = nullptr;
  bool is_absent = false;    // an optional operand that the call of a function leaves out
  bool is_left_out = false;  // an input of the model that the user cut off
  bool is_missing = false;   // the result of a node that could not be mapped
};

// The names of one graph, sub-graph or function body, and the graph its nodes go to.
struct Scope {
  Graph* graph = nullptr;
  const Frame* frame = nullptr;
  std::string prefix;  // of node names in reports: "call/inner/"
  std::unordered_map<std::string_view, Binding> names;
};

// A value of the surroundings that a sub-graph reads; the same name inside.
struct Capture {
  std::string_view name;
  Binding binding;
};

// A sub-graph as a region. Its inputs are the given ones, then one for each capture that is not a
// constant.
struct Region {
  std::unique_ptr<Graph> graph;
  bool is_complete = true;  // false: some node has no mapping, the graph is of no use
};

// Makes the values of a sub-graph's inputs inside its region from the region's own inputs.
using Prelude = std::function<Result<Values>(Builder& builder, const Values& inputs)>;

class GraphImporter {
 public:
  // `custom_ops` may be null.
  GraphImporter(const ModelProto& model, TensorSource& source, ImportReport& report,
                const CustomOps* custom_ops);

  TensorSource& source() { return source_; }
  const Frame& model_frame() const { return model_frame_; }

  // Binds the initializers of a graph in a scope. Error: a name bound twice.
  Status bind_initializers(Scope& scope, const GraphProto& graph);
  // Maps what is needed of the nodes for these names to be there. Names bound in the scope before
  // win over the nodes that compute them. Errors: malformed graphs, naming the node.
  Status import_nodes(Scope& scope, const std::vector<NodeProto>& nodes,
                      const std::vector<std::string_view>& wanted);
  // The value of a name; null when it is absent or missing. Error: there is no such name.
  Result<Value*> value(Scope& scope, std::string_view name);

  // For rules of control flow. What the sub-graphs read of their surroundings, each name once.
  Result<std::vector<Capture>> captures(RuleContext& context,
                                        std::vector<const GraphProto*> graphs);
  // Builds a sub-graph as a region whose inputs have the given types; without a prelude they are
  // the sub-graph's inputs. Its outputs are the region's outputs.
  Result<Region> region(RuleContext& context, const GraphProto& graph, const TensorTypes& inputs,
                        const std::vector<Capture>& captures, const Prelude& prelude = {});
  // Maps a sub-graph's nodes in place, its inputs being these values. Returns its outputs.
  Result<Values> inline_graph(RuleContext& context, const GraphProto& graph, const Values& inputs,
                              const std::vector<Capture>& captures);
  // The operands that go with the captures of a region, in order.
  static Values capture_operands(const std::vector<Capture>& captures);

  // A node's attribute, followed to the call of a function where it refers there; null if missing.
  const AttributeProto* attribute(const Scope& scope, const NodeProto& node,
                                  std::string_view name) const;
  // Types written in the model. A dimension without a name gets one from `name`; none where that
  // is empty.
  Result<TensorType> type_of(const TypeProto& type, std::string_view name);
  // Shapes that the model records for values inside are believed where inference does not get as
  // far. Names of the main graph only.
  void set_value_infos(const GraphProto& graph);

  // Optionals are lists like sequences, but their item is asked for differently.
  void mark_optional(const Value* value) { optionals_.insert(value); }
  bool is_optional(const Value* value) const { return optionals_.contains(value); }

  // A map is its values, one of them for each of its keys, which are another vector.
  void set_map_keys(const Value* values, Value* keys) { map_keys_[values] = keys; }
  // Null where the value is no map.
  Value* map_keys(const Value* values) const;

  // Forgets what was reported since there were `size` entries: for sub-graphs built again.
  size_t report_size() const { return report_.nodes.size(); }
  void truncate_report(size_t size) { report_.nodes.resize(size); }

 private:
  // Calls and sub-graphs inside one another; deeper ones are damaged models.
  static constexpr int kMaxDepth = 100;

  // import_nodes one level deeper.
  Status import_inner(Scope& scope, const std::vector<NodeProto>& nodes,
                      const std::vector<std::string_view>& wanted);
  Status bind_formals(Scope& scope, const GraphProto& graph, const Values& inputs);
  Status import_node(Scope& scope, const NodeProto& node);
  Status apply_rule(Scope& scope, const NodeProto& node, const Rule& rule, int64_t opset);
  // custom_node.cpp
  bool is_custom(const NodeProto& node) const;
  Status import_custom_node(Scope& scope, const NodeProto& node);
  // Error: invalid_model where the function is being called already.
  Status check_recursion(const FunctionProto& function) const;
  Status call_function(Scope& scope, const NodeProto& node, const FunctionProto& function);
  Status bind_outputs(Scope& scope, const NodeProto& node, const Values& results);
  void bind_missing(Scope& scope, const NodeProto& node);
  // Reports a node that only hangs on ones that could not be mapped, and its sub-graphs.
  Status list_node(const Frame& frame, const std::string& prefix, const NodeProto& node);
  Status list_nodes(const Frame& frame, const std::string& prefix,
                    const std::vector<NodeProto>& nodes);
  Result<Frame> call_frame(const Scope* scope, const NodeProto& node,
                           const FunctionProto& function) const;
  const FunctionProto* find_function(const NodeProto& node) const;
  Status count_node();
  void note(const std::string& prefix, const NodeProto& node, Fate fate, std::string reason = {});
  std::string symbol(std::string_view text);

  const ModelProto& model_;
  TensorSource& source_;
  ImportReport& report_;
  const CustomOps* custom_ops_;
  Frame model_frame_;
  std::unordered_map<std::string, const FunctionProto*> functions_;
  std::unordered_map<std::string_view, const TypeProto*> value_infos_;
  std::map<std::string, std::string> symbols_;  // as the model spells them, as we do
  std::unordered_set<std::string> symbols_taken_;
  std::unordered_set<const Value*> optionals_;
  std::unordered_map<const Value*, Value*> map_keys_;
  std::vector<const FunctionProto*> calls_;  // one inside the other
  int64_t nodes_seen_ = 0;
  int depth_ = 0;
};

// Why a node that nothing maps has no mapping, and the ways out.
std::string unmapped_reason(const NodeProto& node, int64_t opset);
// "conv1", or the name of its first output when it has none of its own.
std::string node_name(const NodeProto& node);

}  // namespace tenon::onnx
