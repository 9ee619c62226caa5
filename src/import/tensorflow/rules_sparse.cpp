// Rules of sparse tensors, which are three tensors: places [n, rank], values [n], size [rank].
#include <limits>

#include "import/tensorflow/sparse.h"

namespace tenon::tf {
namespace {

using Axes = std::vector<int64_t>;

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

// (places, values, size, b)
Values sparse_matmul(RuleContext& c) {
  Value* zero = TRY(number(c, 0, c.inputs[1]->dtype()));
  Value* dense = TRY(as_dense(c, c.inputs[0], c.inputs[2], c.inputs[1], zero));
  const bool a = TRY(c.node.attrs.get_bool("adjoint_a", false));
  const bool b = TRY(c.node.attrs.get_bool("adjoint_b", false));
  Value* other = c.inputs[3];
  if (is_complex(dense->dtype())) {
    if (a) dense = TRY(c.builder.op("conj", {dense}));
    if (b) other = TRY(c.builder.op("conj", {other}));
  }
  return one(c.builder.op("matmul", {dense, other}, {{"transpose_a", a}, {"transpose_b", b}}));
}

// (places, values, size, axes)
Values sparse_reduce_sum(RuleContext& c) {
  Value* zero = TRY(number(c, 0, c.inputs[1]->dtype()));
  Value* dense = TRY(as_dense(c, c.inputs[0], c.inputs[2], c.inputs[1], zero));
  const bool keep = TRY(c.node.attrs.get_bool("keep_dims", false));
  const auto count = c.inputs[3]->shape().elements();
  if (!count) return unsupported("whether there are axes must be known when the model is compiled");
  if (*count == 0) return std::vector<Value*>{dense};
  return one(add_with_attr(c.builder, "sum", {dense}, "axes", c.inputs[3], {{"keep_dims", keep}},
                           keep ? "rank" : "none"));
}

// v ^ (v >> 47)
Result<Value*> shift_mix(RuleContext& c, Value* v) {
  Value* shifted =
      TRY(c.builder.op("shift_right", {v, c.builder.constant(Tensor::scalar(uint64_t{47}))}));
  return c.builder.op("bitwise_xor", {v, shifted});
}

// Two fingerprints of 64 bits made one, as FarmHash does.
Result<Value*> join_fingerprints(RuleContext& c, Value* a, Value* h) {
  Builder& b = c.builder;
  Value* k = b.constant(Tensor::scalar(uint64_t{0xc6a4a7935bd1e995}));
  const auto times_k = [&](Value* v) { return b.op("mul", {v, k}); };
  Value* mixed = TRY(times_k(TRY(shift_mix(c, TRY(times_k(h))))));
  Value* y = TRY(b.op("bitwise_xor", {TRY(b.op("bitwise_xor", {a, k})), mixed}));
  y = TRY(shift_mix(c, TRY(times_k(y))));
  return shift_mix(c, TRY(times_k(y)));
}

// The crosses of every row of dense features: all ways to take one of each, hashed.
Values sparse_cross(RuleContext& c) {
  Builder& b = c.builder;
  if (TRY(c.node.attrs.get_int("N", 0)) != 0)
    return unsupported("only crosses of dense features; make the sparse ones dense before");
  if (!TRY(c.node.attrs.get_bool("hashed_output", false)))
    return unsupported("only hashed crosses");
  const int64_t buckets = TRY(c.node.attrs.get_int("num_buckets", 0));
  const int64_t key = TRY(c.node.attrs.get_int("hash_key", 0));
  if (buckets < 0) return invalid_model("num_buckets is negative");
  Value* hash = b.constant(Tensor::scalar(static_cast<uint64_t>(key)).reshaped({1, 1}));
  Value* rows = TRY(shape_of(c, c.inputs[0], 0, 1));
  Value* columns = b.ints({1});
  for (Value* x : c.inputs) {
    if (TRY(rank_of(x)) != 2) return invalid_model("a dense feature must have two dimensions");
    x = x->dtype() == DType::string ? TRY(b.op("hash_bucket", {x}, {{"buckets", int64_t{0}}}))
                                    : TRY(cast_to(c, x, DType::i64));
    x = TRY(b.op("expand_dims", {TRY(cast_to(c, x, DType::u64))}, {{"axes", Axes{1}}}));
    hash = TRY(b.op("expand_dims", {hash}, {{"axes", Axes{2}}}));
    columns = TRY(b.op("mul", {columns, TRY(shape_of(c, x, 2, 3))}));
    hash = TRY(join_fingerprints(c, hash, x));
    hash = TRY(b.op("reshape", {hash, TRY(join(c, {rows, columns}))}));
  }
  const auto most =
      static_cast<uint64_t>(buckets > 0 ? buckets : std::numeric_limits<int64_t>::max());
  hash = TRY(b.op("trunc_mod", {hash, b.constant(Tensor::scalar(most))}));
  Value* values = TRY(flatten(c, TRY(cast_to(c, hash, DType::i64))));
  Value* size = TRY(join(c, {rows, columns}));
  Value* zero = TRY(number(c, 0, DType::i64));
  Value* count = TRY(b.op("size", {values}, {{"dtype", DType::i64}}));
  Value* place = TRY(b.op("range", {zero, count, TRY(number(c, 1, DType::i64))}));
  Value* parts[2];
  for (const bool row : {true, false}) {
    Value* part = TRY(b.op(row ? "floor_div" : "floor_mod", {place, columns}));
    parts[row ? 0 : 1] = TRY(b.op("expand_dims", {part}, {{"axes", Axes{1}}}));
  }
  return std::vector<Value*>{TRY(join(c, {parts[0], parts[1]}, 1)), values, size};
}

constexpr RuleEntry kRules[] = {
    {"SparseCross", sparse_cross},
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
