// Walks a TensorFlow graph from the outputs of a signature back to its inputs, calls followed into
// their functions, control flow into regions, and hands each plain node to the rule of its op.
// A node that cannot be imported is noted with the reason and the walk goes on without its results,
// so that one pass finds all there are; an error ends it only where the model is malformed.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "import/importer.h"
#include "import/tensorflow/node_graph.h"
#include "import/tensorflow/rule.h"
#include "import/tensorflow/saved_model.h"
#include "import/tensorflow/variables.h"

namespace tenon::tf {

// What a handle stands for: a variable or a table, known by the node that makes it.
struct Resource {
  std::string name;
  const NodeDef* node = nullptr;
  // A variable of TensorFlow 1: whoever takes it as a tensor reads it then.
  bool is_reference() const { return node->op == "VariableV2" || node->op == "Variable"; }
};

// What an output of a node is to its readers.
struct Operand {
  enum class Kind : uint8_t {
    none,      // nothing: an output that cannot be had
    failed,    // not imported, which is noted already
    value,     // a tensor or list
    resource,  // a handle
  };
  Kind kind = Kind::none;
  Value* value = nullptr;
  const Resource* resource = nullptr;

  static Operand of(Value* v) { return {v == nullptr ? Kind::none : Kind::value, v, nullptr}; }
  static Operand of(const Resource* r) { return {Kind::resource, nullptr, r}; }
  static Operand failure() { return {Kind::failed, nullptr, nullptr}; }
  bool failed() const { return kind == Kind::failed; }
};
using Operands = std::vector<Operand>;

// A graph being built (the function's own, or a region of control flow) and the constants in it.
struct Region {
  explicit Region(Graph& g) : graph(g) {}
  Graph& graph;
  std::unordered_map<const void*, Value*> constants;  // of variables and captured constants
  // What the variables that are state hold at the place the walk has reached.
  std::map<const Resource*, Value*> state;
  bool is_function = false;  // the graph is the function's own: it gets an input per variable
};

// Names of variables.
using VariableSet = std::set<std::string, std::less<>>;

// A condition of a TensorFlow 1 graph: Merge nodes that take one of the sides of one predicate.
struct Conditional {
  Ref predicate;
  bool is_index = false;  // else a truth value: side 0 is false, 1 is true
  std::vector<int> merges;
  std::vector<std::vector<size_t>> input_of;  // of each merge: which input it takes, per side
  // What each side reads from around it: as named inside, and its source.
  std::vector<std::vector<std::pair<Ref, Ref>>> captured;
  std::vector<std::vector<int>> effects;  // of each side
};

// One walk over a node list within one region: names there, and what is known of the outputs.
struct Frame {
  Frame(const NodeGraph& n, Region& r, std::string p) : nodes(n), region(r), prefix(std::move(p)) {}
  const NodeGraph& nodes;
  Region& region;
  std::string prefix;                               // "call/inner/"
  std::unordered_map<Ref, Operand, RefHash> bound;  // outputs given from outside
  std::unordered_map<int, Operands> results;        // of items done
  std::unordered_set<int> needed;                   // items some output depends on
  std::vector<Conditional> conditionals;
  std::unordered_map<int, size_t> conditional_of;  // by Merge
  // Items that change variables: given from outside, where there is a list, else found. Where there
  // are any, items follow their control inputs.
  std::optional<std::vector<int>> effects;
  std::map<const FrameLoop*, std::vector<int>> loop_effects;  // those inside of a loop
  std::vector<Ref> enclosing;  // predicates of the conditions whose branch this is
};

// The contents of a lookup table: n keys, and n values of the table's value_shape.
struct TableContents {
  Tensor keys, values;
};
// Those of a model, by the table's name, and why the others could not be had.
struct LoadedTables {
  std::map<std::string, TableContents> contents;
  std::map<std::string, Error> errors;
};

class GraphImporter {
 public:
  GraphImporter(LoadedModel& model, const NodeGraph& main, const FunctionLibrary& library,
                ImportReport& report, const VariableSources& variables, const VariableSet& state)
      : model_(model),
        main_(main),
        library_(library),
        report_(report),
        variable_sources_(variables),
        state_(state) {}

  // Null: none.
  void set_custom_ops(const CustomOps* ops) { custom_ops_ = ops; }
  // The operands behind the references; everything they depend on is imported first. Called once
  // per frame.
  Result<Operands> evaluate(Frame& frame, std::span<const Ref> outputs);
  // What the variable holds where the walk is.
  Result<Value*> variable_value(Region& region, const Resource& variable);
  // Gives the places of asset files in the main graph their names within assets/.
  void bind_assets(Frame& frame) const;
  // The variables of the state the function was found to use, in the order of its inputs for them.
  struct StateUse {
    const Resource* variable;
    Tensor initial;
    Value* input;
  };
  const std::vector<StateUse>& state_uses() const { return state_uses_; }
  // Variables that are assigned, and those whose value is wanted.
  const VariableSet& written() const { return written_; }
  const VariableSet& read() const { return read_; }
  // The first error of a node that is not a lack of support, if any.
  const std::optional<Error>& first_error() const { return first_error_; }
  bool failed() const { return failed_; }

 private:
  using RegionBody = std::function<Result<Operands>(Region& region, const Operands& arguments)>;

