// Rules of sets and sequences in the last dimension of tensors.
#include <algorithm>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

using Axes = std::vector<int64_t>;

// Places, values and size of a dense tensor seen as a sparse one.
Result<std::vector<Value*>> as_sparse(RuleContext& c, Value* x) {
  Builder& b = c.builder;
  Value* size = TRY(shape_of(c, x));
  Value* all = TRY(b.op("non_zero", {TRY(filled(c, 1, DType::i64, size))}));
  return std::vector<Value*>{TRY(b.op("transpose", {all}, {{"perm", Axes{1, 0}}})),
                             TRY(flatten(c, x)), size};
}

std::vector<Value*> outputs_of(Node* node) {
  return {node->output(0), node->output(1), node->output(2)};
}

// DenseToDense-, DenseToSparse- and SparseToSparseSetOperation.
Values set_operation(RuleContext& c) {
  constexpr std::pair<std::string_view, std::string_view> kKinds[] = {{"a-b", "a_without_b"},
                                                                      {"b-a", "b_without_a"},
                                                                      {"intersection", "both"},
                                                                      {"union", "either"}};
  const std::string_view wanted = TRY(c.node.attrs.get_string("set_operation"));
  const auto* kind = std::ranges::find_if(kKinds, [&](const auto& k) { return k.first == wanted; });
  if (kind == std::end(kKinds))
    return invalid_model("attribute 'set_operation' is '" + std::string(wanted) + "'");
  const bool dense_a = c.node.op.starts_with("Dense"), dense_b = c.node.op.starts_with("DenseToD");
  if (c.inputs.size() < (dense_a ? 1u : 3u) + (dense_b ? 1u : 3u))
    return invalid_model("it lacks operands");
  std::vector<Value*> in;
  if (dense_a)
    in = TRY(as_sparse(c, c.inputs[0]));
  else
    in.assign(c.inputs.begin(), c.inputs.begin() + 3);
  if (dense_b) {
    const auto b = TRY(as_sparse(c, c.inputs[1]));
    in.insert(in.end(), b.begin(), b.end());
  } else {
    in.insert(in.end(), c.inputs.end() - 3, c.inputs.end());
  }
  return outputs_of(
      TRY(c.builder.node("set_operation", in, {{"kind", std::string(kind->second)}})));
}

// How many different values each row has.
Values set_size(RuleContext& c) {
  Builder& b = c.builder;
  const std::vector<Value*> in{c.inputs[0], c.inputs[1], c.inputs[2],
                               c.inputs[0], c.inputs[1], c.inputs[2]};
  Node* distinct = TRY(b.node("set_operation", in, {{"kind", std::string("either")}}));
  Value* rows =
      TRY(b.op("slice", {distinct->output(0), b.ints({0}), b.ints({-1})}, {{"axes", Axes{1}}}));
  Value* size = TRY(b.op("slice", {c.inputs[2], b.ints({0}), b.ints({-1})}));
  Value* zeros = TRY(filled(c, 0, DType::i32, size));
  Value* ones = TRY(filled(c, 1, DType::i32, TRY(shape_of(c, rows, 0, 1))));
  return one(b.op("scatter_nd", {zeros, rows, ones}, {{"reduction", std::string("add")}}));
}

Values edit_distance(RuleContext& c) {
  return one(c.builder.op("edit_distance", c.inputs,
                          {{"normalize", TRY(c.node.attrs.get_bool("normalize", true))}}));
}

constexpr RuleEntry kRules[] = {
    {"DenseToDenseSetOperation", set_operation, 2},
    {"DenseToSparseSetOperation", set_operation, 4},
    {"EditDistance", edit_distance, 6},
    {"SetSize", set_size, 3},
    {"SparseToSparseSetOperation", set_operation, 6},
};

}  // namespace

std::span<const RuleEntry> set_rules() {
  return kRules;
}

}  // namespace tenon::tf
