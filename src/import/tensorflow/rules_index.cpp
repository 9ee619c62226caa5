// Rules of ops that pick, write, search, count and group by index.
#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

Values gather_nd(RuleContext& c) {
  return one(c.builder.op("gather_nd", {c.inputs[0], TRY(indices(c, c.inputs[1]))},
                          {{"batch_dims", TRY(c.node.attrs.get_int("batch_dims", 0))}}));
}

// Sums of what lies at one place; strings cannot be added, of truth values it is "or".
Values scatter_add(RuleContext& c, Value* x, Value* at, Value* updates) {
  Builder& b = c.builder;
  at = TRY(indices(c, at));
  const DType t = x->dtype();
  if (t != DType::boolean)
    return one(b.op("scatter_nd", {x, at, updates},
                    {{"reduction", std::string(t == DType::string ? "none" : "add")}}));
  Value* y = TRY(b.op("scatter_nd",
                      {TRY(cast_to(c, x, DType::u8)), at, TRY(cast_to(c, updates, DType::u8))},
                      {{"reduction", std::string("max")}}));
  return one(cast_to(c, y, t));
}

Values scatter_nd(RuleContext& c) {
  Value* zeros = TRY(filled(c, 0, c.inputs[1]->dtype(), c.inputs[2]));
  return scatter_add(c, zeros, c.inputs[0], c.inputs[1]);
}

// tensor_scatter_nd_*: the op's name ends with what is done.
Values tensor_scatter(RuleContext& c) {
  const std::string_view op = c.node.op;
  Value* updates = c.inputs[2];
  if (op.ends_with("Sub")) updates = TRY(c.builder.op("neg", {updates}));
  const char* reduction = op.ends_with("Update") ? "none"
                          : op.ends_with("Min")  ? "min"
                          : op.ends_with("Max")  ? "max"
                                                 : "add";
  if (op.ends_with("Add")) return scatter_add(c, c.inputs[0], c.inputs[1], updates);
  return one(c.builder.op("scatter_nd", {c.inputs[0], TRY(indices(c, c.inputs[1])), updates},
                          {{"reduction", std::string(reduction)}}));
}

Values arg_extreme(RuleContext& c) {
  return one(add_with_attr(c.builder, c.node.op == "ArgMax" ? "arg_max" : "arg_min", {c.inputs[0]},
                           "axis", c.inputs[1],
                           {{"dtype", TRY(dtype_attr(c, "output_type", DataType::i64))}}, "none"));
}

Values top_k(RuleContext& c) {
  Value* k = c.inputs.size() > 1
                 ? c.inputs[1]
                 : c.builder.constant(Tensor::scalar(TRY(c.node.attrs.get_int("k"))));
  Node* node =
      TRY(c.builder.node("top_k", {c.inputs[0], k},
                         {{"index_dtype", TRY(dtype_attr(c, "index_type", DataType::i32))}}));
  return std::vector<Value*>{node->output(0), node->output(1)};
}

// The n-th smallest (or largest) along the last axis.
Values nth_element(RuleContext& c) {
  Builder& b = c.builder;
  const bool largest = TRY(c.node.attrs.get_bool("reverse", false));
  Value* k = TRY(b.op("add", {c.inputs[1], TRY(number(c, 1, c.inputs[1]->dtype()))}));
  Value* sorted = TRY(b.op("top_k", {c.inputs[0], k}, {{"largest", largest}}));
  return one(b.op("gather", {sorted, c.inputs[1]}, {{"axis", int64_t{-1}}}));
}

// Whether each target is among the k best predictions.
// The exact ones: what TensorFlow's kernel for the CPU gives.
Values approx_top_k(RuleContext& c) {
  const int64_t axis = TRY(c.node.attrs.get_int("reduction_dimension", -1));
  Value* k = TRY(number(c, static_cast<double>(TRY(c.node.attrs.get_int("k"))), DType::i64));
  Node* node = TRY(
      c.builder.node("top_k", {c.inputs[0], k},
                     {{"axis", axis}, {"largest", TRY(c.node.attrs.get_bool("is_max_k", true))}}));
  return std::vector<Value*>{node->output(0), node->output(1)};
}

