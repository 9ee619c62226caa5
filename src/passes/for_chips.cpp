// What chips have no form of, in terms of what they have.
#include <algorithm>

#include "ops/gather.h"
#include "ops/scatter.h"
#include "passes/byte_functions.h"
#include "passes/passes.h"

namespace tenon {
namespace {

// The blocks of space_to_batch and batch_to_space, and what is added or cut off: [spatial, 2].
struct Blocks {
  std::vector<int64_t> dims, block, edges;
};
std::optional<Blocks> blocks_of(const Node& node) {
  const Value* x = node.input(0);
  const Tensor *block = node.input(1)->constant(), *edges = node.input(2)->constant();
  if (!x->shape().is_static() || block == nullptr || edges == nullptr) return std::nullopt;
  Blocks b;
  for (const Dim& d : x->shape().dims()) b.dims.push_back(d.size());
  b.block = block->to_ints(), b.edges = edges->to_ints();
  return b;
}

// space_to_batch: the blocks as dimensions of their own, which go in front.
Result<bool> expand_space_to_batch(Graph& graph, Node& node) {
  const auto blocks = node.is("space_to_batch") ? blocks_of(node) : std::nullopt;
  if (!blocks) return false;
  const auto [dims, block, edges] = *blocks;
  const size_t n = block.size(), rank = dims.size();
  Builder b(graph, &node);
  b.set_origins(node.origins);
  std::vector<int64_t> pads(2 * rank, 0), split{dims[0]}, perm, whole{dims[0]};
  for (size_t i = 0; i < n; ++i) {
    pads[1 + i] = edges[2 * i], pads[rank + 1 + i] = edges[2 * i + 1];
    const int64_t size = dims[1 + i] + edges[2 * i] + edges[2 * i + 1];
    split.push_back(size / block[i]), split.push_back(block[i]);
    whole.push_back(size / block[i]);
    whole[0] *= block[i];
    perm.push_back(static_cast<int64_t>(2 + 2 * i));
  }
  perm.push_back(0);
  for (size_t i = 0; i < n; ++i) perm.push_back(static_cast<int64_t>(1 + 2 * i));
  for (size_t i = n + 1; i < rank; ++i) {
    split.push_back(dims[i]), whole.push_back(dims[i]);
    perm.push_back(static_cast<int64_t>(n + i));
  }
  Value* y = TRY(b.op("pad", {node.input(0), b.ints(pads)}));
  y = TRY(b.op("transpose", {TRY(b.op("reshape", {y, b.ints(split)}))}, {{"perm", perm}}));
  replace_node(graph, node, TRY(b.op("reshape", {y, b.ints(whole)})));
  return true;
}

Result<bool> expand_batch_to_space(Graph& graph, Node& node) {
  const auto blocks = node.is("batch_to_space") ? blocks_of(node) : std::nullopt;
  if (!blocks) return false;
  const auto [dims, block, edges] = *blocks;
  const size_t n = block.size(), rank = dims.size();
  Builder b(graph, &node);
  b.set_origins(node.origins);
  int64_t batch = dims[0];
  for (const int64_t size : block) batch /= size;
  std::vector<int64_t> split = block, perm{static_cast<int64_t>(n)}, whole{batch}, from, to, axes;
  split.push_back(batch);
  for (size_t i = 0; i < n; ++i) {
    split.push_back(dims[1 + i]);
    perm.push_back(static_cast<int64_t>(n + 1 + i)), perm.push_back(static_cast<int64_t>(i));
    const int64_t size = dims[1 + i] * block[i];
    whole.push_back(size);
    axes.push_back(static_cast<int64_t>(1 + i));
    from.push_back(edges[2 * i]), to.push_back(size - edges[2 * i + 1]);
  }
  for (size_t i = n + 1; i < rank; ++i) {
    split.push_back(dims[i]), whole.push_back(dims[i]);
    perm.push_back(static_cast<int64_t>(n + i));
  }
  Value* y = TRY(b.op("reshape", {node.input(0), b.ints(split)}));
  y = TRY(b.op("transpose", {y}, {{"perm", perm}}));
  y = TRY(b.op("reshape", {y, b.ints(whole)}));
  replace_node(graph, node, TRY(b.op("slice", {y, b.ints(from), b.ints(to)}, {{"axes", axes}})));
  return true;
}

// The mean of each segment: its sum by how many slices it has, at least one.
Result<bool> expand_segment_mean(Graph& graph, Node& node) {
  const auto* op = node.as<SegmentReduce>();
  if (op == nullptr || op->reduction != SegmentReduction::mean ||
      !node.output()->shape().is_static() || !node.input(1)->shape().is_static() ||
      node.output()->dtype() != DType::f32)
    return false;
  Builder b(graph, &node);
  b.set_origins(node.origins);
  std::vector<int64_t> dims;
  for (const Dim& d : node.input(1)->shape().dims()) dims.push_back(d.size());
  Tensor ones = TRY(Tensor::allocate(DType::f32, dims));
  std::fill_n(ones.mutable_data<float>(), ones.elements(), 1.0f);
  std::vector<Value*> of_ones = node.inputs();
  of_ones[0] = b.constant(std::move(ones));
  Value* count = TRY(b.op(SegmentReduce{}, of_ones));
  count = TRY(b.op("max", {count, b.constant(Tensor::scalar(1.0f))}));
  const auto inner = node.output()->shape().rank() - count->shape().rank();
  for (int i = 0; i < inner; ++i)
    count = TRY(b.op("expand_dims", {count}, {{"axes", std::vector<int64_t>{-1}}}));
  replace_node(graph, node, TRY(b.op("div", {TRY(b.op(SegmentReduce{}, node.inputs())), count})));
  return true;
}

constexpr Rule kRules[] = {
    {"chip-space-to-batch", "space_to_batch(x) = reshape(transpose(reshape(pad(x))))",
     expand_space_to_batch},
    {"chip-batch-to-space", "batch_to_space(x) = slice(reshape(transpose(reshape(x))))",
     expand_batch_to_space},
    {"chip-segment-mean", "a mean of segments = their sum by their count", expand_segment_mean},
    {"chip-lookup", "byte_lookup(x) = quantize(activation(dequantize(x))) where the table is that",
     lookup_as_function},
};

}  // namespace

std::span<const Rule> chip_rules() {
  return kRules;
}

Result<bool> rewrite_for_chips(Graph& graph, PassContext& context) {
  // What would put tables back in the place of functions, and unsigned bytes in that of signed.
  context.disabled.insert({"integer-table", "integer-unsigned"});
  TRY(graph.infer_all());
  bool changed = TRY(split_complex(graph, context));
  changed |= TRY(apply_rules(graph, chip_rules(), context));
  changed |= TRY(use_signed_bytes(graph, context));
  return changed;
}

}  // namespace tenon
