// Rules of ops that make, cut, order and fill tensors.
#include <limits>
#include <string>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();

Values rank(RuleContext& c) {
  const Value* x = c.inputs[0];
  if (x->shape().ranked() && !x->type().is_list) {
    const auto r = static_cast<int32_t>(x->shape().rank());
    return std::vector<Value*>{c.builder.constant(Tensor::scalar(r))};
  }
  if (x->type().is_list) return unsupported("the rank of a list");
  Value* sizes = TRY(c.builder.op("shape", {c.inputs[0]}));
  return one(c.builder.op("size", {sizes}, {{"dtype", DType::i32}}));
}

Values size(RuleContext& c) {
  return one(
      c.builder.op("size", c.inputs, {{"dtype", TRY(dtype_attr(c, "out_type", DataType::i32))}}));
}

Values shape_n(RuleContext& c) {
  const DType out = TRY(dtype_attr(c, "out_type", DataType::i32));
  std::vector<Value*> shapes;
  for (Value* x : c.inputs) shapes.push_back(TRY(c.builder.op("shape", {x}, {{"dtype", out}})));
  return shapes;
}

// start + i * (stop - start) / (num - 1)
Values lin_space(RuleContext& c) {
  Builder& b = c.builder;
  Value *start = c.inputs[0], *num = TRY(cast_to(c, c.inputs[2], DType::i64));
  const DType t = start->dtype();
  Value* zero = TRY(number(c, 0, DType::i64));
  Value* one_i = TRY(number(c, 1, DType::i64));
  Value* steps = TRY(b.op("max", {TRY(b.op("sub", {num, one_i})), one_i}));
  Value* delta =
      TRY(b.op("div", {TRY(b.op("sub", {c.inputs[1], start})), TRY(cast_to(c, steps, t))}));
  Value* i = TRY(cast_to(c, TRY(b.op("range", {zero, num, one_i})), t));
  return one(b.op("add", {start, TRY(b.op("mul", {i, delta}))}));
}

// slice(x, begin, size), where a size of -1 goes to the end.
Values slice(RuleContext& c) {
  Builder& b = c.builder;
  const auto begin = c.ints(1), size = c.ints(2);
  if (begin.ok() && size.ok() && begin->size() == size->size()) {
    std::vector<int64_t> ends;
    for (size_t i = 0; i < begin->size(); ++i) {
      const int64_t s = (*size)[i];
      if (s < -1 || (*begin)[i] < 0 || s > kEnd - (*begin)[i])
        return invalid_model("begin and size of a slice must not be negative");
      ends.push_back(s == -1 ? kEnd : (*begin)[i] + s);
    }
    return one(b.op("slice", {c.inputs[0], b.ints(*begin), b.ints(ends)}));
  }
  Value* from = TRY(cast_to(c, c.inputs[1], DType::i64));
  Value* count = TRY(cast_to(c, c.inputs[2], DType::i64));
  Value* to_end = TRY(b.op("less", {count, b.ints({0})}));
  Value* to = TRY(b.op("select", {to_end, b.ints({kEnd}), TRY(b.op("add", {from, count}))}));
  Value* y = TRY(b.op("slice", {c.inputs[0], from, to}));
  // The sizes are those of the result: what the bounds do not tell.
  if (size.ok() && std::ranges::count(*size, -1) <= 1 && !y->shape().is_static())
    y = TRY(b.op("reshape", {y, b.ints(*size)}, {{"allow_zero", true}}));
  return std::vector<Value*>{y};
}

Values split_into(RuleContext& c, Value* x, std::vector<Builder::Attr> attrs) {
  Node* node = TRY(c.builder.node("split", {x}, std::move(attrs)));
  std::vector<Value*> parts;
  parts.reserve(static_cast<size_t>(node->output_count()));
  for (int i = 0; i < node->output_count(); ++i) parts.push_back(node->output(i));
  return parts;
}

// Parts of x along an axis that only running the model gives: from these places, of these sizes.
Values slices_along(RuleContext& c, Value* x, Value* axis, Value* sizes, int64_t num) {
  Builder& b = c.builder;
  Value* ends = TRY(b.op("cumsum", {sizes}));
  Value* begins = TRY(b.op("sub", {ends, sizes}));
  axis = TRY(flatten(c, axis));
  std::vector<Value*> parts;
  for (int64_t i = 0; i < num; ++i)
    parts.push_back(
        TRY(add_with_attr(b, "slice", {x, TRY(element(c, begins, i)), TRY(element(c, ends, i))},
                          "axes", axis, {}, "rank")));
  return parts;
}

// The size of x along the axis, as a vector of one.
Result<Value*> size_along(RuleContext& c, Value* x, Value* axis) {
  return c.builder.op("gather", {TRY(shape_of(c, x)), TRY(flatten(c, TRY(indices(c, axis))))});
}

