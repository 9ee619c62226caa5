// Assignments to slices, x[:, 2:] = u, which exporters write as a scatter to all places of a block.
#include <optional>
#include <span>
#include <vector>

#include "ops/concat.h"
#include "ops/expand.h"
#include "ops/range.h"
#include "ops/reshape.h"
#include "ops/scatter.h"
#include "passes/passes.h"

namespace tenon {
namespace {

// Whole numbers that count up from `start` along one axis and are the same along all others. The
// axis is negative, as broadcasting keeps it; 0 where there is one number.
struct Count {
  int64_t start = 0;
  int axis = 0;
};

std::optional<int64_t> whole_number(const Value* v) {
  if (v == nullptr || !v->ints() || v->ints()->size() != 1) return std::nullopt;
  return v->ints()->front().value;
}

bool holds_indices(DType dtype) {
  return dtype == DType::i64 || dtype == DType::i32;
}

std::optional<Count> count_of_constant(const Tensor& t) {
  if (!holds_indices(t.dtype()) || t.elements() == 0) return std::nullopt;
  Count count;
  for (int d = 0; d < t.rank(); ++d) {
    if (t.dim(d) == 1) continue;
    if (count.axis != 0) return std::nullopt;
    count.axis = d - t.rank();
  }
  count.start = t.int_at(0);
  for (int64_t i = 0; i < t.elements(); ++i)
    if (t.int_at(i) != count.start + i) return std::nullopt;
  return count;
}

// Where the one dimension of `from` that is not 1 is in `to`, whose others are 1: negative; 0 where
// that is not so.
int only_dim_in(const Shape& from, int axis, const Shape& to) {
  int found = 0;
  for (int d = 0; d < from.rank(); ++d)
    if (d - from.rank() != axis && from[d] != Dim(1)) return 0;
  for (int d = 0; d < to.rank(); ++d) {
    if (to[d] == Dim(1)) continue;
    if (found != 0 || !to[d].same(from[from.rank() + axis])) return 0;
    found = d - to.rank();
  }
  return found;
}

// Where dimension `axis` of x lies, negative, when others of size 1 are put in as the op says.
int axis_with_more(const ExpandDims& op, int x_rank, int axis, int y_rank) {
  std::vector<bool> is_new(static_cast<size_t>(y_rank));
  for (const int64_t a : op.axes) is_new[static_cast<size_t>(a < 0 ? a + y_rank : a)] = true;
  for (int d = 0, left = x_rank + axis; d < y_rank; ++d)
    if (!is_new[static_cast<size_t>(d)] && left-- == 0) return d - y_rank;
  return 0;
}

std::optional<Count> count_of(const Value* v) {
  if (const Tensor* t = v->constant()) return count_of_constant(*t);
  const Node* node = v->producer();
  if (node == nullptr || !v->shape().ranked() || !holds_indices(v->dtype())) return std::nullopt;
  if (node->is(Range::name)) {
    const auto start = whole_number(node->input(0)), step = whole_number(node->input(2));
    if (!start || step != 1) return std::nullopt;
    return Count{*start, -1};
  }
  const bool reshapes = node->is(Reshape::name);
  const auto* more = node->as<ExpandDims>();
  if (!reshapes && more == nullptr && !node->is(Expand::name)) return std::nullopt;
  const Shape &x = node->input(0)->shape(), &y = v->shape();
  auto count = x.ranked() ? count_of(node->input(0)) : std::nullopt;
  if (!count || count->axis == 0) return count;
  if (reshapes || more != nullptr) {
    count->axis = reshapes ? only_dim_in(x, count->axis, y)
                           : axis_with_more(*more, x.rank(), count->axis, y.rank());
    return count->axis == 0 ? std::nullopt : count;
  }
  const Dim before = x[x.rank() + count->axis], after = y[y.rank() + count->axis];
  return before.same(after) && before != Dim(1) ? count : std::nullopt;
}

// A block of a tensor: where it begins in each of the first dimensions, and its sizes there.
struct Block {
  std::vector<int64_t> starts;
  std::vector<Dim> sizes;
};

// The block whose places `indices`, a constant, holds in order.
bool counts_through(const Tensor& indices, Block& block) {
  if (!holds_indices(indices.dtype()) || indices.elements() == 0) return false;
  const size_t dims = block.sizes.size();
  for (size_t d = 0; d < dims; ++d) block.starts.push_back(indices.int_at(static_cast<int64_t>(d)));
  std::vector<int64_t> at(dims);
  for (int64_t i = 0; i < indices.elements();) {
    for (size_t d = 0; d < dims; ++d)
      if (indices.int_at(i++) != block.starts[d] + at[d]) return false;
    for (size_t d = dims; d-- > 0 && ++at[d] == block.sizes[d].size();) at[d] = 0;
  }
  return true;
}

// The block whose places `indices` holds in order: one dimension of it for each that is indexed.
std::optional<Block> block_of(const Value& indices) {
  const Shape& shape = indices.shape();
  if (!shape.ranked() || shape.rank() < 2) return std::nullopt;
  const int dims = shape.rank() - 1;
  if (shape[dims] != Dim(dims)) return std::nullopt;
  Block block;
  block.sizes.assign(shape.dims().begin(), shape.dims().end() - 1);
  if (const Tensor* t = indices.constant())
    return counts_through(*t, block) ? std::optional(block) : std::nullopt;
  std::vector<const Value*> parts{&indices};
  if (dims > 1) {
    const Node* node = indices.producer();
    const Concat* concat = node == nullptr ? nullptr : node->as<Concat>();
    if (concat == nullptr || (concat->axis != -1 && concat->axis != dims) ||
        node->input_count() != dims)
      return std::nullopt;
    parts.assign(node->inputs().begin(), node->inputs().end());
  }
  for (int d = 0; d < dims; ++d) {
    const auto count = count_of(parts[static_cast<size_t>(d)]);
    if (!count || (count->axis == 0 ? shape[d] != Dim(1) : count->axis != d - dims - 1))
      return std::nullopt;
    block.starts.push_back(count->start);
  }
  return block;
}

// Dimensions of x that the block does not fill; nullopt where it may not lie within x.
std::optional<std::vector<int>> partial_dims(const Block& block, const Shape& x) {
  std::vector<int> partial;
  for (int d = 0; d < static_cast<int>(block.sizes.size()); ++d) {
    const int64_t start = block.starts[static_cast<size_t>(d)];
    const Dim size = block.sizes[static_cast<size_t>(d)];
    if (start == 0 && size.same(x[d])) continue;
    if (start < 0 || !size.known() || !x[d].known() || start + size.size() > x[d].size())
      return std::nullopt;
    partial.push_back(d);
  }
  return partial;
}

Result<Value*> slice(Builder& builder, Value* x, int axis, int64_t begin, int64_t end) {
  return builder.op("slice", {x, builder.ints({begin}), builder.ints({end})},
                    {{"axes", std::vector<int64_t>{axis}}});
}

// x with the block replaced, where the block fills all dimensions but `partial`.
Result<Value*> assign(Builder& builder, Value* x, Value* updates, const Block& block,
                      std::span<const int> partial) {
  if (partial.empty()) return updates;
  const int axis = partial[0];
  const int64_t begin = block.starts[static_cast<size_t>(axis)];
  const int64_t end = begin + block.sizes[static_cast<size_t>(axis)].size();
  const int64_t size = x->shape()[axis].size();
  std::vector<Value*> parts;
  if (begin > 0) parts.push_back(TRY(slice(builder, x, axis, 0, begin)));
  if (partial.size() > 1)
    updates = TRY(assign(builder, TRY(slice(builder, x, axis, begin, end)), updates, block,
                         partial.subspan(1)));
  parts.push_back(updates);
  if (end < size) parts.push_back(TRY(slice(builder, x, axis, end, size)));
  if (parts.size() == 1) return parts[0];
  return builder.op("concat", parts, {{"axis", static_cast<int64_t>(axis)}});
}

// scatter_nd(x, places of a block, u) is x with the block replaced by u.
Result<bool> assign_block(Graph& graph, Node& node) {
  const auto* op = node.as<ScatterNd>();
  if (op == nullptr || op->reduction != ScatterReduction::none) return false;
  Value *x = node.input(0), *updates = node.input(2);
  const auto block = x->shape().ranked() ? block_of(*node.input(1)) : std::nullopt;
  if (!block || static_cast<int>(block->sizes.size()) > x->shape().rank() ||
      updates->shape().rank() != x->shape().rank())
    return false;
  const auto partial = partial_dims(*block, x->shape());
  if (!partial) return false;
  for (int d = 0; d < x->shape().rank(); ++d) {
    const bool indexed = d < static_cast<int>(block->sizes.size());
    if (!updates->shape()[d].same(indexed ? block->sizes[static_cast<size_t>(d)] : x->shape()[d]))
      return false;
  }
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  replace_node(graph, node, TRY(assign(builder, x, updates, *block, *partial)));
  return true;
}

constexpr Rule kRules[] = {
    {"assign-block", "scatter_nd(x, places of a block, u) = x with u between its slices",
     assign_block},
};

}  // namespace

std::span<const Rule> assignment_rules() {
  return kRules;
}

}  // namespace tenon
