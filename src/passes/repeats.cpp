// Constants that are repeated for every sample: learned queries and positions of a model whose
// batch is open.
#include <algorithm>
#include <optional>

#include "ops/concat.h"
#include "ops/expand.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/softmax.h"
#include "ops/transpose.h"
#include "passes/passes.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

// What is computed once becomes a constant, and constants take room in the file.
constexpr int64_t kMostBytes = 1 << 20;

// Whether v is a constant repeated along its first dimension alone.
bool is_repeated(const Value* v) {
  const Node* node = v == nullptr ? nullptr : v->producer();
  if (node == nullptr || !(node->is(Expand::name) || node->is(Tile::name))) return false;
  const Tensor* c = node->input(0)->constant();
  const Shape &y = v->shape(), &counts = node->input(1)->shape();
  if (c == nullptr || !y.ranked() || y.rank() < 2 || y[0].known() || !counts.ranked() ||
      counts.rank() != 1 || counts[0] != Dim(y.rank()) || node->input(1)->dtype() != DType::i64)
    return false;
  for (int d = 1; d < y.rank(); ++d)
    if (!y[d].known()) return false;
  if (c->rank() != y.rank()) return node->is(Expand::name);
  for (int d = 0; d < y.rank(); ++d)
    if (c->dim(d) != (d == 0 ? 1 : y[d].size())) return node->is(Expand::name) && c->dim(0) == 1;
  return true;
}

// The dims of v for one sample.
std::vector<int64_t> dims_of_one(const Value& v) {
  std::vector<int64_t> dims{1};
  for (int d = 1; d < v.shape().rank(); ++d) dims.push_back(v.shape()[d].size());
  return dims;
}

// Whether the op treats samples alike, whatever there are of them, when only operands that are
// repeated have samples.
bool keeps_samples_apart(const Node& node) {
  const int rank = node.input(0)->shape().ranked() ? node.input(0)->shape().rank() : 0;
  const auto is_last = [&](int64_t axis) { return axis == -1 || axis == rank - 1; };
  if (const auto* op = node.as<Softmax>()) return rank > 1 && is_last(op->axis);
  if (const auto* op = node.as<LayerNorm>()) return rank > 1 && op->axis != 0 && op->axis != -rank;
  if (const auto* op = node.as<Transpose>()) return !op->perm.empty() && op->perm[0] == 0;
  if (const auto* op = node.as<Concat>()) return op->axis == -1 || op->axis > 0;
  if (const auto* op = node.as<Matmul>()) {
    const Value* b = node.input(1);
    return rank > 2 && !op->transpose_a && b->constant() != nullptr && b->shape().rank() == 2;
  }
  return node.def().has(kPointwise) && !node.def().has(kRandom);
}

// A constant that has no samples: of a lower rank, or with one.
bool has_no_samples(const Value& v, int rank) {
  const Tensor* c = v.constant();
  return c != nullptr && (c->rank() < rank || c->dim(0) == 1);
}

// f(expand(c)) = expand(f(c)): what is repeated for each sample is computed once.
Result<bool> hoist_repeat(Graph& graph, Node& node) {
  if (node.output_count() != 1 || node.input_count() == 0 || node.input(0) == nullptr) return false;
  const Value& y = *node.output();
  const bool reshapes = node.is("reshape");
  if (!(reshapes ? is_repeated(node.input(0)) : keeps_samples_apart(node))) return false;
  if (y.type().is_list || !y.shape().ranked() || y.shape().rank() < 2) return false;
  int64_t bytes = static_cast<int64_t>(dtype_size(y.dtype()));
  for (int d = 1; d < y.shape().rank(); ++d) {
    if (!y.shape()[d].known()) return false;
    bytes *= y.shape()[d].size();
  }
  const bool joins = node.is(Concat::name);
  const Value* repeated = nullptr;
  for (const Value* v : node.inputs()) {
    if (v == nullptr || (reshapes && v != node.input(0))) continue;
    if (is_repeated(v) && v->shape()[0].same(y.shape()[0]) &&
        (reshapes || v->shape().rank() == y.shape().rank()))
      repeated = v;
    else if (joins || !has_no_samples(*v, y.shape().rank()))
      return false;
  }
  if (repeated == nullptr || bytes > kMostBytes) return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  std::vector<Value*> operands = node.inputs();
  for (Value*& v : operands) {
    if (!is_repeated(v)) continue;
    Value* c = v->producer()->input(0);
    const std::vector<int64_t> dims = dims_of_one(*v);
    v = std::ranges::equal(c->constant()->dims(), dims)
            ? c
            : TRY(builder.op("expand", {c, builder.ints(dims)}));
  }
  if (reshapes) operands[1] = builder.ints(dims_of_one(y));
  Node* once = TRY(builder.add(node.op().clone(), std::move(operands)));
  Value* count = TRY(
      builder.op("slice", {repeated->producer()->input(1), builder.ints({0}), builder.ints({1})}));
  std::vector<Value*> counts{count};
  counts.push_back(
      builder.ints(std::vector<int64_t>(static_cast<size_t>(y.shape().rank() - 1), 1)));
  Value* shape = TRY(builder.op("concat", counts, {{"axis", int64_t{0}}}));
  Value* all = TRY(builder.op("expand", {once->output(), shape}));
  if (all->type() != y.type()) {
    for (Node* made : {all->producer(), shape->producer(), count->producer(), once})
      graph.erase(made);
    return false;
  }
  replace_node(graph, node, all);
  return true;
}

constexpr Rule kRules[] = {
    {"hoist-repeat", "f(expand(c)) = expand(f(c)), of a constant c that each sample has",
     hoist_repeat},
};

}  // namespace

std::span<const Rule> repeat_rules() {
  return kRules;
}

}  // namespace tenon