Values split(RuleContext& c) {
  const int64_t num = TRY(c.node.attrs.get_int("num_split"));
  if (num > 0 && num <= 1 << 16 && !known_ints(c.inputs[0])) {
    Value* size = TRY(c.builder.op(
        "floor_div", {TRY(size_along(c, c.inputs[1], c.inputs[0])), c.builder.ints({num})}));
    Value* sizes = TRY(c.builder.op("expand", {size, c.builder.ints({num})}));
    return slices_along(c, c.inputs[1], c.inputs[0], sizes, num);
  }
  const int64_t axis = TRY(c.int_scalar(0));
  if (num < 1 || num > 1 << 16) return invalid_model("num_split is out of range");
  const Shape& s = c.inputs[1]->shape();
  if (s.ranked()) {
    const Dim d = s[TRY(normalize_axis(axis, s.rank()))];
    if (d.known() && d.size() % num != 0)
      return invalid_model("num_split does not divide the dimension");
  }
  return split_into(c, c.inputs[1], {{"axis", axis}, {"num", num}});
}

Values split_v(RuleContext& c) {
  const int64_t num = TRY(c.node.attrs.get_int("num_split", 0));
  if (num > 0 && num <= 1 << 16 && !(known_ints(c.inputs[1]) && known_ints(c.inputs[2]))) {
    Builder& b = c.builder;
    Value* sizes = TRY(cast_to(c, c.inputs[1], DType::i64));
    Value* open = TRY(b.op("less", {sizes, b.ints({0})}));
    Value* given = TRY(b.op("select", {open, b.ints({0}), sizes}));
    Value* sum = TRY(b.op("sum", {given}, {{"keep_dims", true}}));
    Value* rest = TRY(b.op("sub", {TRY(size_along(c, c.inputs[0], c.inputs[2])), sum}));
    sizes = TRY(b.op("select", {open, rest, sizes}));
    return slices_along(c, c.inputs[0], c.inputs[2], sizes, num);
  }
  return split_into(c, c.inputs[0], {{"axis", TRY(c.int_scalar(2))}, {"sizes", TRY(c.ints(1))}});
}

Values unpack(RuleContext& c) {
  const int64_t axis = TRY(c.node.attrs.get_int("axis", 0));
  const int64_t num = TRY(c.node.attrs.get_int("num"));
  if (num < 0 || num > 1 << 16) return invalid_model("num is out of range");
  if (num == 0) return std::vector<Value*>{};
  std::vector<Value*> parts = TRY(
      split_into(c, c.inputs[0],
                 {{"axis", axis}, {"sizes", std::vector<int64_t>(static_cast<size_t>(num), 1)}}));
  for (Value*& part : parts)
    part = TRY(c.builder.op("squeeze", {part}, {{"axes", std::vector<int64_t>{axis}}}));
  return parts;
}

Values concat_v1(RuleContext& c) {
  return one(add_with_attr(c.builder, "concat", {c.inputs.begin() + 1, c.inputs.end()}, "axis",
                           c.inputs[0], {}, "rank"));
}

Values parallel_concat(RuleContext& c) {
  return one(join(c, c.inputs));
}

Values reverse(RuleContext& c) {
  Value* axes = c.inputs[1];
  if (const Tensor* flags = axes->constant(); flags != nullptr && axes->dtype() == DType::boolean) {
    std::vector<int64_t> places;
    for (int64_t i = 0; i < flags->elements(); ++i)
      if (flags->int_at(i) != 0) places.push_back(i);
    axes = c.builder.ints(places);
  } else if (axes->dtype() == DType::boolean) {
    axes = TRY(flatten(c, TRY(c.builder.op("non_zero", {axes}))));
  }
  return one(add_with_attr(c.builder, "reverse", {c.inputs[0]}, "axes", axes, {}, "same"));
}

Values reverse_sequence(RuleContext& c) {
  return one(c.builder.op("reverse_sequence", c.inputs,
                          {{"batch_axis", TRY(c.node.attrs.get_int("batch_dim", 0))},
                           {"time_axis", TRY(c.node.attrs.get_int("seq_dim"))}}));
}

