#include "lower/whole_range.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>

#include "ops/unary_attr.h"

namespace tenon::lower {
namespace {

using Range = WholeRanges::Range;
constexpr Range kI32{std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};
// Nothing larger is of interest; sums and products of two fit into 128 bits.
constexpr int64_t kMost = int64_t{1} << 62;

std::optional<Range> of_dtype(DType dtype) {
  switch (dtype) {
    case DType::boolean:
      return Range{0, 1};
    case DType::i8:
      return Range{-128, 127};
    case DType::u8:
      return Range{0, 255};
    case DType::i16:
      return Range{-32768, 32767};
    case DType::u16:
      return Range{0, 65535};
    case DType::i32:
      return kI32;
    default:
      return std::nullopt;
  }
}

std::optional<Range> of_tensor(const Tensor& t) {
  constexpr int64_t kMostElements = 1 << 20;
  if (t.is_list() || !is_int(t.dtype()) || t.elements() == 0 || t.elements() > kMostElements)
    return std::nullopt;
  Range r{t.int_at(0), t.int_at(0)};
  for (int64_t i = 1; i < t.elements(); ++i)
    r = {std::min(r.low, t.int_at(i)), std::max(r.high, t.int_at(i))};
  return r;
}

std::optional<Range> of_known(const SymInts& ints) {
  std::optional<Range> r;
  for (const SymInt& i : ints) {
    if (!i.value) return std::nullopt;
    r = r ? Range{std::min(r->low, *i.value), std::max(r->high, *i.value)}
          : Range{*i.value, *i.value};
  }
  return r;
}

// From the results at the ends of both.
template <typename F>
std::optional<Range> of_ends(const Range& a, const Range& b, const F& f) {
  using Wide = __int128;
  std::array<Wide, 4> ends{f(Wide{a.low}, Wide{b.low}), f(Wide{a.low}, Wide{b.high}),
                           f(Wide{a.high}, Wide{b.low}), f(Wide{a.high}, Wide{b.high})};
  const auto [low, high] = std::ranges::minmax(ends);
  if (low < -kMost || high > kMost) return std::nullopt;
  return Range{static_cast<int64_t>(low), static_cast<int64_t>(high)};
}

std::optional<Range> of_two(std::string_view op, const Range& a, const Range& b) {
  if (op == "add") return of_ends(a, b, [](auto x, auto y) { return x + y; });
  if (op == "sub") return of_ends(a, b, [](auto x, auto y) { return x - y; });
  if (op == "mul") return of_ends(a, b, [](auto x, auto y) { return x * y; });
  if (op == "min") return Range{std::min(a.low, b.low), std::min(a.high, b.high)};
  if (op == "max") return Range{std::max(a.low, b.low), std::max(a.high, b.high)};
  if (b.low < 1) return std::nullopt;
  if (op == "floor_mod") return Range{0, b.high - 1};
  if (op == "trunc_mod") return Range{a.low < 0 ? 1 - b.high : 0, b.high - 1};
  if (op == "div" || op == "floor_div")
    return Range{std::min<int64_t>(a.low, 0), std::max<int64_t>(a.high, 0)};
  return std::nullopt;
}

bool is_among(std::string_view op, std::span<const std::string_view> names) {
  return std::ranges::find(names, op) != names.end();
}

}  // namespace

std::optional<Range> WholeRanges::of(const Value* value) {
  constexpr int kDeepest = 100;
  if (const auto known = known_.find(value); known != known_.end()) return known->second;
  if (depth_ >= kDeepest) return of_dtype(value->dtype());
  ++depth_;
  const auto range = find(value);
  --depth_;
  known_[value] = range;
  return range;
}

bool WholeRanges::fits_i32(const Value* value) {
  const auto r = of(value);
  return r && r->low >= kI32.low && r->high <= kI32.high;
}

std::optional<Range> WholeRanges::find(const Value* value) {
  if (const auto outer = outer_.find(value); outer != outer_.end()) return of(outer->second);
  if (value->type().is_list) return std::nullopt;
  if (const Tensor* t = value->constant()) return of_tensor(*t);
  if (value->ints())
    if (const auto r = of_known(*value->ints())) return r;
  if (value->producer() != nullptr)
    if (const auto r = made_by(*value->producer(), value)) return r;
  return of_dtype(value->dtype());
}

std::optional<Range> WholeRanges::of_all(const Node& node, int first, int count) {
  std::optional<Range> all;
  for (int i = first; i < first + count; ++i) {
    const auto r = node.input(i) == nullptr ? std::nullopt : of(node.input(i));
    if (!r) return std::nullopt;
    all = all ? Range{std::min(all->low, r->low), std::max(all->high, r->high)} : *r;
  }
  return all;
}

std::optional<Range> WholeRanges::made_by(const Node& node, const Value* value) {
  static constexpr std::string_view kMoves[] = {
      "transpose", "slice",     "strided_slice",   "expand",  "tile",       "split",
      "gather",    "gather_nd", "gather_elements", "reverse", "reduce_max", "reduce_min"};
  static constexpr std::string_view kPlaces[] = {"arg_max", "arg_min", "max_pool_index", "top_k"};
  static constexpr std::string_view kOfTwo[] = {"add",       "sub",       "mul", "min",      "max",
                                                "floor_mod", "trunc_mod", "div", "floor_div"};
  const std::string_view op = node.def().name;
  if (!node.regions().empty()) {
    if (!node.is("fused")) return std::nullopt;
    const Graph& region = *node.regions()[0];
    for (size_t i = 0; i < region.inputs().size(); ++i)
      bind(region.inputs()[i].get(), node.input(static_cast<int>(i)));
    for (int i = 0; i < node.output_count(); ++i)
      if (node.output(i) == value) return of(region.outputs()[static_cast<size_t>(i)]);
    return std::nullopt;
  }
  if (node.def().has(kView) || node.is("identity") || is_among(op, kMoves))
    return of_all(node, 0, 1);
  if (is_among(op, kPlaces)) {
    // Places within the operand; of top_k the second result.
    const auto n = node.input(0)->shape().elements();
    if (!n || is_float(value->dtype()) || (node.is("top_k") && value == node.output(0)))
      return std::nullopt;
    return Range{0, *n};
  }
  if (op == "sum") {
    const auto each = of(node.input(0));
    const auto all = node.input(0)->shape().elements(), sums = value->shape().elements();
    if (!each || !all || !sums || *sums == 0) return std::nullopt;
    return of_two("mul", *each, {*all / *sums, *all / *sums});
  }
  if (op == "cumsum") {
    const auto each = of(node.input(0));
    const auto all = value->shape().elements();
    return each && all ? of_two("mul", *each, {0, *all}) : std::nullopt;
  }
  if (op == "concat") return of_all(node, 0, node.input_count());
  if (op == "select") return of_all(node, 1, 2);
  if (op == "one_hot") return of_all(node, 2, 2);
  if (op == "cast") return is_float(node.input(0)->dtype()) ? std::nullopt : of(node.input(0));
  if (is_among(op, kOfTwo)) {
    const auto a = of(node.input(0)), b = of(node.input(1));
    return a && b ? of_two(op, *a, *b) : std::nullopt;
  }
  if (op == "neg") {
    const auto a = of(node.input(0));
    return a ? of_two("sub", {0, 0}, *a) : std::nullopt;
  }
  if (op == "abs") {
    const auto a = of(node.input(0));
    if (!a || a->low < -kMost) return std::nullopt;
    return Range{0, std::max(-a->low, a->high)};
  }
  return std::nullopt;
}

}  // namespace tenon::lower
