// What a rule is: a function from one TensorFlow node, its operands imported, to core ops. The
// rules live in rules_GROUP.cpp, each file handing out a table of them.
#pragma once

#include <algorithm>
#include <span>
#include <string_view>
#include <vector>

#include "import/tensorflow/proto.h"
#include "import/tensorflow/saved_model.h"
#include "import/tensorflow/tensor_value.h"
#include "ir/graph.h"

namespace tenon::tf {

// What a rule sees of its node.
struct RuleContext {
  const LoadedModel& model;
  Builder& builder;
  const NodeDef& node;
  std::vector<Value*> inputs;  // data inputs, in order

  // The elements of integer input i. Error: unsupported when it is not known at compile time.
  Result<std::vector<int64_t>> ints(int i) const;
  // The same for an input that must hold one element.
  Result<int64_t> int_scalar(int i) const;
};

using Values = Result<std::vector<Value*>>;
// All outputs of the node in TensorFlow's order; null for one that cannot be had.
using Rule = Values (*)(RuleContext&);

struct RuleEntry {
  std::string_view op;
  Rule rule;
  int min_inputs = 1;  // fewer are an error before the rule runs
  // Input 0 is a handle beside the value itself (TensorArray): the rule gets null for it.
  bool first_is_handle = false;
};

// Null when there is no rule for the op.
const RuleEntry* find_rule(std::string_view op);

// The groups; rules.cpp joins them.
std::span<const RuleEntry> array_rules();
std::span<const RuleEntry> codec_rules();
std::span<const RuleEntry> cudnn_rules();
std::span<const RuleEntry> decompose_rules();
std::span<const RuleEntry> gradient_rules();
std::span<const RuleEntry> image_rules();
std::span<const RuleEntry> index_rules();
std::span<const RuleEntry> layer_rules();
std::span<const RuleEntry> linalg_rules();
std::span<const RuleEntry> list_rules();
std::span<const RuleEntry> math_rules();
std::span<const RuleEntry> nn_rules();
std::span<const RuleEntry> norm_rules();
std::span<const RuleEntry> pointwise_rules();
std::span<const RuleEntry> quant_rules();
std::span<const RuleEntry> quant_layer_rules();
std::span<const RuleEntry> ragged_rules();
std::span<const RuleEntry> random_rules();
std::span<const RuleEntry> record_rules();
std::span<const RuleEntry> recurrent_rules();
std::span<const RuleEntry> set_rules();
std::span<const RuleEntry> shape_rules();
std::span<const RuleEntry> signal_rules();
std::span<const RuleEntry> sparse_rules();
std::span<const RuleEntry> sparse_parts_rules();
std::span<const RuleEntry> special_rules();
std::span<const RuleEntry> string_rules();
std::span<const RuleEntry> uniform_rules();
std::span<const RuleEntry> xla_rules();

// For rules with a single output.
inline Values one(Result<Value*> value) {
  if (!value.ok()) return std::move(value).error();
  return std::vector<Value*>{*value};
}

// A string as a template argument.
template <size_t kSize>
struct OpName {
  char text[kSize]{};
  constexpr OpName(const char (&name)[kSize]) { std::copy_n(name, kSize, text); }
};
// The rule of ops that are a core op of the same operands: same<"relu">.
template <OpName kName>
Values same(RuleContext& c) {
  return one(c.builder.op(kName.text, c.inputs));
}

// Conversions of what attributes and constants hold.
Result<DType> to_dtype(DataType dtype);
Result<Tensor> to_tensor(TensorValue value, const std::string& name);
// Unknown dimensions get names of their own; the first one of an input that is the only one is
// `batch`. Nothing says that two inputs share theirs.
Shape to_shape(const ShapeProto& shape, const std::string& input, bool only);

}  // namespace tenon::tf
