// What turns one ONNX node into core ops: a rule per op, found in the tables of rules_<group>.cpp,
// and what a rule sees of its node. How nodes are walked is graph_importer.h's business.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "import/onnx/proto.h"
#include "ir/graph.h"

namespace tenon::onnx {

class GraphImporter;
struct Scope;

// One value per output of the node; null or missing where it has none (then nobody may read it).
using Values = std::vector<Value*>;

// The builder, inputs and attributes of one node. Attributes that a function's body takes from its
// call are resolved. Every accessor's error names the attribute or operand; the walker adds the
// node.
struct RuleContext {
  GraphImporter& importer;
  Scope& scope;
  Builder& builder;
  const NodeProto& node;
  int64_t opset = 1;  // version of the node's domain that the model asks for
  Values inputs;      // null where an optional one is absent, also behind the last one given
  int outputs = 0;    // up to the last one that has a name

  // Operand i, or null. The table's arity says which are never null.
  Value* in(int i) const {
    return i >= 0 && static_cast<size_t>(i) < inputs.size() ? inputs[static_cast<size_t>(i)]
                                                            : nullptr;
  }
  bool has(int i) const { return in(i) != nullptr; }
  // How many operands the node names, optional ones in between included.
  int input_count() const { return static_cast<int>(inputs.size()); }
  // Whether the node's output i has a name.
  bool wants(int i) const { return i < outputs && !node.outputs[static_cast<size_t>(i)].empty(); }

  // The value of operand i. Error: unsupported when it is not known at compile time.
  Result<Tensor> constant(int i) const;
  // The elements of integer operand i, of any integer type. Errors: unsupported when they are not
  // known at compile time.
  Result<std::vector<int64_t>> ints(int i) const;
  // The single element of such an operand.
  Result<int64_t> int_input(int i) const;
  // The rank of operand i. Error: unsupported when it is not known.
  Result<int> rank(int i) const;

  // Attributes. Without a fallback a missing one is an error; one of another kind always is.
  bool has_attr(std::string_view name) const { return attr(name) != nullptr; }
  // The attribute as the file has it, or null.
  const AttributeProto* attr(std::string_view name) const;
  Result<int64_t> get_int(std::string_view name) const;
  Result<int64_t> get_int(std::string_view name, int64_t fallback) const;
  Result<bool> get_bool(std::string_view name, bool fallback) const;
  Result<double> get_float(std::string_view name) const;
  Result<double> get_float(std::string_view name, double fallback) const;
  Result<std::string> get_string(std::string_view name) const;
  Result<std::string> get_string(std::string_view name, std::string_view fallback) const;
  // Empty when missing.
  Result<std::vector<int64_t>> get_ints(std::string_view name) const;
  Result<std::vector<double>> get_floats(std::string_view name) const;
  Result<std::vector<std::string>> get_strings(std::string_view name) const;
  Result<Tensor> get_tensor(std::string_view name) const;
  Result<const GraphProto*> get_graph(std::string_view name) const;
  // An attribute that is a TensorProto.DataType number.
  Result<DType> get_dtype(std::string_view name) const;
  Result<DType> get_dtype(std::string_view name, DType fallback) const;

  // Building. The first result of a core op.
  Result<Value*> op(std::string_view name, Values operands,
                    std::vector<Builder::Attr> attrs = {}) const {
    return builder.op(name, std::move(operands), std::move(attrs));
  }
  // A constant scalar of x's element type, which is a number or boolean.
  Result<Value*> scalar_like(const Value* x, double value) const;
  // The same of a given type.
  Result<Value*> scalar(DType dtype, double value) const;
  // x as another element type; x itself when it has it.
  Result<Value*> cast(Value* x, DType to) const;
  // x with its dimensions permuted; x itself when nothing moves.
  Result<Value*> transpose(Value* x, std::vector<int64_t> perm) const;
  // The shape of x as a vector of i64: a constant where it is known.
  Result<Value*> shape(Value* x) const;
  // One dimension of x, which is ranked, as a scalar of i64: a constant where it is known.
  Result<Value*> dim(Value* x, int axis) const;
  Value* int_scalar(int64_t value) const { return builder.constant(Tensor::scalar(value)); }
  // x under another shape; 0 means 0, one dimension may be -1.
  Result<Value*> reshape(Value* x, const std::vector<int64_t>& shape) const;
};

using RuleFunction = Result<Values> (*)(RuleContext&);

// A row of a rule table. The walker checks the arity, and that the first inputs.min inputs are
// there. Of several rows of one op, the one with the largest `since` that the model's opset reaches
// is taken; most rules need only one and look at c.opset.
struct Rule {
  std::string_view op;
  Arity inputs;
  RuleFunction function;
  int64_t since = 1;
  std::string_view domain = "";  // "" is ai.onnx
};

// The rule of an op of a domain at a version, or null. "ai.onnx" and "" are the same domain.
const Rule* find_rule(std::string_view domain, std::string_view op, int64_t opset);
// Whether there is one at any version.
bool has_rule(std::string_view domain, std::string_view op);

// For rules with one result.
inline Result<Values> one(Result<Value*> value) {
  return Values{TRY(std::move(value))};
}
// All results of a node.
inline Result<Values> all(Result<Node*> node) {
  const Node* n = TRY(std::move(node));
  Values values;
  for (int i = 0; i < n->output_count(); ++i) values.push_back(n->output(i));
  return values;
}

// The tables, one per group. rules.cpp lists them.
std::span<const Rule> attention_rules();
std::span<const Rule> basic_rules();
std::span<const Rule> control_rules();
std::span<const Rule> conv_rules();
std::span<const Rule> image_rules();
std::span<const Rule> index_rules();
std::span<const Rule> linear_rules();
std::span<const Rule> loss_rules();
std::span<const Rule> microsoft_rules();
std::span<const Rule> microsoft_attention_rules();
std::span<const Rule> microsoft_expert_rules();
std::span<const Rule> microsoft_layer_rules();
std::span<const Rule> ml_rules();
std::span<const Rule> norm_rules();
std::span<const Rule> pointwise_rules();
std::span<const Rule> pool_rules();
std::span<const Rule> qlinear_rules();
std::span<const Rule> quantize_rules();
std::span<const Rule> recurrent_rules();
std::span<const Rule> reduce_rules();
std::span<const Rule> resize_rules();
std::span<const Rule> sequence_rules();
std::span<const Rule> shape_rules();
std::span<const Rule> signal_rules();
std::span<const Rule> state_rules();
std::span<const Rule> text_rules();
std::span<const Rule> tree_rules();

}  // namespace tenon::onnx