// Element i of the result is element (i - shift) mod n.
Values roll(RuleContext& c) {
  Builder& b = c.builder;
  const auto count = c.inputs[2]->shape().elements();
  if (!count || *count > 64) return unsupported("the number of axes must be known");
  Value* axes = TRY(flatten(c, TRY(cast_to(c, c.inputs[2], DType::i64))));
  Value* shifts = TRY(flatten(c, TRY(cast_to(c, c.inputs[1], DType::i64))));
  Value *zero = TRY(number(c, 0, DType::i64)), *step = TRY(number(c, 1, DType::i64));
  Value* x = c.inputs[0];
  for (int64_t i = 0; i < *count; ++i) {
    Value* axis = TRY(element(c, axes, i));
    Value* n = TRY(b.op("squeeze", {TRY(size_along(c, c.inputs[0], axis))}));
    Value* at = TRY(b.op("sub", {TRY(b.op("range", {zero, n, step})), TRY(element(c, shifts, i))}));
    x = TRY(
        add_with_attr(b, "gather", {x, TRY(b.op("floor_mod", {at, n}))}, "axis", axis, {}, "rank"));
  }
  return std::vector<Value*>{x};
}

// The first form of Select: a vector condition chooses whole rows.
Values select_v1(RuleContext& c) {
  Value* cond = c.inputs[0];
  const int rank = TRY(rank_of(c.inputs[1]));
  if (TRY(rank_of(cond)) == 1 && rank > 1) {
    std::vector<int64_t> axes;
    for (int i = 1; i < rank; ++i) axes.push_back(i);
    cond = TRY(c.builder.op("expand_dims", {cond}, {{"axes", axes}}));
  }
  return one(c.builder.op("select", {cond, c.inputs[1], c.inputs[2]}));
}

Values full_like(RuleContext& c, double v) {
  Value* x = c.inputs[0];
  Value* shape = x->shape().is_static() ? c.builder.ints(x->shape().sizes()) : TRY(shape_of(c, x));
  if (x->dtype() == DType::string)
    return one(c.builder.op("expand", {c.builder.constant(Tensor::scalar(std::string())), shape}));
  return one(filled(c, v, x->dtype(), shape));
}

Values zeros_like(RuleContext& c) {
  return full_like(c, 0);
}

Values ones_like(RuleContext& c) {
  return full_like(c, 1);
}

Values empty(RuleContext& c) {
  return one(filled(c, 0, TRY(dtype_attr(c, "dtype", DataType::f32)), c.inputs[0]));
}

// The shape that two shapes broadcast to.
Values broadcast_args(RuleContext& c) {
  Builder& b = c.builder;
  Value* s[] = {c.inputs[0], c.inputs[1]};
  int64_t length[2];
  for (int i = 0; i < 2; ++i) {
    const Shape& shape = s[i]->shape();
    if (!shape.ranked() || shape.rank() != 1 || !shape[0].known() || shape[0].size() > 64)
      return unsupported("the number of dimensions must be known");
    length[i] = shape[0].size();
  }
  const int shorter = length[0] < length[1] ? 0 : 1;
  if (const int64_t missing = length[1 - shorter] - length[shorter]; missing > 0)
    s[shorter] = TRY(join(c, {TRY(filled(c, 1, s[0]->dtype(), b.ints({missing}))), s[shorter]}));
  Value* is_one = TRY(b.op("equal", {s[0], TRY(number(c, 1, s[0]->dtype()))}));
  return one(b.op("select", {is_one, s[1], s[0]}));
}

Values one_hot(RuleContext& c) {
  return one(c.builder.op("one_hot", c.inputs, {{"axis", TRY(c.node.attrs.get_int("axis", -1))}}));
}

Values mirror_pad(RuleContext& c) {
  const bool reflect = TRY(c.node.attrs.get_string("mode")) == "REFLECT";
  return one(c.builder.op("pad", {c.inputs[0], TRY(pads_from_pairs(c, c.inputs[1]))},
                          {{"mode", std::string(reflect ? "reflect" : "symmetric")}}));
}

Values cumulative(RuleContext& c) {
  return one(add_with_attr(c.builder, c.node.op == "Cumsum" ? "cumsum" : "cumprod", {c.inputs[0]},
                           "axis", c.inputs[1],
                           {{"exclusive", TRY(c.node.attrs.get_bool("exclusive", false))},
                            {"reverse", TRY(c.node.attrs.get_bool("reverse", false))}},
                           "same"));
}

Values bitcast(RuleContext& c) {
  return one(
      c.builder.op("bitcast", c.inputs, {{"to", TRY(dtype_attr(c, "type", DataType::f32))}}));
}

Values conjugate_transpose(RuleContext& c) {
  Value* y =
      TRY(add_with_attr(c.builder, "transpose", {c.inputs[0]}, "perm", c.inputs[1], {}, "rank"));
  return one(is_complex(y->dtype()) ? c.builder.op("conj", {y}) : Result<Value*>(y));
}

