// Rules of XLA's ops, as TensorFlow's quantiser and conversions from JAX write them.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "import/tensorflow/dimension_numbers.h"

namespace tenon::tf {
namespace {

bool contains(const std::vector<int64_t>& list, int64_t v) {
  return std::ranges::find(list, v) != list.end();
}

// What a gather relies on below: all dimensions are in range, none is named twice.
Status check_gather(const GatherDimensions& d, const std::vector<int64_t>& x,
                    const std::vector<int64_t>& sizes, int64_t start_rank) {
  const auto rank = static_cast<int64_t>(x.size());
  const auto fits = [](std::vector<int64_t> list, int64_t end) {
    std::ranges::sort(list);
    return std::ranges::adjacent_find(list) == list.end() &&
           std::ranges::all_of(list, [&](int64_t v) { return v >= 0 && v < end; });
  };
  const int64_t results = start_rank - 1 + static_cast<int64_t>(d.offset_dims.size());
  bool good = start_rank >= 1 && d.index_vector >= 0 && d.index_vector < start_rank &&
              sizes.size() == x.size() && fits(d.collapsed, rank) &&
              fits(d.start_index_map, rank) && fits(d.offset_dims, results) &&
              d.offset_dims.size() + d.collapsed.size() == x.size();
  for (size_t i = 0; good && i < x.size(); ++i)
    good = sizes[i] >= 0 && sizes[i] <= x[i] &&
           (sizes[i] == 1 || !contains(d.collapsed, static_cast<int64_t>(i)));
  if (!good) return invalid_model("the dimension numbers do not fit the operands");
  return {};
}

Result<Value*> as_preferred(RuleContext& c, Value* y) {
  if (!c.node.attrs.has("preferred_element_type")) return y;
  return cast_to(c, y, TRY(to_dtype(TRY(c.node.attrs.get_type("preferred_element_type")))));
}

// (x, filter, strides, paddings [n, 2], dilations of x, dilations of the filter, groups)
Values xla_conv(RuleContext& c) {
  const std::string_view message = TRY(c.node.attrs.get_string("dimension_numbers"));
  const ConvDimensions d = TRY(xla_conv_dimensions(message));
  const auto in_range = [](const std::vector<int64_t>& list) {
    return std::ranges::all_of(list, [](int64_t v) { return v >= 1 && v <= 1 << 24; });
  };
  ConvOptions options{.strides = TRY(c.ints(2)), .dilations = TRY(c.ints(5))};
  if (!in_range(options.strides) || !in_range(options.dilations))
    return invalid_model("strides or dilations are out of range");
  if (std::ranges::any_of(TRY(c.ints(4)), [](int64_t v) { return v != 1; }))
    return unsupported("an input with gaps (lhs_dilation)");
  if (TRY(c.node.attrs.get_int("batch_group_count", 1)) != 1)
    return unsupported("groups of the batch (batch_group_count)");
  options.groups = TRY(c.int_scalar(6));
  const auto pairs = TRY(c.ints(3));
  if (pairs.size() != 2 * d.input_spatial.size())
    return invalid_model("the paddings do not fit the spatial dimensions");
  for (const size_t side : {0, 1})
    for (size_t i = 0; i < d.input_spatial.size(); ++i) options.pads.push_back(pairs[2 * i + side]);
  for (const int64_t pad : options.pads)
    if (pad < 0 || pad > 1 << 24) return unsupported(fmt::format("a padding of {}", pad));
  Value* y = TRY(convolve(c, c.inputs[0], c.inputs[1], nullptr, nullptr, d, options));
  return one(as_preferred(c, y));
}

Values xla_dot(RuleContext& c) {
  const std::string_view message = TRY(c.node.attrs.get_string("dimension_numbers"));
  Value* y = TRY(contract(c, c.inputs[0], c.inputs[1], TRY(xla_dot_dimensions(message))));
  return one(as_preferred(c, y));
}

// Where something begins that has so much room behind the first place: moved as far as it must be.
Result<Value*> moved_to_fit(RuleContext& c, Value* start, Value* room) {
  start = TRY(c.builder.op("min", {TRY(cast_to(c, start, DType::i64)), room}));
  return c.builder.op("max", {start, TRY(number(c, 0, DType::i64))});
}

// (x, start [rank], sizes [rank])
Values dynamic_slice(RuleContext& c) {
  if (TRY(rank_of(c.inputs[0])) == 0) return std::vector<Value*>{c.inputs[0]};
  Value* sizes = TRY(cast_to(c, c.inputs[2], DType::i64));
  Value* room = TRY(c.builder.op("sub", {TRY(shape_of(c, c.inputs[0])), sizes}));
  Value* start = TRY(moved_to_fit(c, c.inputs[1], room));
  Value* end = TRY(c.builder.op("add", {start, sizes}));
  return one(c.builder.op("slice", {c.inputs[0], start, end}));
}

// (x, part, start [rank]): x with the part in its place.
Values dynamic_update_slice(RuleContext& c) {
  Builder& b = c.builder;
  Value *x = c.inputs[0], *part = c.inputs[1];
  if (TRY(rank_of(x)) == 0) return std::vector<Value*>{part};
  Value* room = TRY(b.op("sub", {TRY(shape_of(c, x)), TRY(shape_of(c, part))}));
  Value* start = TRY(moved_to_fit(c, c.inputs[2], room));
  Value* pads = TRY(join(c, {start, TRY(b.op("sub", {room, start}))}));
  Value* inside = TRY(filled(c, 1, DType::boolean, TRY(shape_of(c, part))));
  inside = TRY(b.op("pad", {inside, pads}));
  return one(b.op("select", {inside, TRY(b.op("pad", {part, pads})), x}));
}

// x with `gap` values between each two neighbours along an axis.
Result<Value*> spread(RuleContext& c, Value* x, Value* value, int64_t axis, int64_t gap) {
  Builder& b = c.builder;
  x = TRY(b.op("expand_dims", {x}, {{"axes", std::vector<int64_t>{axis + 1}}}));
  x = TRY(b.op("pad", {x, b.ints({0, gap}), value}, {{"axes", std::vector<int64_t>{axis + 1}}}));
  Value* shape =
      TRY(join(c, {TRY(shape_of(c, x, 0, axis)), b.ints({-1}), TRY(shape_of(c, x, axis + 2))}));
  x = TRY(b.op("reshape", {x, shape}));
  // The last one has no neighbour.
  return b.op("slice", {x, b.ints({0}), b.ints({-gap})}, {{"axes", std::vector<int64_t>{axis}}});
}

// (x, value, low [rank], high [rank], interior [rank])
Values xla_pad(RuleContext& c) {
  Value* x = c.inputs[0];
  const int rank = TRY(rank_of(x));
  const auto interior = TRY(c.ints(4));
  if (static_cast<int>(interior.size()) != rank)
    return invalid_model("the paddings do not fit the operand");
  for (size_t axis = 0; axis < interior.size(); ++axis) {
    if (interior[axis] < 0 || interior[axis] > 1 << 24)
      return invalid_model(fmt::format("{} values between neighbours", interior[axis]));
    if (interior[axis] > 0)
      x = TRY(spread(c, x, c.inputs[1], static_cast<int64_t>(axis), interior[axis]));
  }
  if (rank == 0) return std::vector<Value*>{x};
  Value* pads = TRY(join(
      c, {TRY(cast_to(c, c.inputs[2], DType::i64)), TRY(cast_to(c, c.inputs[3], DType::i64))}));
  return one(c.builder.op("pad", {x, pads, c.inputs[1]}));
}

// Rounds to fewer bits where those are a type's.
Values reduce_precision(RuleContext& c) {
  const int64_t exponent = TRY(c.node.attrs.get_int("exponent_bits"));
  const int64_t mantissa = TRY(c.node.attrs.get_int("mantissa_bits"));
  struct Kind {
    DType dtype;
    int64_t exponent, mantissa;
  };
  constexpr Kind kKinds[] = {
      {DType::bf16, 8, 7}, {DType::f16, 5, 10}, {DType::f32, 8, 23}, {DType::f64, 11, 52}};
  const DType own = c.inputs[0]->dtype();
  for (const Kind& kind : kKinds)
    if (kind.exponent == exponent && kind.mantissa == mantissa)
      return one(cast_to(c, TRY(cast_to(c, c.inputs[0], kind.dtype)), own));
  return unsupported(
      fmt::format("numbers of {} and {} bits, which no type has", exponent, mantissa));
}

// (x, starts, sizes [rank]): a slice of x for each start. Starts are the rows of a tensor along one
// of its dimensions; the dimensions of slices stand among those of the rest where it is said, but
// for those of size 1 that are left out.
Values xla_gather(RuleContext& c) {
  Builder& b = c.builder;
  using Axes = std::vector<int64_t>;
  Value *x = c.inputs[0], *starts = TRY(cast_to(c, c.inputs[1], DType::i64));
  const int64_t rank = TRY(rank_of(x));
  const Axes sizes = TRY(c.ints(2));
  const GatherDimensions d =
      TRY(xla_gather_dimensions(TRY(c.node.attrs.get_string("dimension_numbers"))));
  if (!x->shape().is_static())
    return unsupported("the shape of what is gathered from must be known");
  if (d.index_vector == TRY(rank_of(starts)))
    starts = TRY(b.op("expand_dims", {starts}, {{"axes", Axes{d.index_vector}}}));
  const int64_t start_rank = TRY(rank_of(starts)), batch = start_rank - 1;
  TRY(check_gather(d, x->shape().sizes(), sizes, start_rank));
  // Starts last, then one column of places for each dimension that is not taken whole.
  Axes perm;
  for (int64_t i = 0; i < start_rank; ++i)
    if (i != d.index_vector) perm.push_back(i);
  perm.push_back(d.index_vector);
  if (!std::ranges::is_sorted(perm)) starts = TRY(b.op("transpose", {starts}, {{"perm", perm}}));
  Axes windowed, whole, kept;  // dimensions of x; those of slices that the result has, in its order
  for (int64_t axis = 0; axis < rank; ++axis) {
    const auto at = static_cast<size_t>(axis);
    (sizes[at] == x->shape().sizes()[at] && !contains(d.collapsed, axis) ? whole : windowed)
        .push_back(axis);
  }
  for (const int64_t axis : windowed)
    if (!contains(d.collapsed, axis)) kept.push_back(axis);
  const auto steps = static_cast<int64_t>(kept.size());
  Value* shape = TRY(shape_of(c, starts, 0, batch));
  for (const int64_t axis : kept)
    shape = TRY(join(c, {shape, b.ints({sizes[static_cast<size_t>(axis)]})}));
  std::vector<Value*> columns;
  for (const int64_t axis : windowed) {
    const auto at = static_cast<size_t>(axis);
    const auto entry = std::ranges::find(d.start_index_map, axis) - d.start_index_map.begin();
    Axes open;  // places of the steps of other dimensions
    for (int64_t i = 0; i < steps; ++i) open.push_back(batch + i);
    Value* column = TRY(number(c, 0, DType::i64));
    if (entry < static_cast<int64_t>(d.start_index_map.size())) {
      column = TRY(b.op("gather", {starts, b.constant(Tensor::scalar(int64_t{entry}))},
                        {{"axis", int64_t{-1}}}));
      Value* room =
          TRY(number(c, static_cast<double>(x->shape().sizes()[at] - sizes[at]), DType::i64));
      column = TRY(moved_to_fit(c, column, room));
      if (!open.empty()) column = TRY(b.op("expand_dims", {column}, {{"axes", open}}));
    }
    if (const auto own = std::ranges::find(kept, axis); own != kept.end()) {
      Axes step(static_cast<size_t>(sizes[at]));
      std::iota(step.begin(), step.end(), int64_t{0});
      Axes behind(static_cast<size_t>(kept.end() - own) - 1, 1);
      behind.insert(behind.begin(), sizes[at]);
      column = TRY(b.op("add", {column, TRY(b.op("reshape", {b.ints(step), b.ints(behind)}))}));
    }
    column = TRY(b.op("expand", {column, shape}));
    columns.push_back(TRY(b.op("expand_dims", {column}, {{"axes", Axes{-1}}})));
  }
  if (columns.empty()) return unsupported("a gather of the whole tensor");
  Axes order = windowed;
  order.insert(order.end(), whole.begin(), whole.end());
  if (!std::ranges::is_sorted(order)) x = TRY(b.op("transpose", {x}, {{"perm", order}}));
  Value* y = TRY(b.op("gather_nd", {x, TRY(join(c, columns, -1))}));
  // [batch…, kept…, whole…] to where each dimension belongs.
  kept.insert(kept.end(), whole.begin(), whole.end());
  Axes sorted = kept, result;
  std::ranges::sort(sorted);
  int64_t next_batch = 0;
  for (int64_t i = 0; i < batch + static_cast<int64_t>(kept.size()); ++i) {
    const auto offset = std::ranges::find(d.offset_dims, i) - d.offset_dims.begin();
    if (offset == static_cast<int64_t>(d.offset_dims.size())) {
      result.push_back(next_batch++);
      continue;
    }
    const int64_t axis = sorted[static_cast<size_t>(offset)];
    result.push_back(batch + (std::ranges::find(kept, axis) - kept.begin()));
  }
  if (std::ranges::is_sorted(result)) return std::vector<Value*>{y};
  return one(b.op("transpose", {y}, {{"perm", result}}));
}

Values xla_einsum(RuleContext& c) {
  return find_rule("Einsum")->rule(c);
}

constexpr RuleEntry kRules[] = {
    {"XlaConv", xla_conv, 7},
    {"XlaConvV2", xla_conv, 7},
    {"XlaDot", xla_dot, 2},
    {"XlaDotV2", xla_dot, 2},
    {"XlaDynamicSlice", dynamic_slice, 3},
    {"XlaDynamicUpdateSlice", dynamic_update_slice, 3},
    {"XlaEinsum", xla_einsum, 2},
    {"XlaGather", xla_gather, 3},
    {"XlaPad", xla_pad, 5},
    {"XlaReducePrecision", reduce_precision},
};

}  // namespace

std::span<const RuleEntry> xla_rules() {
  return kRules;
}

}  // namespace tenon::tf