Values in_top_k(RuleContext& c) {
  Builder& b = c.builder;
  Value *predictions = c.inputs[0], *targets = c.inputs[1];
  Value* k = c.inputs.size() > 2 ? TRY(cast_to(c, c.inputs[2], DType::i64))
                                 : b.constant(Tensor::scalar(TRY(c.node.attrs.get_int("k"))));
  const std::vector<int64_t> last{-1};
  Value* column = TRY(b.op("expand_dims", {targets}, {{"axes", last}}));
  Value* classes = TRY(cast_to(c, TRY(shape_of(c, predictions, 1, 2)), targets->dtype()));
  Value* inside = TRY(b.op(
      "logical_and", {TRY(b.op("greater_equal", {targets, TRY(number(c, 0, targets->dtype()))})),
                      TRY(b.op("less", {targets, classes}))}));
  Value* safe = TRY(b.op("select", {TRY(b.op("expand_dims", {inside}, {{"axes", last}})), column,
                                    TRY(number(c, 0, targets->dtype()))}));
  Value* own =
      TRY(b.op("gather", {predictions, safe}, {{"axis", int64_t{1}}, {"batch_dims", int64_t{1}}}));
  Value* better =
      TRY(b.op("cast", {TRY(b.op("greater", {predictions, own}))}, {{"to", DType::i64}}));
  Value* rank = TRY(b.op("sum", {better}, {{"axes", std::vector<int64_t>{1}}}));
  Value* finite = TRY(
      b.op("all", {TRY(b.op("is_finite", {predictions}))}, {{"axes", std::vector<int64_t>{1}}}));
  Value* valid = TRY(b.op("logical_and", {inside, finite}));
  return one(b.op("logical_and", {valid, TRY(b.op("less", {rank, k}))}));
}

// The positions that are not 0, one row each.
Result<Value*> positions(RuleContext& c, Value* x) {
  Value* columns = TRY(c.builder.op("non_zero", {x}));
  return c.builder.op("transpose", {columns}, {{"perm", std::vector<int64_t>{1, 0}}});
}

Values where(RuleContext& c) {
  return one(positions(c, c.inputs[0]));
}

// Unique, UniqueV2 and their WithCounts forms.
Values unique(RuleContext& c) {
  std::vector<int64_t> axis;
  if (c.inputs.size() > 1) axis = TRY(c.ints(1));
  if (axis.size() == 1 && TRY(rank_of(c.inputs[0])) == 1) axis.clear();
  Node* node = TRY(c.builder.node("unique", {c.inputs[0]}, {{"axis", axis}, {"sorted", false}}));
  const DType index = TRY(dtype_attr(c, "out_idx", DataType::i32));
  std::vector<Value*> out{node->output(0), TRY(cast_to(c, node->output(2), index))};
  if (c.node.op.starts_with("UniqueWithCounts"))
    out.push_back(TRY(cast_to(c, node->output(3), index)));
  return out;
}

// What of x is not in y, and where.
Values list_diff(RuleContext& c) {
  Builder& b = c.builder;
  Value* x = TRY(b.op("expand_dims", {c.inputs[0]}, {{"axes", std::vector<int64_t>{1}}}));
  Value* found =
      TRY(b.op("any", {TRY(b.op("equal", {x, c.inputs[1]}))}, {{"axes", std::vector<int64_t>{1}}}));
  Value* at = TRY(flatten(c, TRY(positions(c, TRY(b.op("logical_not", {found}))))));
  return std::vector<Value*>{TRY(b.op("gather", {c.inputs[0], at})),
                             TRY(cast_to(c, at, TRY(dtype_attr(c, "out_idx", DataType::i32))))};
}

// x with its first `count` dimensions made one.
Result<Value*> merge_leading(RuleContext& c, Value* x, int count) {
  if (count == 1) return x;
  Value* shape = TRY(join(c, {c.builder.ints({-1}), TRY(shape_of(c, x, count))}));
  return c.builder.op("reshape", {x, shape}, {{"allow_zero", true}});
}

Values dynamic_partition(RuleContext& c) {
  Builder& b = c.builder;
  const int64_t num = TRY(c.node.attrs.get_int("num_partitions"));
  if (num < 1 || num > 1 << 16) return invalid_model("num_partitions is out of range");
  Value* data = TRY(merge_leading(c, c.inputs[0], TRY(rank_of(c.inputs[1]))));
  Value* ids = TRY(flatten(c, c.inputs[1]));
  std::vector<Value*> parts;
  for (int64_t i = 0; i < num; ++i) {
    Value* mine = TRY(b.op("equal", {ids, TRY(number(c, static_cast<double>(i), ids->dtype()))}));
    parts.push_back(TRY(b.op("gather", {data, TRY(flatten(c, TRY(positions(c, mine))))})));
  }
  return parts;
}

