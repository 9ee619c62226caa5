#include "ops/slice.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {
namespace {

constexpr int64_t kFar = std::numeric_limits<int32_t>::max();

// What is asked for on one axis. No begin or end: from or to the very end of that direction.
struct Range {
  std::optional<SymInt> begin;
  std::optional<SymInt> end;
  SymInt step{1};
};

// What that comes to for a dimension.
struct Resolved {
  std::optional<int64_t> first;  // index of the first element
  std::optional<int64_t> step;
  Dim count = Dim::unknown();
};

// The whole of a dimension of unknown size, as far as one can tell: forwards or backwards.
bool is_whole(const Range& range, Dim d, int64_t step) {
  const auto value = [](const std::optional<SymInt>& s) { return s ? s->value : std::nullopt; };
  const auto begin = value(range.begin), end = value(range.end);
  if (step == 1) {
    const bool from_start = !range.begin || (begin && (*begin == 0 || *begin <= -kFar));
    const bool to_end =
        !range.end || (end ? *end >= kFar : d.is_symbol() && range.end->dim.same(d));
    return from_start && to_end;
  }
  const bool from_end = !range.begin || (begin && (*begin == -1 || *begin >= kFar));
  return step == -1 && from_end && (!range.end || (end && *end <= -kFar));
}

Result<Resolved> resolve(const Range& range, Dim d, std::string_view op) {
  Resolved r;
  if (!range.step.value) return r;
  const int64_t step = *range.step.value;
  if (step == 0) return invalid_argument(fmt::format("{}: a step must not be 0", op));
  r.step = step;
  if (d == Dim(0)) {
    r.count = 0, r.first = 0;
    return r;
  }
  if (!d.known()) {
    if (is_whole(range, d, step)) {
      r.count = d;
      if (step > 0) r.first = 0;
    }
    return r;
  }
  if ((range.begin && !range.begin->value) || (range.end && !range.end->value)) return r;
  const int64_t n = d.size(), low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
  const auto place = [&](const std::optional<SymInt>& given, int64_t otherwise) {
    if (!given) return otherwise;
    const int64_t v = *given->value;
    return std::clamp(v < 0 ? v + n : v, low, high);
  };
  const int64_t first = place(range.begin, step > 0 ? low : high);
  const int64_t last = place(range.end, step > 0 ? high : low);
  const int64_t span = step > 0 ? last - first : first - last;
  // The distance is at most n, so a far step is one element; this also keeps -step from overflow.
  const int64_t stride = step > 0 ? std::min(step, n) : (step < -n ? n : -step);
  r.first = first;
  r.step = step > 0 ? stride : -stride;
  r.count = span <= 0 ? 0 : (span - 1) / stride + 1;
  return r;
}

// One range per axis of x that starts, ends and steps speak of; unknown elements where the values
// are not known.
struct AxisRange {
  int axis;
  Range range;
};
using AxisRanges = std::vector<AxisRange>;

Result<AxisRanges> slice_ranges(const Slice& op, int rank, const SymInts& starts,
                                const SymInts& ends, const std::optional<SymInts>& steps) {
  if (starts.size() != ends.size() || (steps && steps->size() != starts.size()) ||
      (!op.axes.empty() && op.axes.size() != starts.size()))
    return invalid_argument(
        fmt::format("slice needs as many starts ({}) as ends ({}), steps and axes", starts.size(),
                    ends.size()));
  std::vector<int64_t> axes = op.axes;
  if (axes.empty())
    for (size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  const auto normal = TRY(normalize_axes(axes, rank, "slice"));
  AxisRanges ranges;
  for (size_t i = 0; i < normal.size(); ++i)
    ranges.push_back({normal[i], {starts[i], ends[i], steps ? (*steps)[i] : SymInt{1}}});
  return ranges;
}

SymInts to_syms(const Tensor& t) {
  SymInts syms;
  for (const int64_t v : t.to_ints()) syms.push_back({v});
  return syms;
}

// Steps of a strided slice: which axis of x each entry of the result comes from.
enum class Kind : uint8_t { range, single, new_axis };
struct Entry {
  Kind kind;
  int axis;
  Range range;
};

Result<std::vector<Entry>> plan(const StridedSlice& op, int rank, const SymInts& begin,
                                const SymInts& end, const SymInts& strides) {
  if (begin.size() != end.size() || begin.size() != strides.size())
    return invalid_argument(fmt::format(
        "strided_slice: begin, end and strides have {}, {} and {} elements; they must agree",
        begin.size(), end.size(), strides.size()));
  const int n = static_cast<int>(begin.size());
  if (n > 32) return invalid_argument("strided_slice: more than 32 entries");
  const auto bit = [](int64_t mask, int i) { return (mask >> i & 1) != 0; };
  int used = 0, ellipses = 0;
  for (int i = 0; i < n; ++i) {
    if (bit(op.ellipsis_mask, i))
      ++ellipses;
    else if (!bit(op.new_axis_mask, i))
      ++used;
  }
  if (ellipses > 1) return invalid_argument("strided_slice: more than one ellipsis");
  if (used > rank)
    return invalid_argument(
        fmt::format("strided_slice: {} indices for a tensor of rank {}", used, rank));
  std::vector<Entry> entries;
  int axis = 0;
  const auto skip_rest = [&] {
    for (int k = 0; k < rank - used; ++k) entries.push_back({Kind::range, axis++, Range{}});
  };
  for (int i = 0; i < n; ++i) {
    const auto u = static_cast<size_t>(i);
    if (bit(op.ellipsis_mask, i)) {
      skip_rest();
    } else if (bit(op.new_axis_mask, i)) {
      entries.push_back({Kind::new_axis, 0, Range{}});
    } else if (bit(op.shrink_axis_mask, i)) {
      const SymInt index = bit(op.begin_mask, i) ? SymInt{0} : begin[u];
      entries.push_back({Kind::single, axis++, Range{index, std::nullopt, {1}}});
    } else {
      Range range{begin[u], end[u], strides[u]};
      if (bit(op.begin_mask, i)) range.begin.reset();
      if (bit(op.end_mask, i)) range.end.reset();
      entries.push_back({Kind::range, axis++, range});
    }
  }
  if (ellipses == 0) skip_rest();
  return entries;
}

// The values of an operand, or as many unknown ones as it has elements.
std::optional<SymInts> values_of(const InferContext& context, int i) {
  if (auto ints = context.ints(i)) return ints;
  return small_ints_or_unknown(context, i);
}

Status check_operands(const InferContext& context, std::string_view op) {
  TRY(require_tensors(context, op));
  constexpr std::string_view kWhat[] = {"", "starts", "ends", "steps"};
  for (int i = 1; i < context.size(); ++i)
    if (context.has(i)) TRY(require_indices(context, i, op, kWhat[i], 1));
  return {};
}

// The elements of ints that a resolved range picks.
std::optional<SymInts> pick(const SymInts& ints, const Resolved& r) {
  if (!r.count.known()) return std::nullopt;
  SymInts picked(static_cast<size_t>(r.count.size()));
  if (r.first && r.step)
    for (size_t i = 0; i < picked.size(); ++i)
      picked[i] = ints[static_cast<size_t>(*r.first + static_cast<int64_t>(i) * *r.step)];
  return picked;
}

}  // namespace

Result<TensorTypes> Slice::infer(const InferContext& context) const {
  TRY(check_operands(context, "slice"));
  TensorType out = context.type(0);
  if (!out.shape.ranked()) return TensorTypes{out};
  const int rank = out.shape.rank();
  const auto starts = values_of(context, 1), ends = values_of(context, 2);
  auto steps = context.has(3) ? values_of(context, 3) : std::nullopt;
  if (!starts || !ends || (context.has(3) && !steps)) {
    const auto touched = TRY(normalize_axes(axes, rank, "slice"));
    if (touched.empty()) out.shape = Shape::unknown_dims(rank);
    for (const int axis : touched) out.shape[axis] = Dim::unknown();
    return TensorTypes{out};
  }
  for (const auto& [axis, range] : TRY(slice_ranges(*this, rank, *starts, *ends, steps)))
    out.shape[axis] = TRY(resolve(range, out.shape[axis], "slice")).count;
  return TensorTypes{out};
}

std::optional<SymInts> Slice::infer_ints(const InferContext& context) const {
  const auto ints = small_ints(context, 0);
  const auto starts = context.ints(1), ends = context.ints(2);
  auto steps = context.has(3) ? context.ints(3) : std::nullopt;
  if (!ints || context.shape(0).rank() != 1 || !starts || !ends || (context.has(3) && !steps))
    return std::nullopt;
  const auto ranges = slice_ranges(*this, 1, *starts, *ends, steps);
  if (!ranges.ok()) return std::nullopt;
  if (ranges->empty()) return ints;
  const auto r = resolve((*ranges)[0].range, context.shape(0)[0], "slice");
  return r.ok() ? pick(*ints, *r) : std::nullopt;
}

Result<StridedView> Slice::strided_view(const EvalContext& context) const {
  const Tensor& x = context.in(0);
  StridedView view{0, context.out(0).dims(), row_major_strides(x.dims())};
  std::optional<SymInts> steps;
  if (context.has(3)) steps = to_syms(context.in(3));
  const auto ranges =
      TRY(slice_ranges(*this, x.rank(), to_syms(context.in(1)), to_syms(context.in(2)), steps));
  for (const auto& [axis, range] : ranges) {
    const Resolved r = TRY(resolve(range, x.dim(axis), "slice"));
    auto& stride = view.strides[static_cast<size_t>(axis)];
    view.offset += r.first.value_or(0) * stride;
    stride *= r.step.value_or(1);
  }
  return view;
}

Status Slice::eval(EvalContext& context) const {
  copy_view(context.in(0), TRY(strided_view(context)), context.out(0));
  return {};
}

Result<TensorTypes> StridedSlice::infer(const InferContext& context) const {
  TRY(check_operands(context, "strided_slice"));
  const TensorType& x = context.type(0);
  TensorType out{x.dtype, Shape::unranked()};
  if (!x.shape.ranked()) return TensorTypes{out};
  const auto begin = values_of(context, 1), end = values_of(context, 2),
             strides = values_of(context, 3);
  if (!begin || !end || !strides) return TensorTypes{out};
  out.shape = Shape();
  for (const Entry& e : TRY(plan(*this, x.shape.rank(), *begin, *end, *strides))) {
    if (e.kind == Kind::new_axis) {
      out.shape.dims().push_back(1);
    } else if (e.kind == Kind::single) {
      const Dim d = x.shape[e.axis];
      if (d.known() && e.range.begin->value)
        TRY(wrap_index(*e.range.begin->value, d.size(), "strided_slice"));
    } else {
      out.shape.dims().push_back(TRY(resolve(e.range, x.shape[e.axis], "strided_slice")).count);
    }
  }
  return TensorTypes{out};
}

std::optional<SymInts> StridedSlice::infer_ints(const InferContext& context) const {
  const auto ints = small_ints(context, 0);
  const auto begin = context.ints(1), end = context.ints(2), strides = context.ints(3);
  if (!ints || context.shape(0).rank() > 1 || !begin || !end || !strides) return std::nullopt;
  if (context.shape(0).rank() == 0) return ints;
  const auto entries = plan(*this, 1, *begin, *end, *strides);
  if (!entries.ok()) return std::nullopt;
  const Dim d = context.shape(0)[0];
  for (const Entry& e : *entries) {
    if (e.kind == Kind::new_axis) continue;
    if (e.kind == Kind::range) {
      const auto r = resolve(e.range, d, "strided_slice");
      return r.ok() ? pick(*ints, *r) : std::nullopt;
    }
    if (!e.range.begin->value) return SymInts(1);
    const auto index = wrap_index(*e.range.begin->value, d.size(), "strided_slice");
    if (!index.ok()) return std::nullopt;
    return SymInts{(*ints)[static_cast<size_t>(*index)]};
  }
  return ints;
}

Result<StridedView> StridedSlice::strided_view(const EvalContext& context) const {
  const Tensor& x = context.in(0);
  const auto entries = TRY(plan(*this, x.rank(), to_syms(context.in(1)), to_syms(context.in(2)),
                                to_syms(context.in(3))));
  const auto strides = row_major_strides(x.dims());
  StridedView view{0, context.out(0).dims(), {}};
  auto& [offset, dims, steps] = view;
  for (const Entry& e : entries) {
    if (e.kind == Kind::new_axis) {
      steps.push_back(0);
      continue;
    }
    const int64_t stride = strides[static_cast<size_t>(e.axis)];
    if (e.kind == Kind::single) {
      offset += stride * TRY(wrap_index(*e.range.begin->value, x.dim(e.axis), "strided_slice"));
    } else {
      const Resolved r = TRY(resolve(e.range, x.dim(e.axis), "strided_slice"));
      offset += r.first.value_or(0) * stride;
      steps.push_back(stride * r.step.value_or(1));
    }
  }
  return view;
}

Status StridedSlice::eval(EvalContext& context) const {
  copy_view(context.in(0), TRY(strided_view(context)), context.out(0));
  return {};
}

constinit const OpDef Slice::def = define<Slice>();
constinit const OpDef StridedSlice::def = define<StridedSlice>();
OpDefs slice_ops() {
  return {&Slice::def, &StridedSlice::def};
}

}  // namespace tenon
