// A node list (the main graph or the body of a function) with its references resolved to numbers,
// made once per list. Not for values: what nodes become is the business of GraphImporter.
#pragma once

#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "import/tensorflow/proto.h"

namespace tenon::tf {

// A node with more outputs is a damaged model.
constexpr int64_t kMaxOutputs = int64_t{1} << 20;

// Output `output` of item `item`; item -1: nothing of that name is there.
struct Ref {
  int item = -1;
  int output = 0;
  bool operator==(const Ref&) const = default;
  bool defined() const { return item >= 0; }
};

struct RefHash {
  size_t operator()(const Ref& r) const {
    return std::hash<uint64_t>()(static_cast<uint64_t>(r.item) << 32 |
                                 static_cast<uint32_t>(r.output));
  }
};

// A node, or an argument of the function (then `node` is null).
struct Item {
  const NodeDef* node = nullptr;
  std::string_view name;
  std::vector<Ref> inputs;    // data inputs, in order
  std::vector<int> controls;  // items that are control inputs
  std::string_view op() const { return node == nullptr ? std::string_view() : node->op; }
};

// A while loop of a TensorFlow 1 graph.
struct FrameLoop {
  std::string_view name;  // the frame's
  int condition = -1;     // LoopCond
  struct Variable {
    int merge = -1, enter = -1, next = -1;
  };
  std::vector<Variable> variables;
};

class FunctionLibrary;

class NodeGraph {
 public:
  // `function` is null for the main graph.
  NodeGraph(const std::vector<NodeDef>& nodes, const FunctionDef* function,
            const FunctionLibrary& library);

  const FunctionDef* function() const { return function_; }
  const std::vector<Item>& items() const { return items_; }
  const Item& item(int i) const { return items_[static_cast<size_t>(i)]; }
  int arguments() const { return arguments_; }
  // -1 when there is none of that name.
  int find(std::string_view name) const;
  // "node", "node:1" or, in functions, "node:output:1". Error: what is wrong with the reference.
  Result<Ref> resolve(std::string_view reference) const;
  // The same for data input `k` of an item, for a reference that resolved to nothing.
  Error undefined_input(const Item& item, size_t k) const;
  // The reference behind Identity nodes and the like.
  Ref through_identities(Ref ref) const;

  // The loop a Merge belongs to, or null.
  const FrameLoop* loop_of_merge(int item) const;
  // Whether the item is a Switch that steers a loop.
  bool is_loop_switch(int item) const;

 private:
  void find_loops();

  const FunctionDef* function_;
  const FunctionLibrary& library_;
  int arguments_ = 0;
  std::vector<Item> items_;
  std::unordered_map<std::string_view, int> by_name_;
  std::vector<std::unique_ptr<FrameLoop>> loops_;
  std::unordered_map<int, const FrameLoop*> merges_;
};

// The functions of a model by name, each body indexed when it is first called.
class FunctionLibrary {
 public:
  // `ops` are the ones the model says it uses, for what is not in our own table.
  explicit FunctionLibrary(const std::vector<FunctionDef>& functions,
                           const std::vector<OpDef>& ops = {});
  const FunctionDef* find(std::string_view name) const;
  const OpDef* find_op(std::string_view name) const;
  const NodeGraph& body(const FunctionDef& function) const;

 private:
  std::unordered_map<std::string_view, const FunctionDef*> functions_;
  std::unordered_map<std::string_view, const OpDef*> ops_;
  mutable std::unordered_map<const FunctionDef*, std::unique_ptr<NodeGraph>> bodies_;
};

// The number of the first tensor of an output argument given by its name. `def` (null: unknown) is
// for ops that are not TensorFlow's own.
Result<int64_t> output_offset(const NodeDef& node, std::string_view output, const OpDef* def);
// How many outputs a node of this op has.
Result<int64_t> output_count(const NodeDef& node, const OpDef& def);
// Ops that hand their inputs on unchanged, also handles and flows.
bool is_pass_through(std::string_view op);
std::span<const std::string_view> pass_through_ops();

}  // namespace tenon::tf
