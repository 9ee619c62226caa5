// Rules of ragged rows.
#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

// (shape, values, default, partitions…)
Values ragged_to_tensor(RuleContext& c) {
  const AttrValue types = TRY(c.node.attrs.get("row_partition_types"));
  std::vector<std::string> partitions;
  for (const std::string_view type : types.strings) {
    const char* kind = type == "FIRST_DIM_SIZE" ? "first_dim_size"
                       : type == "VALUE_ROWIDS" ? "value_rowids"
                       : type == "ROW_SPLITS"   ? "row_splits"
                                                : nullptr;
    if (kind == nullptr) return unsupported("this kind of row partition");
    partitions.emplace_back(kind);
  }
  return one(c.builder.op("ragged_to_dense", c.inputs, {{"partitions", partitions}}));
}

Values ragged_range(RuleContext& c) {
  Node* node = TRY(c.builder.node("ragged_range", c.inputs));
  const DType splits = TRY(dtype_attr(c, "Tsplits", DataType::i64));
  return std::vector<Value*>{TRY(cast_to(c, node->output(0), splits)), node->output(1)};
}

// (nested splits, values, indices of rows): the nested splits and the values of these rows. The
// dimensions of the indices come before those of the rows.
Values ragged_gather(RuleContext& c) {
  Builder& b = c.builder;
  const auto depth = static_cast<int64_t>(c.inputs.size()) - 2;
  const int rank = TRY(rank_of(c.inputs.back()));
  if (depth < 1 || TRY(c.node.attrs.get_int("PARAMS_RAGGED_RANK", 1)) != depth)
    return invalid_model("its splits are not PARAMS_RAGGED_RANK many");
  const DType t = c.inputs[0]->dtype();
  Value* unit = TRY(number(c, 1, DType::i64));
  Value* rows = TRY(cast_to(c, c.inputs.back(), DType::i64));
  std::vector<Value*> out;
  for (int i = 1; i < rank; ++i) {  // rows of equal length
    const auto product = [&](int end) -> Result<Value*> {
      return b.op("prod", {TRY(shape_of(c, rows, 0, end))}, {{"keep_dims", true}});
    };
    Value* count = TRY(product(i));
    Value* ramp =
        TRY(b.op("range", {TRY(number(c, 0, DType::i64)),
                           TRY(b.op("squeeze", {TRY(b.op("add", {count, unit}))})), unit}));
    out.push_back(TRY(cast_to(c, TRY(b.op("mul", {ramp, TRY(shape_of(c, rows, i, i + 1))})), t)));
  }
  rows = TRY(flatten(c, rows));
  for (int64_t i = 0; i < depth; ++i) {
    Value* splits = TRY(cast_to(c, c.inputs[static_cast<size_t>(i)], DType::i64));
    Value* first = TRY(b.op("gather", {splits, rows}));
    Value* end = TRY(b.op("gather", {splits, TRY(b.op("add", {rows, unit}))}));
    Node* range = TRY(b.node("ragged_range", {first, end, unit}));
    if (i > 0 || rank > 0) out.push_back(TRY(cast_to(c, range->output(0), t)));
    rows = range->output(1);
  }
  out.push_back(TRY(b.op("gather", {c.inputs[static_cast<size_t>(depth)], rows})));
  return out;
}

Values ngrams(RuleContext& c) {
  const auto text = [&](std::string_view name) -> Result<std::string> {
    return std::string(TRY(c.node.attrs.get_string(name, "")));
  };
  Node* node = TRY(
      c.builder.node("text_ngrams", {c.inputs[0], c.inputs[1]},
                     {{"widths", TRY(c.node.attrs.get_ints("ngram_widths"))},
                      {"pad_width", TRY(c.node.attrs.get_int("pad_width", 0))},
                      {"keep_short", TRY(c.node.attrs.get_bool("preserve_short_sequences", false))},
                      {"separator", TRY(text("separator"))},
                      {"left_pad", TRY(text("left_pad"))},
                      {"right_pad", TRY(text("right_pad"))}}));
  return std::vector<Value*>{node->output(0), node->output(1)};
}

// (splits, values): the rows as a list. Without splits the tensor itself.
Values ragged_to_variant(RuleContext& c) {
  Builder& b = c.builder;
  if (c.inputs.size() == 1) return std::vector<Value*>{c.inputs[0]};
  if (c.inputs.size() != 2 || !TRY(c.node.attrs.get_bool("batched_input", false)))
    return unsupported("only the rows of one ragged dimension");
  Value* begins = TRY(b.op("slice", {c.inputs[0], b.ints({0}), b.ints({-1})}));
  Value* ends = TRY(b.op("slice", {c.inputs[0], b.ints({1}), b.ints({1 << 30})}));
  Value* lengths = TRY(cast_to(c, TRY(b.op("sub", {ends, begins})), DType::i64));
  return one(b.op("list_split", {c.inputs[1], lengths}));
}

// One row again, or all rows: splits and values.
Values ragged_from_variant(RuleContext& c) {
  Builder& b = c.builder;
  Value* x = c.inputs[0];
  const int64_t depth = TRY(c.node.attrs.get_int("output_ragged_rank", 0));
  if (depth != (x->type().is_list ? 1 : 0) || x->type().is_none())
    return unsupported("only rows without ragged dimensions of their own");
  if (depth == 0) return std::vector<Value*>{x};
  Value* lengths = TRY(b.op("list_lengths", {x}));
  Value* ends = TRY(b.op("cumsum", {lengths}, {{"axis", int64_t{0}}}));
  Value* splits = TRY(b.op("concat", {b.ints({0}), ends}, {{"axis", int64_t{0}}}));
  const TensorType row{x->dtype(), x->shape()};
  Value* values = TRY(b.op("list_concat", {x}, {{"element", row}}));
  const DType type = TRY(dtype_attr(c, "Tsplits", DataType::i64));
  return std::vector<Value*>{TRY(cast_to(c, splits, type)), values};
}

constexpr RuleEntry kRules[] = {
    {"RaggedGather", ragged_gather, 3},
    {"RaggedRange", ragged_range, 3},
    {"RaggedTensorFromVariant", ragged_from_variant},
    {"RaggedTensorToTensor", ragged_to_tensor, 4},
    {"RaggedTensorToVariant", ragged_to_variant},
    {"StringNGrams", ngrams, 2},
};

}  // namespace

std::span<const RuleEntry> ragged_rules() {
  return kRules;
}

}  // namespace tenon::tf