Values dynamic_stitch(RuleContext& c) {
  Builder& b = c.builder;
  const size_t n = c.inputs.size() / 2;
  std::vector<Value*> ids, rows;
  Value* inner = nullptr;
  for (size_t i = 0; i < n; ++i) {
    const int rank = TRY(rank_of(c.inputs[i]));
    Value* row = c.inputs[n + i];
    if (inner == nullptr) inner = TRY(shape_of(c, row, rank));
    ids.push_back(TRY(flatten(c, TRY(cast_to(c, c.inputs[i], DType::i64)))));
    rows.push_back(rank == 0 ? TRY(b.op("expand_dims", {row}, {{"axes", std::vector<int64_t>{0}}}))
                             : TRY(merge_leading(c, row, rank)));
  }
  Value* at = TRY(join(c, ids));
  Value* last = TRY(b.op("reduce_max", {TRY(join(c, {at, b.ints({-1})}))}, {{"keep_dims", true}}));
  Value* shape = TRY(join(c, {TRY(b.op("add", {last, b.ints({1})})), inner}));
  Value* zeros = TRY(filled(c, 0, rows[0]->dtype(), shape));
  Value* column = TRY(b.op("expand_dims", {at}, {{"axes", std::vector<int64_t>{1}}}));
  return one(b.op("scatter_nd", {zeros, column, TRY(join(c, rows))}));
}

struct Segments {
  std::string_view op;
  const char* reduction;
};
constexpr Segments kSegments[] = {
    {"Sum", "sum"}, {"Mean", "mean"}, {"Max", "max"}, {"Min", "min"}, {"Prod", "prod"}};

// SegmentSum … and UnsortedSegmentSum …, which is told the number of segments.
Values segment(RuleContext& c) {
  for (size_t i = 1; i < c.inputs.size(); ++i) c.inputs[i] = TRY(indices(c, c.inputs[i]));
  std::string_view op = c.node.op;
  if (op.ends_with("V2")) op.remove_suffix(2);
  for (const Segments& row : kSegments)
    if (op.ends_with(row.op))
      return one(
          c.builder.op("segment_reduce", c.inputs, {{"reduction", std::string(row.reduction)}}));
  return internal_error("no such reduction");
}

// SparseSegmentSum, -Mean and -SqrtN over rows picked by index, with or without a number of
// segments.
Values sparse_segment(RuleContext& c) {
  Builder& b = c.builder;
  std::vector<Value*> in{TRY(b.op("gather", {c.inputs[0], TRY(indices(c, c.inputs[1]))})),
                         TRY(indices(c, c.inputs[2]))};
  if (c.inputs.size() > 3) in.push_back(TRY(indices(c, c.inputs[3])));
  const bool mean = c.node.op.find("Mean") != std::string_view::npos;
  Value* y = TRY(b.op("segment_reduce", in, {{"reduction", std::string(mean ? "mean" : "sum")}}));
  if (c.node.op.find("SqrtN") == std::string_view::npos) return std::vector<Value*>{y};
  const DType t = y->dtype();
  in[0] = TRY(filled(c, 1, t, TRY(shape_of(c, c.inputs[2]))));
  Value* count = TRY(b.op("segment_reduce", in));
  Value* root = TRY(b.op("sqrt", {TRY(b.op("max", {count, TRY(number(c, 1, t))}))}));
  std::vector<int64_t> axes;
  for (int i = 1; i < TRY(rank_of(y)); ++i) axes.push_back(i);
  if (!axes.empty()) root = TRY(b.op("expand_dims", {root}, {{"axes", axes}}));
  return one(b.op("div", {y, root}));
}

// Counts of, or sums of weights by, the values 0 … size - 1; larger values do not count.
// Weights that may turn out to be absent, which is empty, when the model runs: then ones, one for
// each of the values.
Result<Value*> weights_or_ones(RuleContext& c, Value* weights, Value* values) {
  if (weights->shape().elements()) return weights;
  Builder& b = c.builder;
  Value* count = TRY(b.op("size", {values}, {{"dtype", DType::i64}}));
  count = TRY(b.op("reshape", {count, b.ints({1})}));
  Value* ones = TRY(filled(c, 1, weights->dtype(), count));
  Value* both = TRY(join(c, {TRY(flatten(c, weights)), ones}));
  return b.op("slice", {both, b.ints({0}), count});
}

