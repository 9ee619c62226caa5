// The graph IR: typed SSA in one flat, topologically ordered body; sub-graphs only as regions of
// control flow and `fused` nodes. Regions see nothing of their surroundings but their inputs.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "ops/op.h"

namespace tenon {

class Graph;
class Node;

struct Use {
  Node* user;
  int index;
  bool operator==(const Use&) const = default;
};

// The result of a node or an input of a graph. Owned by its node or graph.
class Value {
 public:
  const TensorType& type() const { return type_; }
  const Shape& shape() const { return type_.shape; }
  DType dtype() const { return type_.dtype; }
  // Null for a graph input.
  Node* producer() const { return producer_; }
  int index() const { return index_; }
  // Operands that read it; the graph's outputs are not among them (see Graph::is_output).
  const std::vector<Use>& uses() const { return uses_; }
  // Elements as far as known, for small integer tensors.
  const std::optional<SymInts>& ints() const { return ints_; }
  // Its value where it is a constant, else null.
  const Tensor* constant() const;

  // A name for people; not unique. May be empty.
  std::string name;

  // Narrows or changes the recorded type; the verifier compares it with what infer() says.
  void set_type(TensorType type) { type_ = std::move(type); }

 private:
  friend class Graph;
  friend class Node;
  TensorType type_;
  Node* producer_ = nullptr;
  int index_ = 0;
  std::vector<Use> uses_;
  std::optional<SymInts> ints_;
};

class Node {
 public:
  const Op& op() const { return *op_; }
  const OpDef& def() const { return op_->def(); }
  bool is(std::string_view op_name) const { return def().name == op_name; }
  template <typename T>
  const T* as() const {
    return op_->as<T>();
  }

  int input_count() const { return static_cast<int>(inputs_.size()); }
  // Null where an optional operand is absent.
  Value* input(int i) const {
    return i < input_count() ? inputs_[static_cast<size_t>(i)] : nullptr;
  }
  const std::vector<Value*>& inputs() const { return inputs_; }
  void set_input(int i, Value* value);

  int output_count() const { return static_cast<int>(outputs_.size()); }
  Value* output(int i = 0) const { return outputs_[static_cast<size_t>(i)].get(); }

  const std::vector<std::unique_ptr<Graph>>& regions() const { return regions_; }

  // Names of the nodes of the user's model this one stands for.
  std::vector<std::string> origins;

 private:
  friend class Graph;
  std::unique_ptr<Op> op_;
  std::vector<Value*> inputs_;
  std::vector<std::unique_ptr<Value>> outputs_;
  std::vector<std::unique_ptr<Graph>> regions_;
  Graph* graph_ = nullptr;
  std::list<std::unique_ptr<Node>>::iterator position_;
};

class Graph {
 public:
  explicit Graph(std::string name = "main") : name(std::move(name)) {}
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  std::string name;
  std::string stage = "imported";

  Value* add_input(TensorType type, std::string input_name = {});
  const std::vector<std::unique_ptr<Value>>& inputs() const { return inputs_; }
  const std::vector<Value*>& outputs() const { return outputs_; }
  void set_outputs(std::vector<Value*> outputs) { outputs_ = std::move(outputs); }
  bool is_output(const Value* value) const;

  // Adds a node before `before` (null: at the end) and infers its types. Absent optional operands
  // are null. Errors: those of infer(), arity; the graph is unchanged then.
  Result<Node*> add(std::unique_ptr<Op> op, std::vector<Value*> inputs,
                    std::vector<std::unique_ptr<Graph>> regions = {}, Node* before = nullptr);
  // Infers a node's types again after its operands, attributes or regions changed.
  Status infer(Node& node);
  // What infer() would set, without setting it.
  static Result<TensorTypes> infer_types(const Node& node, std::optional<SymInts>* ints = nullptr);
  // Infers every node again, in order, regions first.
  Status infer_all();

  // Every reader of `from` (and the outputs of the graph) reads `to` instead.
  void replace_all_uses(Value* from, Value* to);
  // Removes a node whose results nobody reads.
  void erase(Node* node);
  // Puts the nodes into an order in which each follows what it reads, changing as little as it can.
  void sort();
  // While set, every node added is also appended here (null: nowhere).
  void set_journal(std::vector<Node*>* journal) { journal_ = journal; }

  // The nodes in order. Stays valid while nodes other than the current one are erased.
  std::list<std::unique_ptr<Node>>& nodes() { return nodes_; }
  const std::list<std::unique_ptr<Node>>& nodes() const { return nodes_; }
  size_t node_count() const { return nodes_.size(); }

  std::unique_ptr<Graph> clone() const;

 private:
  std::vector<std::unique_ptr<Value>> inputs_;
  std::list<std::unique_ptr<Node>> nodes_;
  std::vector<Value*> outputs_;
  std::vector<Node*>* journal_ = nullptr;
};

// Convenience for building: inserts at one place, under one origin.
class Builder {
 public:
  explicit Builder(Graph& graph, Node* before = nullptr) : graph_(graph), before_(before) {}

  // Names of the user's model's nodes that what is added from now on stands for.
  void set_origins(std::vector<std::string> origins) { origins_ = std::move(origins); }
  Graph& graph() const { return graph_; }

  Result<Node*> add(std::unique_ptr<Op> op, std::vector<Value*> inputs,
                    std::vector<std::unique_ptr<Graph>> regions = {});
  // The first result of an op given by name.
  struct Attr {
    std::string_view name;
    AttrValue value;
  };
  Result<Value*> op(std::string_view name, std::vector<Value*> inputs,
                    std::vector<Attr> attrs = {});
  // All results of an op given by name.
  Result<Node*> node(std::string_view name, std::vector<Value*> inputs,
                     std::vector<Attr> attrs = {},
                     std::vector<std::unique_ptr<Graph>> regions = {});
  // The first result of an op given as its struct.
  template <typename T>
  requires(requires { T::def; }) Result<Value*> op(T attributes, std::vector<Value*> inputs) {
    Node* n = TRY(add(make_op(std::move(attributes)), std::move(inputs)));
    return n->output();
  }
  Value* constant(Tensor tensor);
  // A 1-D i64 constant.
  Value* ints(const std::vector<int64_t>& values) { return constant(Tensor::vector(values)); }

 private:
  Graph& graph_;
  Node* before_;
  std::vector<std::string> origins_;
};

}  // namespace tenon