// Where each of several tensors begins in their concatenation, given their shapes.
Values concat_offset(RuleContext& c) {
  Builder& b = c.builder;
  if (c.inputs.size() < 2) return invalid_model("shapes are missing");
  const auto rank = c.inputs[1]->shape().elements();
  if (!rank) return unsupported("the number of dimensions must be known");
  std::vector<int64_t> mask(static_cast<size_t>(*rank), 0);
  const int axis = TRY(normalize_axis(TRY(c.int_scalar(0)), static_cast<int>(*rank)));
  mask[static_cast<size_t>(axis)] = 1;
  const DType t = c.inputs[1]->dtype();
  Value* along = TRY(cast_to(c, b.ints(mask), t));
  Value* offset = TRY(b.op("mul", {along, TRY(number(c, 0, t))}));
  std::vector<Value*> out;
  for (size_t i = 1; i < c.inputs.size(); ++i) {
    out.push_back(offset);
    offset = TRY(b.op("add", {offset, TRY(b.op("mul", {c.inputs[i], along}))}));
  }
  return out;
}

// The letters of the layouts an op permutes between.
Result<std::pair<std::string, std::string>> layouts(const RuleContext& c) {
  std::pair<std::string, std::string> both{TRY(c.node.attrs.get_string("src_format", "NHWC")),
                                           TRY(c.node.attrs.get_string("dst_format", "NCHW"))};
  if (both.first.size() != both.second.size() || both.first.empty())
    return invalid_model("src_format and dst_format must have the same letters");
  return both;
}

// Numbers of dimensions in one layout as numbers in another.
Values layout_dimensions(RuleContext& c) {
  const auto [src, dst] = TRY(layouts(c));
  std::vector<int64_t> at;
  for (const char letter : src) at.push_back(static_cast<int64_t>(dst.find(letter)));
  Value* x = c.inputs[0];
  Value* table = TRY(cast_to(c, c.builder.ints(at), x->dtype()));
  return one(c.builder.op("gather", {table, x}));
}

// A value per dimension (or per spatial dimension) in the order of another layout.
Values layout_values(RuleContext& c) {
  auto [src, dst] = TRY(layouts(c));
  const Shape& shape = c.inputs[0]->shape();
  if (!shape.ranked() || shape.rank() < 1 || !shape[0].known())
    return unsupported("the number of values must be known");
  if (shape[0].size() == static_cast<int64_t>(src.size()) - 2)
    for (std::string* layout : {&src, &dst})
      std::erase_if(*layout, [](char letter) { return letter == 'N' || letter == 'C'; });
  std::vector<int64_t> from;
  for (const char letter : dst) from.push_back(static_cast<int64_t>(src.find(letter)));
  return one(c.builder.op("gather", {c.inputs[0], c.builder.ints(from)}));
}

// (x, numbers of rows, rows)
Values change_rows(RuleContext& c) {
  Builder& b = c.builder;
  Value* rows =
      TRY(b.op("expand_dims", {TRY(flatten(c, c.inputs[1]))}, {{"axes", std::vector<int64_t>{1}}}));
  Value* change = c.inputs[2];
  if (c.node.op == "InplaceSub") change = TRY(b.op("neg", {change}));
  return one(b.op("scatter_nd", {c.inputs[0], rows, change},
                  {{"reduction", std::string(c.node.op == "InplaceUpdate" ? "none" : "add")}}));
}

constexpr RuleEntry kRules[] = {
    {"Bitcast", bitcast},
    {"BroadcastArgs", broadcast_args, 2},
    {"Concat", concat_v1, 2},
    {"ConcatOffset", concat_offset, 2},
    {"ConjugateTranspose", conjugate_transpose, 2},
    {"Cumprod", cumulative, 2},
    {"Cumsum", cumulative, 2},
    {"DataFormatDimMap", layout_dimensions},
    {"DataFormatVecPermute", layout_values},
    {"Empty", empty},
    {"InplaceAdd", change_rows, 3},
    {"InplaceSub", change_rows, 3},
    {"InplaceUpdate", change_rows, 3},
    {"InvertPermutation", same<"invert_permutation">},
    {"LinSpace", lin_space, 3},
    {"MirrorPad", mirror_pad, 2},
    {"OneHot", one_hot, 4},
    {"OnesLike", ones_like},
    {"ParallelConcat", parallel_concat},
    {"Range", same<"range">, 3},
    {"Rank", rank},
    {"Reverse", reverse, 2},
    {"ReverseSequence", reverse_sequence, 2},
    {"ReverseV2", reverse, 2},
    {"Roll", roll, 3},
    {"Select", select_v1, 3},
    {"ShapeN", shape_n},
    {"Size", size},
    {"Slice", slice, 3},
    {"Split", split, 2},
    {"SplitV", split_v, 3},
    {"Unpack", unpack},
    {"ZerosLike", zeros_like},
};

}  // namespace

std::span<const RuleEntry> array_rules() {
  return kRules;
}

}  // namespace tenon::tf