// RaggedBincount(splits, values, size, weights) as DenseBincount takes them: rows filled up with
// ids that do not count.
Status fill_rows(RuleContext& c) {
  Builder& b = c.builder;
  Value* splits = TRY(cast_to(c, c.inputs[0], DType::i64));
  const auto rows = [&](Value* values, double fill) -> Result<Value*> {
    return b.op("ragged_to_dense",
                {b.ints({-1, -1}), values, TRY(number(c, fill, values->dtype())), splits},
                {{"partitions", std::vector<std::string>{"row_splits"}}});
  };
  Value* weights = TRY(weights_or_ones(c, c.inputs[3], c.inputs[1]));
  if (weights->shape().elements() != 0) weights = TRY(rows(weights, 0));
  c.inputs = {TRY(rows(c.inputs[1], -1)), c.inputs[2], weights};
  return {};
}

Values bincount(RuleContext& c) {
  Builder& b = c.builder;
  if (c.node.op == "RaggedBincount") TRY(fill_rows(c));
  Value* ids = TRY(cast_to(c, c.inputs[0], DType::i64));
  Value* size = TRY(cast_to(c, c.inputs[1], DType::i64));
  if (TRY(rank_of(size)) > 0) size = TRY(b.op("squeeze", {size}));
  Value* weights = TRY(weights_or_ones(c, c.inputs[2], c.inputs[0]));
  const DType t = weights->dtype();
  const bool dense = c.node.op != "Bincount", weighted = weights->shape().elements() != 0;
  const bool rows = dense && TRY(rank_of(ids)) == 2;
  Value* valid = TRY(b.op("logical_and", {TRY(b.op("less", {ids, size})),
                                          TRY(b.op("greater_equal", {ids, b.ints({0})}))}));
  Value* count = size;
  Value* batch = nullptr;
  if (rows) {
    batch = TRY(shape_of(c, ids, 0, 1));
    Value* range = TRY(b.op("range", {TRY(number(c, 0, DType::i64)), TRY(b.op("squeeze", {batch})),
                                      TRY(number(c, 1, DType::i64))}));
    Value* first = TRY(b.op(
        "mul", {TRY(b.op("expand_dims", {range}, {{"axes", std::vector<int64_t>{1}}})), size}));
    ids = TRY(b.op("add", {ids, first}));
    count = TRY(b.op("squeeze", {TRY(b.op("mul", {size, batch}))}));
  }
  ids = TRY(b.op("select", {valid, ids, TRY(number(c, -1, DType::i64))}));
  ids = TRY(flatten(c, ids));
  Value* values = weighted ? TRY(flatten(c, weights)) : TRY(filled(c, 1, t, TRY(shape_of(c, ids))));
  Value* y = TRY(b.op("segment_reduce", {values, ids, count}));
  if (dense && TRY(c.node.attrs.get_bool("binary_output", false)))
    y = TRY(b.op("min", {y, TRY(number(c, 1, t))}));
  if (rows) {
    Value* shape = TRY(join(c, {batch, TRY(b.op("reshape", {size, b.ints({1})}))}));
    y = TRY(b.op("reshape", {y, shape}, {{"allow_zero", true}}));
  }
  return std::vector<Value*>{y};
}

Values bucketize(RuleContext& c) {
  const AttrValue list = TRY(c.node.attrs.get("boundaries"));
  return one(
      c.builder.op("bucketize", {c.inputs[0]},
                   {{"boundaries", std::vector<double>(list.floats.begin(), list.floats.end())}}));
}

// The index along each dimension of numbered elements.
Values unravel_index(RuleContext& c) {
  Builder& b = c.builder;
  Value *at = c.inputs[0], *dims = c.inputs[1];
  Value* strides = TRY(b.op("cumprod", {dims}, {{"exclusive", true}, {"reverse", true}}));
  if (TRY(rank_of(at)) > 0) {
    const std::vector<int64_t> column{1};
    strides = TRY(b.op("expand_dims", {strides}, {{"axes", column}}));
    dims = TRY(b.op("expand_dims", {dims}, {{"axes", column}}));
  }
  return one(b.op("floor_mod", {TRY(b.op("floor_div", {at, strides})), dims}));
}

