// Rules of pools, over windows and over whole images.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "import/onnx/rule.h"
#include "import/onnx/windows.h"
#include "ops/pool.h"

namespace tenon::onnx {
namespace {

// Larger dimensions are damage; products with strides do not overflow below.
constexpr int64_t kMaxSize = int64_t{1} << 31;

std::vector<Builder::Attr> attributes(const Windows& w) {
  return {{"kernel", w.kernel},       {"strides", w.strides},     {"pads", w.pads},
          {"dilations", w.dilations}, {"ceil_mode", w.ceil_mode}, {"auto_pad", w.auto_pad}};
}

std::vector<Builder::Attr> average_attributes(const Windows& w, bool count_pads) {
  return {{"kernel", w.kernel},       {"strides", w.strides},     {"pads", w.pads},
          {"dilations", w.dilations}, {"ceil_mode", w.ceil_mode}, {"count_include_pad", count_pads},
          {"auto_pad", w.auto_pad}};
}

// A pool that is a core op: channels last around it.
Result<Value*> pooled(const RuleContext& c, std::string_view name, Value* x, const Windows& w,
                      std::vector<Builder::Attr> attrs) {
  const int rank = static_cast<int>(w.size()) + 2;
  Value* y = TRY(c.op(name, {TRY(to_channels_last(c, x, rank))}, std::move(attrs)));
  return to_channels_first(c, y, rank);
}

// Positions in one image's plane, row-major, as positions in the whole tensor; column-major where
// storage_order asks for it.
Result<Value*> global_indices(const RuleContext& c, Value* planar, bool column_major) {
  Value* x = c.in(0);
  const int rank = planar->shape().rank();
  const auto dim = [&](int axis) { return c.dim(x, axis); };
  Value* index = planar;
  if (column_major) {
    // Peel coordinates off the end; the first dimension varies fastest in the new numbering.
    std::vector<Value*> coordinates;
    Value* rest = planar;
    for (int axis = rank - 1; axis >= 2; --axis) {
      Value* d = TRY(dim(axis));
      coordinates.insert(coordinates.begin(), TRY(c.op("floor_mod", {rest, d})));
      rest = TRY(c.op("floor_div", {rest, d}));
    }
    index = coordinates.back();
    for (int axis = rank - 2; axis >= 2; --axis) {
      index = TRY(c.op("mul", {index, TRY(dim(axis))}));
      index = TRY(c.op("add", {index, coordinates[static_cast<size_t>(axis) - 2]}));
    }
  }
  Value* images = TRY(c.op("mul", {TRY(dim(0)), TRY(dim(1))}));
  Value* plane = c.int_scalar(1);
  for (int axis = 2; axis < rank; ++axis) plane = TRY(c.op("mul", {plane, TRY(dim(axis))}));
  Value* first = TRY(c.op("range", {c.int_scalar(0), images, c.int_scalar(1)}));
  first = TRY(c.op("mul", {first, plane}));
  Value* leading = TRY(c.op("slice", {TRY(c.shape(x)), c.builder.ints({0}), c.builder.ints({2})}));
  std::vector<int64_t> ones(static_cast<size_t>(rank - 2), 1);
  Value* target = TRY(c.op("concat", {leading, c.builder.ints(ones)}));
  first = TRY(c.op("reshape", {first, target}, {{"allow_zero", true}}));
  return c.op("add", {index, first});
}

Result<Values> max_pool(RuleContext& c) {
  const Windows w = TRY(windows_of(c));
  Values results{TRY(pooled(c, "max_pool", c.in(0), w, attributes(w)))};
  if (!c.wants(1)) return results;
  (void)TRY(c.rank(0));
  Value* planar = TRY(pooled(c, "max_pool_index", c.in(0), w, attributes(w)));
  const bool column_major = TRY(c.get_bool("storage_order", false));
  results.push_back(TRY(global_indices(c, planar, column_major)));
  return results;
}

Result<Values> average_pool(RuleContext& c) {
  const Windows w = TRY(windows_of(c));
  const bool count_pads = TRY(c.get_bool("count_include_pad", false));
  return one(pooled(c, "avg_pool", c.in(0), w, average_attributes(w, count_pads)));
}

// The exponent of a p-norm; integers in all versions but the first.
Result<double> exponent(const RuleContext& c) {
  const AttributeProto* p = c.attr("p");
  const double value = p != nullptr && p->type == AttrType::real
                           ? TRY(c.get_float("p"))
                           : static_cast<double>(TRY(c.get_int("p", 2)));
  if (value < 1) return invalid_model(fmt::format("attribute 'p' is {}", value));
  return value;
}

Result<Value*> power(const RuleContext& c, Value* x, double p) {
  x = TRY(c.op("abs", {x}));
  if (p == 1) return x;
  return c.op("pow", {x, TRY(c.scalar_like(x, p))});
}

Result<Value*> root(const RuleContext& c, Value* x, double p) {
  if (p == 1) return x;
  if (p == 2) return c.op("sqrt", {x});
  return c.op("pow", {x, TRY(c.scalar_like(x, 1 / p))});
}

// (sum |x|^p)^(1/p): a mean of padded windows times their size.
Result<Values> lp_pool(RuleContext& c) {
  Windows w = TRY(windows_of(c));
  const double p = TRY(exponent(c));
  const size_t n = w.size();
  const Shape& shape = c.in(0)->shape();
  double taps = 1;
  for (size_t i = 0; i < n; ++i) {
    taps *= static_cast<double>(w.kernel[i]);
    if (!w.ceil_mode) continue;
    // The mean of a window that hangs over has another divisor: make it padding.
    const int axis = static_cast<int>(i) + 2;
    if (!shape.ranked() || !shape[axis].known() || w.pads.size() != 2 * n)
      return unsupported("ceil_mode needs the size of the input; give it with --input-shape");
    const int64_t room = shape[axis].size() + w.pads[i] + w.pads[i + n] - w.span(i);
    if (room > 0) w.pads[i + n] += (w.strides[i] - room % w.strides[i]) % w.strides[i];
  }
  w.ceil_mode = false;
  Value* x = TRY(power(c, c.in(0), p));
  Value* y = TRY(pooled(c, "avg_pool", x, w, average_attributes(w, true)));
  y = TRY(c.op("mul", {y, TRY(c.scalar_like(y, taps))}));
  return one(root(c, y, p));
}

Result<std::vector<int64_t>> image_axes(const RuleContext& c) {
  const int rank = TRY(c.rank(0));
  if (rank < 2) return invalid_model("the input needs dimensions for batch and channels");
  std::vector<int64_t> axes(static_cast<size_t>(rank - 2));
  std::iota(axes.begin(), axes.end(), 2);
  return axes;
}

Result<Value*> over_image(const RuleContext& c, std::string_view reduction, Value* x) {
  const auto axes = TRY(image_axes(c));
  if (axes.empty()) return x;
  return c.op(reduction, {x}, {{"axes", axes}, {"keep_dims", true}});
}

Result<Values> global_average_pool(RuleContext& c) {
  return one(over_image(c, "mean", c.in(0)));
}

Result<Values> global_max_pool(RuleContext& c) {
  return one(over_image(c, "reduce_max", c.in(0)));
}

Result<Values> global_lp_pool(RuleContext& c) {
  const double p = TRY(exponent(c));
  Value* sum = TRY(over_image(c, "sum", TRY(power(c, c.in(0), p))));
  return one(root(c, sum, p));
}

// (sum |x|^p)^(1/p) along an axis divides x.
Result<Values> lp_normalization(RuleContext& c) {
  const double p = TRY(exponent(c));
  const int64_t axis = TRY(c.get_int("axis", -1));
  Value* sum = TRY(c.op("sum", {TRY(power(c, c.in(0), p))},
                        {{"axes", std::vector<int64_t>{axis}}, {"keep_dims", true}}));
  return one(c.op("div_no_nan", {c.in(0), TRY(root(c, sum, p))}));
}

// An input's sizes by `factors` and then `more`: those of an open size when it is known.
Result<Value*> unpooled_sizes(RuleContext& c, const std::vector<int64_t>& factors,
                              const std::vector<int64_t>& more) {
  const Shape& x = c.in(0)->shape();
  if (!x.is_static()) {
    Value* sizes = TRY(c.op("mul", {TRY(c.shape(c.in(0))), c.builder.ints(factors)}));
    return c.op("add", {sizes, c.builder.ints(more)});
  }
  std::vector<int64_t> sizes = x.sizes();
  for (size_t i = 0; i < sizes.size(); ++i) {
    int64_t& size = sizes[i];
    if (size > kMaxSize) return invalid_model(fmt::format("a dimension of {} is too large", size));
    size = size * factors[i] + more[i];
    if (size < 1) return invalid_model("the pads cut off more than there is");
  }
  TRY(checked_elements(sizes, dtype_size(c.in(0)->dtype())));
  return c.builder.ints(sizes);
}

// The pool that found these places, where every place is known to be within its own window: windows
// side by side without pads, the same that values go back through. Null for all others.
const Node* pool_of_places(const Value* places, const Windows& w) {
  const Node* whole = places->producer();
  if (whole == nullptr || !whole->is("add")) return nullptr;
  const Node* planar = whole->input(0)->producer();
  if (planar == nullptr || !planar->is("transpose")) return nullptr;
  const Node* pool = planar->input(0)->producer();
  const auto* op = pool == nullptr ? nullptr : pool->as<MaxPoolIndex>();
  if (op == nullptr || op->auto_pad != AutoPad::none) return nullptr;
  const auto are = [](const std::vector<int64_t>& all, int64_t value) {
    return std::ranges::all_of(all, [=](int64_t v) { return v == value; });
  };
  if (op->kernel != w.kernel || op->strides != w.kernel || w.strides != w.kernel) return nullptr;
  if (!are(op->pads, 0) || !are(w.pads, 0) || !are(op->dilations, 1)) return nullptr;
  // What is left over at the end belongs to no window, and places count through it.
  const Shape &x = pool->input(0)->shape(), &y = pool->output()->shape();
  for (size_t i = 0; i < w.size(); ++i) {
    const int axis = static_cast<int>(i) + 1;
    if (!x[axis].known() || !y[axis].known() || x[axis].size() != y[axis].size() * w.kernel[i])
      return nullptr;
  }
  return y[y.rank() - 1].known() ? pool : nullptr;
}

// Every value spread over its window, zero but for its own place: no window needs more than itself.
Result<Value*> unpooled_in_windows(const RuleContext& c, const Node& pool, const Windows& w) {
  const int rank = static_cast<int>(w.size()) + 2;
  const Shape& shape = pool.output()->shape();
  std::vector<int64_t> apart{-1}, joined{-1}, sizes, windows;
  for (size_t i = 0; i < w.size(); ++i) {
    const int64_t count = shape[static_cast<int>(i) + 1].size();
    apart.insert(apart.end(), {count, 1});
    windows.insert(windows.end(), {count, w.kernel[i]});
    joined.push_back(count * w.kernel[i]);
    sizes.push_back(joined.back());
  }
  for (auto* list : {&apart, &joined}) list->push_back(shape[rank - 1].size());
  windows.push_back(1);
  std::vector<int64_t> places(static_cast<size_t>(TRY(checked_elements(sizes, sizeof(int64_t)))));
  std::iota(places.begin(), places.end(), 0);
  Value* own = c.builder.constant(Tensor::vector(places).reshaped(std::move(windows)));
  Value* x = TRY(c.reshape(TRY(to_channels_last(c, c.in(0), rank)), apart));
  Value* found = TRY(c.reshape(pool.output(), apart));
  Value* is_here = TRY(c.op("equal", {found, own}));
  Value* y = TRY(c.op("select", {is_here, x, TRY(c.scalar_like(x, 0))}));
  return to_channels_first(c, TRY(c.reshape(y, joined)), rank);
}

// Values scattered to their places in the whole tensor.
Result<Value*> scattered(const RuleContext& c, Value* sizes) {
  Value* total =
      TRY(c.op("prod", {sizes}, {{"axes", std::vector<int64_t>{0}}, {"keep_dims", true}}));
  Value* zeros = TRY(c.op("expand", {TRY(c.scalar_like(c.in(0), 0)), total}));
  Value* at = TRY(c.reshape(c.in(1), {-1}));
  Value* values = TRY(c.reshape(c.in(0), {-1}));
  return c.op("reshape", {TRY(c.op("scatter_elements", {zeros, at, values})), sizes});
}

// Puts values back to where max_pool found them; a larger output_shape is filled up at the end.
Result<Values> max_unpool(RuleContext& c) {
  const Windows w = TRY(windows_of(c));
  const size_t n = w.size();
  if (w.pads.size() != 2 * n || TRY(c.rank(0)) != static_cast<int>(n) + 2)
    return invalid_model("the input does not fit kernel_shape or pads");
  std::vector<int64_t> factors(n + 2, 1), more(n + 2, 0);
  for (size_t i = 0; i < n; ++i) {
    factors[i + 2] = w.strides[i];
    more[i + 2] = w.kernel[i] - w.strides[i] - w.pads[i] - w.pads[i + n];
  }
  Value* sizes = TRY(unpooled_sizes(c, factors, more));
  const Node* pool = pool_of_places(c.in(1), w);
  Value* y = TRY(pool != nullptr ? unpooled_in_windows(c, *pool, w) : scattered(c, sizes));
  if (!c.has(2)) return Values{y};
  Value* missing = TRY(c.op("sub", {c.in(2), sizes}));
  Value* none = c.builder.ints(std::vector<int64_t>(n + 2, 0));
  Value* pads = TRY(c.op("concat", {none, missing}, {{"axis", int64_t{0}}}));
  return one(c.op("pad", {y, pads}));
}

constexpr Rule kRules[] = {
    {"AveragePool", 1, average_pool},
    {"GlobalAveragePool", 1, global_average_pool},
    {"GlobalLpPool", 1, global_lp_pool},
    {"GlobalMaxPool", 1, global_max_pool},
    {"LpNormalization", 1, lp_normalization},
    {"LpPool", 1, lp_pool},
    {"MaxPool", 1, max_pool},
    {"MaxUnpool", {2, 3}, max_unpool},
};

}  // namespace

std::span<const Rule> pool_rules() {
  return kRules;
}

}  // namespace tenon::onnx
