// Rules of parts and combinations of sparse tensors.
#include <algorithm>
#include <cmath>
#include <limits>

#include "import/tensorflow/sparse.h"

namespace tenon::tf {
namespace {

using Axes = std::vector<int64_t>;

struct Sparse {
  Value *places = nullptr, *values = nullptr, *size = nullptr;
};

std::vector<Value*> outputs(const Sparse& s) {
  return {s.places, s.values, s.size};
}

// Rows of the places (and their values) for which `wanted` [n] holds.
Result<Sparse> filtered(RuleContext& c, const Sparse& s, Value* wanted) {
  Builder& b = c.builder;
  Value* rows = TRY(flatten(c, TRY(b.op("non_zero", {wanted}))));
  return Sparse{TRY(b.op("gather", {s.places, rows})), TRY(b.op("gather", {s.values, rows})),
                s.size};
}

// The part from `start`, `size` elements of each dimension.
Result<Sparse> part(RuleContext& c, const Sparse& s, Value* start, Value* size) {
  Builder& b = c.builder;
  Value* end = TRY(b.op("add", {start, size}));
  Value* inside = TRY(b.op("logical_and", {TRY(b.op("greater_equal", {s.places, start})),
                                           TRY(b.op("less", {s.places, end}))}));
  Sparse y = TRY(filtered(c, s, TRY(b.op("all", {inside}, {{"axes", Axes{1}}}))));
  y.places = TRY(b.op("sub", {y.places, start}));
  Value* rest = TRY(b.op("max", {TRY(b.op("sub", {s.size, start})), b.ints({0})}));
  y.size = TRY(b.op("min", {size, rest}));
  return y;
}

Values sparse_slice(RuleContext& c) {
  const Sparse s{c.inputs[0], c.inputs[1], c.inputs[2]};
  return outputs(TRY(part(c, s, c.inputs[3], c.inputs[4])));
}

Result<int64_t> size_of_rank(const Value* size) {
  const auto rank = size->shape().elements();
  if (!size->shape().ranked() || !rank || *rank > 64)
    return unsupported("the rank of the sparse tensor must be known");
  return *rank;
}

// (dimension, places, values, size): the first parts take what does not divide evenly.
Values sparse_split(RuleContext& c) {
  Builder& b = c.builder;
  const Sparse s{c.inputs[1], c.inputs[2], c.inputs[3]};
  const int64_t rank = TRY(size_of_rank(s.size)), num = TRY(c.node.attrs.get_int("num_split"));
  const int axis = TRY(normalize_axis(TRY(c.int_scalar(0)), static_cast<int>(rank)));
  if (num < 1 || num > 1 << 12) return invalid_model("num_split is out of range");
  Axes mask(static_cast<size_t>(rank), 0);
  mask[static_cast<size_t>(axis)] = 1;
  Value* along = b.ints(mask);
  Value* length = TRY(element(c, s.size, axis));
  Value* each = TRY(b.op("floor_div", {length, b.ints({num})}));
  Value* more = TRY(b.op("floor_mod", {length, b.ints({num})}));
  Value* others = TRY(b.op("mul", {s.size, TRY(b.op("sub", {b.ints({1}), along}))}));
  std::vector<Value*> parts[3];
  for (int64_t i = 0; i < num; ++i) {
    const auto before = [&](int64_t k) -> Result<Value*> {
      Value* extra = TRY(b.op("min", {more, b.ints({k})}));
      return b.op("add", {TRY(b.op("mul", {each, b.ints({k})})), extra});
    };
    Value *from = TRY(before(i)), *to = TRY(before(i + 1));
    Value* size = TRY(b.op("mul", {TRY(b.op("sub", {to, from})), along}));
    const Sparse y =
        TRY(part(c, s, TRY(b.op("mul", {from, along})), TRY(b.op("add", {others, size}))));
    const auto all = outputs(y);
    for (size_t k = 0; k < 3; ++k) parts[k].push_back(all[k]);
  }
  std::vector<Value*> out;
  for (const auto& list : parts) out.insert(out.end(), list.begin(), list.end());
  return out;
}

Result<Sparse> sorted(RuleContext& c, const Sparse& s) {
  Value* order = TRY(order_of(c, TRY(flat_places(c, s.places, s.size))));
  return Sparse{TRY(c.builder.op("gather", {s.places, order})),
                TRY(c.builder.op("gather", {s.values, order})), s.size};
}

// All places, all values, all sizes.
Values sparse_concat(RuleContext& c) {
  Builder& b = c.builder;
  const size_t n = c.inputs.size() / 3;
  if (n == 0 || c.inputs.size() % 3 != 0) return invalid_model("three tensors for each part");
  const int64_t rank = TRY(size_of_rank(c.inputs[2 * n]));
  const int64_t dimension = TRY(c.node.attrs.get_int("concat_dim"));
  const int axis = TRY(normalize_axis(dimension, static_cast<int>(rank)));
  Axes mask(static_cast<size_t>(rank), 0);
  mask[static_cast<size_t>(axis)] = 1;
  Value* along = b.ints(mask);
  Value* offset = b.ints(Axes(static_cast<size_t>(rank), 0));
  std::vector<Value*> places, values;
  for (size_t i = 0; i < n; ++i) {
    places.push_back(TRY(b.op("add", {c.inputs[i], offset})));
    values.push_back(c.inputs[n + i]);
    offset = TRY(b.op("add", {offset, TRY(b.op("mul", {c.inputs[2 * n + i], along}))}));
  }
  Value* others = TRY(b.op("mul", {c.inputs[2 * n], TRY(b.op("sub", {b.ints({1}), along}))}));
  const Sparse all{TRY(join(c, places)), TRY(join(c, values)), TRY(b.op("add", {others, offset}))};
  return outputs(TRY(sorted(c, all)));
}

// Two sparse tensors on the places that either has, 0 where one has nothing.
struct Union {
  Value *places = nullptr, *first = nullptr, *second = nullptr;
  Value* count = nullptr;  // how many of the two have something there, i64
};
Result<Union> united(RuleContext& c, const Sparse& x, const Sparse& y) {
  Builder& b = c.builder;
  Value* places = TRY(join(c, {x.places, y.places}));
  // The distinct ones in ascending order, and which of them each place is.
  Node* unique = TRY(b.node("unique", {TRY(flat_places(c, places, x.size))}));
  Value* which = unique->output(2);
  const auto padded = [&](const Sparse& own, const Sparse& other, bool first) -> Result<Value*> {
    Value* zeros = TRY(filled(c, 0, own.values->dtype(), TRY(shape_of(c, other.values))));
    Value* all = TRY(join(c, first ? std::vector<Value*>{own.values, zeros}
                                   : std::vector<Value*>{zeros, own.values}));
    return b.op("segment_reduce", {all, which});
  };
  return Union{TRY(places_of(c, unique->output(0), x.size)), TRY(padded(x, y, true)),
               TRY(padded(y, x, false)), unique->output(3)};
}

// (places, values, size) twice, and the least magnitude that a sum of two is kept with.
Values sparse_add(RuleContext& c) {
  Builder& b = c.builder;
  const Sparse x{c.inputs[0], c.inputs[1], c.inputs[2]}, y{c.inputs[3], c.inputs[4], c.inputs[5]};
  const Union u = TRY(united(c, x, y));
  const Sparse sum{u.places, TRY(b.op("add", {u.first, u.second})), x.size};
  const bool complex = is_complex(sum.values->dtype());
  Value* size = TRY(b.op(complex ? "complex_abs" : "abs", {sum.values}));
  Value* least = TRY(cast_to(c, c.inputs[6], size->dtype()));
  Value* kept = TRY(b.op("logical_or", {TRY(b.op("greater_equal", {size, least})),
                                        TRY(b.op("equal", {u.count, b.ints({1})}))}));
  return outputs(TRY(filtered(c, sum, kept)));
}

// SparseSparseMaximum and -Minimum.
Values sparse_extreme(RuleContext& c) {
  const Sparse x{c.inputs[0], c.inputs[1], c.inputs[2]}, y{c.inputs[3], c.inputs[4], c.inputs[5]};
  const Union u = TRY(united(c, x, y));
  Value* values =
      TRY(c.builder.op(c.node.op.ends_with("Maximum") ? "max" : "min", {u.first, u.second}));
  return std::vector<Value*>{u.places, values};
}

// (places, values, size, axes): 0 where there is nothing.
Values sparse_reduce_max(RuleContext& c) {
  Builder& b = c.builder;
  const DType t = c.inputs[1]->dtype();
  double lowest = -std::numeric_limits<double>::infinity();
  if (is_int(t)) lowest = is_unsigned_int(t) ? 0 : -std::exp2(8.0 * dtype_size(t) - 1);
  Value* least = TRY(number(c, lowest, t));
  Value* dense = TRY(as_dense(c, c.inputs[0], c.inputs[2], c.inputs[1], least));
  Value* y = TRY(reduced(c, "reduce_max", dense, c.inputs[3]));
  Value* nothing = TRY(b.op("equal", {y, least}));
  return one(b.op("select", {nothing, TRY(number(c, 0, t)), y}));
}

// SparseReduceSumSparse and -MaxSparse of (places, values, size, axes): what stands at places that
// only the axes tell apart becomes one value.
Values sparse_reduce_sparse(RuleContext& c) {
  Builder& b = c.builder;
  const auto rank = static_cast<int>(TRY(size_of_rank(c.inputs[2])));
  const bool keep = TRY(c.node.attrs.get_bool("keep_dims", false));
  std::vector<bool> reduced(static_cast<size_t>(rank));
  for (const int64_t axis : TRY(c.ints(3)))
    reduced[static_cast<size_t>(TRY(normalize_axis(axis, rank)))] = true;
  Axes kept, factors;  // columns, and 0 for those that are reduced
  for (int i = 0; i < rank; ++i) {
    factors.push_back(reduced[static_cast<size_t>(i)] ? 0 : 1);
    if (factors.back() == 1) kept.push_back(i);
  }
  Value *places = c.inputs[0], *size = c.inputs[2];
  if (keep) {
    places = TRY(b.op("mul", {places, b.ints(factors)}));
    Value* is_reduced = TRY(b.op("equal", {b.ints(factors), b.ints({0})}));
    size = TRY(b.op("select", {is_reduced, b.ints({1}), size}));
  } else {
    places = TRY(b.op("gather", {places, b.ints(kept)}, {{"axis", int64_t{1}}}));
    size = TRY(b.op("gather", {size, b.ints(kept)}));
  }
  Node* distinct = TRY(b.node("unique", {TRY(flat_places(c, places, size))}));
  const bool sums = c.node.op == "SparseReduceSumSparse";
  Value* values = TRY(b.op("segment_reduce", {c.inputs[1], distinct->output(2)},
                           {{"reduction", std::string(sums ? "sum" : "max")}}));
  return std::vector<Value*>{TRY(places_of(c, distinct->output(0), size)), values, size};
}

// Over the last dimension, of the values there are.
Values sparse_softmax(RuleContext& c) {
  Builder& b = c.builder;
  Value* least = TRY(number(c, -std::numeric_limits<double>::infinity(), c.inputs[1]->dtype()));
  Value* dense = TRY(as_dense(c, c.inputs[0], c.inputs[2], c.inputs[1], least));
  Value* y = TRY(b.op("softmax", {dense}, {{"axis", int64_t{-1}}}));
  return one(b.op("gather_nd", {y, c.inputs[0]}));
}

// (places, values, size, dense)
Values sparse_plus_dense(RuleContext& c) {
  return one(c.builder.op("scatter_nd", {c.inputs[3], c.inputs[0], c.inputs[1]},
                          {{"reduction", std::string("add")}}));
}

// The values with those of a dense tensor, broadcast, at their places.
template <OpName kOp>
Values with_dense(RuleContext& c) {
  Builder& b = c.builder;
  Value* dense = TRY(b.op("expand", {c.inputs[3], c.inputs[2]}));
  Value* others = TRY(b.op("gather_nd", {dense, c.inputs[0]}));
  return one(b.op(kOp.text, {c.inputs[1], others}));
}

// A product of dense matrices of which one is full of zeros.
Values matmul(RuleContext& c) {
  return one(c.builder.op(
      "matmul",
      {TRY(cast_to(c, c.inputs[0], DType::f32)), TRY(cast_to(c, c.inputs[1], DType::f32))},
      {{"transpose_a", TRY(c.node.attrs.get_bool("transpose_a", false))},
       {"transpose_b", TRY(c.node.attrs.get_bool("transpose_b", false))}}));
}

// (places, values, size, number of bins, weights): how often each value occurs, in every row.
Values sparse_bincount(RuleContext& c) {
  Builder& b = c.builder;
  Value *size = TRY(cast_to(c, c.inputs[2], DType::i64)), *weights = c.inputs[4];
  const int64_t rank = TRY(size_of_rank(size));
  if (rank != 1 && rank != 2) return invalid_model("the sparse tensor must have rank 1 or 2");
  const DType t = weights->dtype();
  Value* bins = TRY(flatten(c, TRY(cast_to(c, c.inputs[3], DType::i64))));
  Value* bin = TRY(cast_to(c, c.inputs[1], DType::i64));
  const bool weighted = !weights->shape().elements() || *weights->shape().elements() > 0;
  Value* counts = weighted ? weights : TRY(filled(c, 1, t, TRY(shape_of(c, bin))));
  Value* column = TRY(b.op("expand_dims", {bin}, {{"axes", Axes{1}}}));
  Value* shape = bins;
  if (rank == 2) {
    Value* row = TRY(b.op("slice", {c.inputs[0], b.ints({0}), b.ints({1})}, {{"axes", Axes{1}}}));
    column = TRY(join(c, {row, column}, 1));
    shape = TRY(join(c, {TRY(element(c, size, 0)), bins}));
  }
  const Sparse fits = TRY(filtered(c, {column, counts, size}, TRY(b.op("less", {bin, bins}))));
  Value* zeros = TRY(filled(c, 0, t, shape));
  const bool binary = TRY(c.node.attrs.get_bool("binary_output", false));
  Value* added = binary ? TRY(filled(c, 1, t, TRY(shape_of(c, fits.values)))) : fits.values;
  return one(b.op("scatter_nd", {zeros, fits.places, added},
                  {{"reduction", std::string(binary ? "max" : "add")}}));
}

// How often each of `bins` occurs in each of `rows` (null: there are none), as a sparse tensor.
Values sparse_counts(RuleContext& c, Value* bins, Value* rows, Value* row_count, Value* weights) {
  Builder& b = c.builder;
  const int64_t least = TRY(c.node.attrs.get_int("minlength", -1));
  const int64_t most = TRY(c.node.attrs.get_int("maxlength", -1));
  const DType t = TRY(dtype_attr(c, "output_type", DataType::f32));
  const auto weight_count = weights->shape().elements();
  const bool weighted = !weight_count || *weight_count > 0;
  bins = TRY(cast_to(c, bins, DType::i64));
  if (!weight_count) {  // there may be none: then all are 1
    Value* missing = TRY(b.op("sub", {TRY(shape_of(c, bins)), TRY(shape_of(c, weights))}));
    missing = TRY(b.op("max", {missing, b.ints({0})}));
    weights = TRY(join(c, {weights, TRY(filled(c, 1, weights->dtype(), missing))}));
  }
  if (most >= 0) {
    Value* fits =
        TRY(flatten(c, TRY(b.op("non_zero", {TRY(b.op("less", {bins, b.ints({most})}))}))));
    bins = TRY(b.op("gather", {bins, fits}));
    if (rows != nullptr) rows = TRY(b.op("gather", {rows, fits}));
    if (weighted) weights = TRY(b.op("gather", {weights, fits}));
  }
  Value* width = b.ints({std::max<int64_t>(most, 0)});
  if (most <= 0) {
    Value* all = TRY(join(c, {bins, b.ints({std::max<int64_t>(least, 0) - 1})}));
    width =
        TRY(b.op("add", {TRY(b.op("reduce_max", {all}, {{"axes", Axes{0}}, {"keep_dims", true}})),
                         b.ints({1})}));
  }
  Value* size = row_count == nullptr ? width : TRY(join(c, {row_count, width}));
  Value* places = bins;
  if (rows != nullptr) places = TRY(b.op("add", {TRY(b.op("mul", {rows, width})), bins}));
  Node* distinct = TRY(b.node("unique", {places}));
  Value* counts = distinct->output(3);
  if (TRY(c.node.attrs.get_bool("binary_output", false)))
    counts = TRY(filled(c, 1, t, TRY(shape_of(c, counts))));
  else if (weighted)
    counts = TRY(b.op("segment_reduce", {weights, distinct->output(2)}));
  return std::vector<Value*>{TRY(places_of(c, distinct->output(0), size)),
                             TRY(cast_to(c, counts, t)), size};
}

// (values, weights)
Values dense_count(RuleContext& c) {
  Builder& b = c.builder;
  Value* x = c.inputs[0];
  Value *rows = nullptr, *row_count = nullptr;
  if (TRY(rank_of(x)) == 2) {
    row_count = TRY(shape_of(c, x, 0, 1));
    Value* ramp =
        TRY(b.op("range", {TRY(number(c, 0, DType::i64)), TRY(b.op("squeeze", {row_count})),
                           TRY(number(c, 1, DType::i64))}));
    ramp = TRY(b.op("expand_dims", {ramp}, {{"axes", Axes{1}}}));
    rows = TRY(flatten(c, TRY(b.op("expand", {ramp, TRY(shape_of(c, x))}))));
  }
  return sparse_counts(c, TRY(flatten(c, x)), rows, row_count, TRY(flatten(c, c.inputs[1])));
}

// (places, values, size, weights)
Values sparse_count(RuleContext& c) {
  Builder& b = c.builder;
  const int64_t rank = TRY(size_of_rank(c.inputs[2]));
  if (rank != 1 && rank != 2) return invalid_model("the sparse tensor must have rank 1 or 2");
  Value *rows = nullptr, *row_count = nullptr;
  if (rank == 2) {
    rows = TRY(flatten(
        c, TRY(b.op("slice", {c.inputs[0], b.ints({0}), b.ints({1})}, {{"axes", Axes{1}}}))));
    row_count = TRY(element(c, c.inputs[2], 0));
  }
  return sparse_counts(c, c.inputs[1], rows, row_count, c.inputs[3]);
}

// (splits, values, weights)
Values ragged_count(RuleContext& c) {
  Builder& b = c.builder;
  Value* splits = TRY(cast_to(c, c.inputs[0], DType::i64));
  Value* ends = TRY(b.op("slice", {splits, b.ints({1}), b.ints({1 << 30})}));
  Value* places = TRY(b.op("range", {TRY(number(c, 0, DType::i64)),
                                     TRY(b.op("size", {c.inputs[1]}, {{"dtype", DType::i64}})),
                                     TRY(number(c, 1, DType::i64))}));
  // A value stands in the row after all that end at or before it.
  places = TRY(b.op("expand_dims", {places}, {{"axes", Axes{1}}}));
  Value* before = TRY(cast_to(c, TRY(b.op("less_equal", {ends, places})), DType::i64));
  Value* rows = TRY(b.op("sum", {before}, {{"axes", Axes{1}}}));
  return sparse_counts(c, c.inputs[1], rows, TRY(shape_of(c, ends)), c.inputs[2]);
}

// (splits of every ragged dimension from the outermost, values)
Values ragged_to_sparse(RuleContext& c) {
  Builder& b = c.builder;
  Value* values = c.inputs.back();
  if (TRY(rank_of(values)) != 1) return unsupported("only of ragged dimensions without inner ones");
  Value* one_i = TRY(number(c, 1, DType::i64));
  Value* zero = TRY(number(c, 0, DType::i64));
  // From the innermost dimension out: the column of every value, and the row of the next level that
  // each value belongs to.
  std::vector<Value*> columns, sizes;
  Value* row = nullptr;
  for (size_t level = c.inputs.size() - 1; level-- > 0;) {
    Value* splits = TRY(cast_to(c, c.inputs[level], DType::i64));
    Value* begins = TRY(b.op("slice", {splits, b.ints({0}), b.ints({-1})}));
    Value* ends = TRY(b.op("slice", {splits, b.ints({1}), b.ints({1 << 30})}));
    Value* count = TRY(b.op("slice", {splits, b.ints({-1}), b.ints({1 << 30})}));
    count =
        TRY(b.op("reshape", {count, b.ints({1})}));  // so that what it is the shape of has a rank
    Value* range = TRY(b.op("range", {zero, TRY(b.op("squeeze", {count})), one_i}));
    // A position belongs to the row after all rows that end at or before it.
    Value* marks = TRY(filled(c, 0, DType::i64, TRY(b.op("add", {count, b.ints({1})}))));
    Value* ones = TRY(filled(c, 1, DType::i64, TRY(shape_of(c, ends))));
    Value* at = TRY(b.op("expand_dims", {ends}, {{"axes", Axes{1}}}));
    marks = TRY(b.op("scatter_nd", {marks, at, ones}, {{"reduction", std::string("add")}}));
    Value* rows = TRY(
        b.op("slice", {TRY(b.op("cumsum", {marks}, {{"axis", int64_t{0}}})), b.ints({0}), count}));
    Value* column = TRY(b.op("sub", {range, TRY(b.op("gather", {begins, rows}))}));
    Value* lengths = TRY(join(c, {b.ints({0}), TRY(b.op("sub", {ends, begins}))}));
    sizes.insert(sizes.begin(),
                 TRY(b.op("reduce_max", {lengths}, {{"axes", Axes{0}}, {"keep_dims", true}})));
    columns.insert(columns.begin(), row == nullptr ? column : TRY(b.op("gather", {column, row})));
    row = row == nullptr ? rows : TRY(b.op("gather", {rows, row}));
    if (level == 0) sizes.insert(sizes.begin(), TRY(shape_of(c, begins)));
  }
  columns.insert(columns.begin(), row);
  for (Value*& column : columns) column = TRY(b.op("expand_dims", {column}, {{"axes", Axes{1}}}));
  return std::vector<Value*>{TRY(join(c, columns, 1)), values, TRY(join(c, sizes))};
}

constexpr RuleEntry kRules[] = {
    {"DenseCountSparseOutput", dense_count, 2},
    {"RaggedCountSparseOutput", ragged_count, 3},
    {"SparseCountSparseOutput", sparse_count, 4},
    {"RaggedTensorToSparse", ragged_to_sparse, 2},
    {"SparseAdd", sparse_add, 7},
    {"SparseBincount", sparse_bincount, 5},
    {"SparseConcat", sparse_concat, 3},
    {"SparseDenseCwiseAdd", with_dense<"add">, 4},
    {"SparseDenseCwiseDiv", with_dense<"div">, 4},
    {"SparseDenseCwiseMul", with_dense<"mul">, 4},
    {"SparseMatMul", matmul, 2},
    {"SparseReduceMax", sparse_reduce_max, 4},
    {"SparseReduceMaxSparse", sparse_reduce_sparse, 4},
    {"SparseReduceSumSparse", sparse_reduce_sparse, 4},
    {"SparseSlice", sparse_slice, 5},
    {"SparseSoftmax", sparse_softmax, 3},
    {"SparseSparseMaximum", sparse_extreme, 6},
    {"SparseSparseMinimum", sparse_extreme, 6},
    {"SparseSplit", sparse_split, 4},
    {"SparseTensorDenseAdd", sparse_plus_dense, 4},
};

}  // namespace

std::span<const RuleEntry> sparse_parts_rules() {
  return kRules;
}

}  // namespace tenon::tf