  // graph_importer.cpp
  Status find_needed(Frame& frame, std::span<const Ref> outputs);
  Status import_item(Frame& frame, int item);
  Result<Operands> import_node(Frame& frame, int item);
  Result<Operands> apply_rule(Frame& frame, const Item& item, const Operands& inputs);
  // Null (and noted) where an operand is a failure.
  Result<std::optional<std::vector<Value*>>> tensors_of(Frame& frame, const NodeDef& node,
                                                        const Operands& inputs,
                                                        bool first_is_handle);
  Result<Operands> inputs_of(const Frame& frame, const Item& item) const;
  Result<Operand> get(const Frame& frame, Ref ref) const;
  void note(const Frame& frame, const NodeDef& node, Fate fate, std::string reason = {});
  // Notes what stands in the way of a node and makes its outputs failures.
  Operands fail(const Frame& frame, const NodeDef& node, Error error);

  // The same for an item of several results.
  Result<Operands> or_failures(const Frame& frame, const NodeDef& node, size_t n,
                               Result<Operands> results);

  // custom_node.cpp
  bool is_custom(const NodeDef& node) const;
  Result<Operands> import_custom_node(Frame& frame, const NodeDef& node, const Operands& inputs);

  // control_flow.cpp
  Result<Operands> call(Region& region, const std::string& prefix, std::string_view function,
                        const Operands& arguments);
  Result<Operands> import_structured(Frame& frame, const NodeDef& node, const Operands& inputs);
  Result<Operands> choose(Frame& frame, const NodeDef& node, std::string_view op,
                          const Operand& selector, const Operands& arguments,
                          std::span<const RegionBody> branches);
  Result<Operands> loop(Frame& frame, const NodeDef& node, const Operands& variables,
                        const std::vector<bool>& invariant, const RegionBody& condition,
                        const RegionBody& body);
  Result<Operands> plain_loop(Frame& frame, const NodeDef& node, const Operands& variables,
                              const std::vector<bool>& invariant, const RegionBody& condition,
                              const RegionBody& body);

  // frames.cpp
  Status import_frame_loop(Frame& frame, const FrameLoop& loop);
  Status import_conditional(Frame& frame, const Conditional& conditional);

  // resources.cpp
  const Resource* resource(const Frame& frame, const NodeDef& node);
  Result<Operands> import_resource_node(Frame& frame, const Item& item, const Operands& inputs);
  Result<Operands> import_table_node(Frame& frame, const NodeDef& node, const Operands& inputs);
  Result<Tensor> initial_value(const Resource& variable);

  // state.cpp
  bool is_state(const Resource& variable) const { return state_.contains(variable.name); }
  Result<Value*> state_value(Region& region, const Resource& variable);
  // The variables of the state among the operands, each once.
  Result<std::vector<const Resource*>> state_among(const Operands& operands);
  Result<Operands> import_assignment(Frame& frame, const NodeDef& node, const Operands& inputs);
  Result<Operands> import_generator_step(Frame& frame, const NodeDef& node, const Operands& inputs);
  // Whether running the item changes variables, itself or in what it calls.
  bool has_effect(const Item& item);
  bool has_effect(const FunctionDef& function);
  std::vector<int> find_effects(const Frame& frame, std::span<const Ref> outputs);

  // state_tables.cpp
  // The two variables that a table of the state is.
  struct TableState {
    const Resource *keys, *values;
  };
  Result<const TableContents*> table_contents(const Resource& table);
  Result<TableState> table_state(const Resource& table);
  Result<Operands> import_table_change(Frame& frame, const NodeDef& node, const Operands& inputs);

  LoadedModel& model_;
  const NodeGraph& main_;
  const FunctionLibrary& library_;
  ImportReport& report_;
  const VariableSources& variable_sources_;
  const CustomOps* custom_ops_ = nullptr;
  std::map<std::string, Resource> resources_;
  std::map<std::string, Tensor> variable_values_;
  std::optional<LoadedTables> tables_;
  const VariableSet& state_;
  std::vector<StateUse> state_uses_;
  VariableSet read_, written_;
  std::unordered_map<const FunctionDef*, bool> effects_of_;
  std::vector<const FunctionDef*> calls_;
  int depth_ = 0;
  int64_t imported_nodes_ = 0;
  bool failed_ = false;
  std::optional<Error> first_error_;
};

// Error: a part of TensorFlow 1 control flow with another number of inputs than it must have.
Status check_frame_part(const Frame& frame, const Item& item);
// Items in an order that has every one after what it depends on. `plain` looks at a conditional
// Merge as at any other node, and at the control inputs that tell in which branch a node lies.
// Error: invalid_model where the graph has a cycle.
Result<std::vector<int>> order_items(const Frame& frame, std::span<const Ref> outputs, bool plain);
// Finds the conditions among the needed items, and in which condition or loop effects lie: those
// that lie in none are added to `outputs`, the others are left to what they lie in, which is added.
// Error: unsupported for a Merge of unknown condition.
Status find_conditionals(Frame& frame, std::vector<Ref>& outputs);
// The loop an Enter leads into; nothing for other nodes and for an Enter that does not say.
std::optional<std::string_view> entered_frame(const Item& item);

// Why an op without a mapping has none, and the ways out.
std::string unmapped_reason(std::string_view op);
// Ops that the importer looks after itself, not a rule.
bool is_structured_op(std::string_view op);
bool is_resource_op(std::string_view op);
bool is_variable_op(std::string_view op);
bool is_assignment(std::string_view op);
bool is_generator_step(std::string_view op);
bool is_table_change(std::string_view op);

// The value where it is known at import, small computations on constants done; `budget` counts them
// down.
std::optional<Tensor> computed_value(const Value& value, int& budget);

Error at_node(Error error, const Frame& frame, const NodeDef& node);

}  // namespace tenon::tf