// How many values fall into each of `count` equal parts of a range.
Values histogram(RuleContext& c) {
  Builder& b = c.builder;
  constexpr DType wide = DType::f64;
  Value* low = TRY(b.op("gather", {c.inputs[1], TRY(number(c, 0, DType::i64))}));
  Value* high = TRY(b.op("gather", {c.inputs[1], TRY(number(c, 1, DType::i64))}));
  Value* count = TRY(cast_to(c, c.inputs[2], DType::i64));
  Value* range = TRY(cast_to(c, TRY(b.op("sub", {high, low})), wide));
  Value* step = TRY(b.op("div", {range, TRY(cast_to(c, count, wide))}));
  Value* x = TRY(b.op("max", {TRY(flatten(c, c.inputs[0])), low}));
  Value* part = TRY(b.op("div", {TRY(cast_to(c, TRY(b.op("sub", {x, low})), wide)), step}));
  Value* last = TRY(b.op("sub", {count, TRY(number(c, 1, DType::i64))}));
  part = TRY(cast_to(c, TRY(b.op("min", {part, TRY(cast_to(c, last, wide))})), DType::i64));
  const DType out = TRY(dtype_attr(c, "dtype", DataType::i32));
  Value* ones = TRY(filled(c, 1, out, TRY(shape_of(c, part))));
  return one(b.op("segment_reduce", {ones, part, count}));
}

// LowerBound and UpperBound(sorted [rows, n], values [rows, m]): how many elements of its row are
// less than a value (or not greater).
Values bound(RuleContext& c) {
  Builder& b = c.builder;
  using Axes = std::vector<int64_t>;
  Value* sorted = TRY(b.op("expand_dims", {c.inputs[0]}, {{"axes", Axes{1}}}));
  Value* values = TRY(b.op("expand_dims", {c.inputs[1]}, {{"axes", Axes{2}}}));
  Value* before = TRY(b.op(c.node.op == "LowerBound" ? "less" : "less_equal", {sorted, values}));
  before = TRY(cast_to(c, before, TRY(dtype_attr(c, "out_type", DataType::i32))));
  return one(b.op("sum", {before}, {{"axes", Axes{2}}}));
}

constexpr RuleEntry kRules[] = {
    {"ApproxTopK", approx_top_k},
    {"ArgMax", arg_extreme, 2},
    {"ArgMin", arg_extreme, 2},
    {"Bincount", bincount, 3},
    {"Bucketize", bucketize},
    {"DenseBincount", bincount, 3},
    {"DynamicPartition", dynamic_partition, 2},
    {"DynamicStitch", dynamic_stitch, 2},
    {"GatherNd", gather_nd, 2},
    {"HistogramFixedWidth", histogram, 3},
    {"InTopK", in_top_k, 2},
    {"InTopKV2", in_top_k, 3},
    {"ListDiff", list_diff, 2},
    {"LowerBound", bound, 2},
    {"NthElement", nth_element, 2},
    {"ParallelDynamicStitch", dynamic_stitch, 2},
    {"RaggedBincount", bincount, 4},
    {"ResourceGatherNd", gather_nd, 2},
    {"ScatterNd", scatter_nd, 3},
    {"ScatterNdNonAliasingAdd", tensor_scatter, 3},
    {"SegmentMax", segment, 2},
    {"SegmentMaxV2", segment, 3},
    {"SegmentMean", segment, 2},
    {"SegmentMin", segment, 2},
    {"SegmentMinV2", segment, 3},
    {"SegmentProd", segment, 2},
    {"SegmentProdV2", segment, 3},
    {"SegmentSum", segment, 2},
    {"SegmentSumV2", segment, 3},
    {"SparseSegmentMean", sparse_segment, 3},
    {"SparseSegmentMeanWithNumSegments", sparse_segment, 4},
    {"SparseSegmentSqrtN", sparse_segment, 3},
    {"SparseSegmentSqrtNWithNumSegments", sparse_segment, 4},
    {"SparseSegmentSum", sparse_segment, 3},
    {"SparseSegmentSumWithNumSegments", sparse_segment, 4},
    {"TensorScatterAdd", tensor_scatter, 3},
    {"TensorScatterMax", tensor_scatter, 3},
    {"TensorScatterMin", tensor_scatter, 3},
    {"TensorScatterSub", tensor_scatter, 3},
    {"TensorScatterUpdate", tensor_scatter, 3},
    {"TopK", top_k},
    {"TopKV2", top_k, 2},
    {"Unique", unique},
    {"UniqueV2", unique, 2},
    {"UniqueWithCounts", unique},
    {"UniqueWithCountsV2", unique, 2},
    {"UnravelIndex", unravel_index, 2},
    {"UnsortedSegmentMax", segment, 3},
    {"UnsortedSegmentMin", segment, 3},
    {"UnsortedSegmentProd", segment, 3},
    {"UnsortedSegmentSum", segment, 3},
    {"Where", where},
    {"UpperBound", bound, 2},
};

}  // namespace

std::span<const RuleEntry> index_rules() {
  return kRules;
}

}  // namespace tenon::tf
