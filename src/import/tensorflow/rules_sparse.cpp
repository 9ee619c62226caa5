// Rules of sparse tensors, which are three tensors: places [n, rank], values [n], size [rank].
#include <algorithm>
#include <limits>

#include "import/tensorflow/sparse.h"

namespace tenon::tf {
namespace {

using Axes = std::vector<int64_t>;

// More are a damaged model.
constexpr int64_t kMostDimensions = 64;

// (places, size, values, default); the places may be of lower rank, the values one for all.
Values sparse_to_dense(RuleContext& c) {
  Builder& b = c.builder;
  Value *places = c.inputs[0], *values = c.inputs[2];
  const int rank = TRY(rank_of(places));
  if (rank == 0) places = TRY(b.op("reshape", {places, b.ints({1, 1})}));
  if (rank == 1) places = TRY(b.op("expand_dims", {places}, {{"axes", Axes{1}}}));
  if (TRY(rank_of(values)) == 0)
    values = TRY(b.op("expand", {values, TRY(shape_of(c, places, 0, 1))}));
  return one(as_dense(c, places, c.inputs[1], values, c.inputs[3]));
}

// (places, size, new size); one new dimension may be -1.
Values sparse_reshape(RuleContext& c) {
  Builder& b = c.builder;
  Value *size = c.inputs[1], *wanted = c.inputs[2];
  Value* open = TRY(b.op("less", {wanted, b.ints({0})}));
  Value* product =
      TRY(b.op("prod", {TRY(b.op("select", {open, b.ints({1}), wanted}))}, {{"keep_dims", true}}));
  Value* all = TRY(b.op("prod", {size}, {{"keep_dims", true}}));
  Value* rest = TRY(b.op("floor_div", {all, TRY(b.op("max", {product, b.ints({1})}))}));
  wanted = TRY(b.op("select", {open, rest, wanted}));
  Value* places = TRY(places_of(c, TRY(flat_places(c, c.inputs[0], size)), wanted));
  return std::vector<Value*>{places, wanted};
}

Values sparse_reorder(RuleContext& c) {
  Value* order = TRY(order_of(c, TRY(flat_places(c, c.inputs[0], c.inputs[2]))));
  return std::vector<Value*>{TRY(c.builder.op("gather", {c.inputs[0], order})),
                             TRY(c.builder.op("gather", {c.inputs[1], order}))};
}

// (places, values, size, default): each row without an element gets the default at its start.
Values sparse_fill_empty_rows(RuleContext& c) {
  Builder& b = c.builder;
  Value *places = c.inputs[0], *values = c.inputs[1], *size = c.inputs[2];
  if (TRY(rank_of(places)) != 2) return invalid_model("the places must have two dimensions");
  Value* row = TRY(b.op("slice", {places, b.ints({0}), b.ints({1})}, {{"axes", Axes{1}}}));
  row = TRY(flatten(c, row));
  Value* rows = TRY(b.op("squeeze", {TRY(element(c, size, 0))}));
  Value* ones = TRY(filled(c, 1, DType::i64, TRY(shape_of(c, row))));
  Value* counts = TRY(b.op("segment_reduce", {ones, row, rows}));
  Value* empty = TRY(b.op("equal", {counts, b.ints({0})}));
  Value* missing = TRY(b.op("transpose", {TRY(b.op("non_zero", {empty}))}, {{"perm", Axes{1, 0}}}));
  Value* rank = TRY(shape_of(c, places, 1, 2));
  Value* behind = TRY(b.op("sub", {rank, b.ints({1})}));
  Value* added =
      TRY(b.op("pad", {missing, TRY(join(c, {b.ints({0}), behind}))}, {{"axes", Axes{1}}}));
  Value* order = TRY(order_of(c, TRY(join(c, {row, TRY(flatten(c, missing))}))));
  Value* fill = TRY(b.op("expand", {c.inputs[3], TRY(shape_of(c, missing, 0, 1))}));
  Value* all_places = TRY(b.op("gather", {TRY(join(c, {places, added})), order}));
  Value* all_values = TRY(b.op("gather", {TRY(join(c, {values, fill})), order}));
  Value* inverse = TRY(b.op("invert_permutation", {order}));
  inverse = TRY(b.op("slice", {inverse, b.ints({0}), TRY(shape_of(c, row))}));
  return std::vector<Value*>{all_places, all_values, empty, inverse};
}

// (places, values, size, b): every value adds its multiple of a row of b to a row of the result, so
// that time and memory go with the values there are. Values of one place add up.
Values sparse_matmul(RuleContext& c) {
  Builder& b = c.builder;
  const bool adjoint = TRY(c.node.attrs.get_bool("adjoint_a", false));
  Value *values = c.inputs[1], *other = c.inputs[3];
  if (TRY(c.node.attrs.get_bool("adjoint_b", false))) {
    other = TRY(b.op("transpose", {other}, {{"perm", Axes{1, 0}}}));
    if (is_complex(other->dtype())) other = TRY(b.op("conj", {other}));
  }
  if (adjoint && is_complex(values->dtype())) values = TRY(b.op("conj", {values}));
  Node* sides = TRY(b.node("split", {c.inputs[0]}, {{"axis", int64_t{1}}, {"sizes", Axes{1, 1}}}));
  Value* row = TRY(b.op("squeeze", {sides->output(adjoint ? 1 : 0)}, {{"axes", Axes{1}}}));
  Value* column = TRY(b.op("squeeze", {sides->output(adjoint ? 0 : 1)}, {{"axes", Axes{1}}}));
  Value* rows = TRY(b.op("squeeze", {TRY(element(c, c.inputs[2], adjoint ? 1 : 0))}));
  values = TRY(b.op("expand_dims", {values}, {{"axes", Axes{1}}}));
  Value* terms = TRY(b.op("mul", {TRY(b.op("gather", {other, column})), values}));
  return one(b.op("segment_reduce", {terms, row, rows}));
}

// (places, values, size, axes): the values of one place among the dimensions that are kept.
Values sparse_reduce_sum(RuleContext& c) {
  Builder& b = c.builder;
  const auto axes = c.ints(3);
  const Dim rank = TRY(rank_of(c.inputs[0])) == 2 ? c.inputs[0]->shape()[1] : Dim::unknown();
  if (axes.ok() && rank.known() && rank.size() <= kMostDimensions) {
    Axes kept, reduced;
    const int n = static_cast<int>(rank.size());
    for (const int64_t axis : *axes) reduced.push_back(TRY(normalize_axis(axis, n)));
    for (int i = 0; i < n; ++i)
      if (std::ranges::find(reduced, i) == reduced.end()) kept.push_back(i);
    Value* places = TRY(b.op("gather", {c.inputs[0], b.ints(kept)}, {{"axis", int64_t{1}}}));
    Value* size = TRY(b.op("gather", {c.inputs[2], b.ints(kept)}));
    Value* y = TRY(b.op("segment_reduce", {c.inputs[1], TRY(flat_places(c, places, size)),
                                           TRY(b.op("prod", {size}))}));
    y = TRY(b.op("reshape", {y, size}, {{"allow_zero", true}}));
    if (!TRY(c.node.attrs.get_bool("keep_dims", false))) return std::vector<Value*>{y};
    return one(b.op("expand_dims", {y}, {{"axes", reduced}}));
  }
  Value* zero = TRY(number(c, 0, c.inputs[1]->dtype()));
  Value* dense = TRY(as_dense(c, c.inputs[0], c.inputs[2], c.inputs[1], zero));
  return one(reduced(c, "sum", dense, c.inputs[3]));
}

// SparseCross and SparseCrossHashed (places…, values…, sizes…, dense…), the latter with (buckets,
// whether to hash strongly, salt) behind them, and SparseCrossV2 with a separator.
Values sparse_cross(RuleContext& c) {
  const std::string_view op = c.node.op;
  const int64_t sparse = TRY(c.node.attrs.get_int("N", 0));
  const size_t more = op == "SparseCrossHashed" ? 3 : op == "SparseCrossV2" ? 1 : 0;
  if (c.inputs.size() <= more || sparse < 0 ||
      3 * sparse > static_cast<int64_t>(c.inputs.size() - more))
    return invalid_model("N is out of range");
  std::vector<Value*> in(c.inputs.begin(), c.inputs.end() - static_cast<ptrdiff_t>(more));
  for (Value*& x : in)
    if (x->dtype() != DType::string) x = TRY(cast_to(c, x, DType::i64));
  std::vector<Builder::Attr> attrs{{"sparse", sparse}};
  if (op == "SparseCross") {
    const bool hashed = TRY(c.node.attrs.get_bool("hashed_output", false));
    attrs.push_back({"hashed", hashed});
    if (hashed) attrs.push_back({"buckets", TRY(c.node.attrs.get_int("num_buckets", 0))});
    attrs.push_back({"key", Axes{TRY(c.node.attrs.get_int("hash_key", 0))}});
  } else if (op == "SparseCrossHashed") {
    const int last = static_cast<int>(c.inputs.size()) - 1;
    const Tensor* strong = c.inputs[static_cast<size_t>(last) - 1]->constant();
    if (strong == nullptr || strong->elements() != 1 || strong->dtype() != DType::boolean)
      return unsupported("how to hash must be known when the model is compiled");
    attrs.push_back({"buckets", TRY(c.int_scalar(last - 2))});
    if (strong->int_at(0) != 0) attrs.push_back({"salt", TRY(c.ints(last))});
  } else {
    const Tensor* separator = c.inputs.back()->constant();
    if (separator == nullptr || separator->dtype() != DType::string || separator->elements() != 1)
      return unsupported("the separator must be known when the model is compiled");
    attrs.push_back({"hashed", false});
    attrs.push_back({"separator", separator->data<std::string>()[0]});
  }
  Node* node = TRY(c.builder.node("sparse_cross", in, std::move(attrs)));
  return std::vector<Value*>{node->output(0), node->output(1), node->output(2)};
}

constexpr RuleEntry kRules[] = {
    {"SparseCross", sparse_cross},
    {"SparseCrossHashed", sparse_cross},
    {"SparseCrossV2", sparse_cross},
    {"SparseFillEmptyRows", sparse_fill_empty_rows, 4},
    {"SparseReduceSum", sparse_reduce_sum, 4},
    {"SparseReorder", sparse_reorder, 3},
    {"SparseReshape", sparse_reshape, 3},
    {"SparseTensorDenseMatMul", sparse_matmul, 4},
    {"SparseToDense", sparse_to_dense, 4},
};

}  // namespace

std::span<const RuleEntry> sparse_rules() {
  return kRules;
}

}  // namespace tenon::tf
