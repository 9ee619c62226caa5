// Rules of convolutions and matrix products. The core ops are channels last: tensors are transposed
// around them, and the passes cancel what meets.
#include <fmt/format.h>

#include <algorithm>

#include "import/onnx/rule.h"
#include "import/onnx/windows.h"

namespace tenon::onnx {
namespace {

// The weights [M, C/groups, kernel…] (or [C, M/groups, kernel…]): kernel… from their shape.
Result<std::vector<int64_t>> kernel_of(const RuleContext& c, const Value* w) {
  const Shape& shape = w->shape();
  if (!shape.ranked()) return unsupported("the number of dimensions of the weights is not known");
  if (shape.rank() < 3)
    return invalid_model(
        fmt::format("the weights are {}, but need 3 dimensions or more", w->type().to_string()));
  std::vector<int64_t> kernel;
  for (int i = 2; i < shape.rank(); ++i) {
    if (!shape[i].known() && c.has_attr("kernel_shape")) return c.get_ints("kernel_shape");
    if (!shape[i].known()) return unsupported("the shape of the weights is not known");
    if (shape[i].size() < 1) return invalid_model("the weights are empty");
    kernel.push_back(shape[i].size());
  }
  return kernel;
}

// [A, B, kernel…] to [kernel…, B, A].
Result<Value*> filter(const RuleContext& c, Value* w) {
  const int rank = w->shape().rank();
  std::vector<int64_t> perm;
  for (int i = 2; i < rank; ++i) perm.push_back(i);
  perm.push_back(1);
  perm.push_back(0);
  return c.transpose(w, std::move(perm));
}

Result<int64_t> groups_of(const RuleContext& c) {
  const int64_t groups = TRY(c.get_int("group", 1));
  if (groups < 1) return invalid_model(fmt::format("attribute 'group' is {}", groups));
  return groups;
}

Result<Values> conv(RuleContext& c) {
  return one(convolution(c, c.in(0), c.in(1), c.in(2)));
}

// What output_shape or auto_pad makes of the pads: the result is cut, or grows at its end.
Status fit_output(const RuleContext& c, Windows& w, std::vector<int64_t>& output_padding) {
  const std::string auto_pad = TRY(c.get_string("auto_pad", "NOTSET"));
  const bool same = auto_pad.starts_with("SAME");
  std::vector<int64_t> wanted = TRY(c.get_ints("output_shape"));
  const size_t n = w.size();
  if (wanted.size() == n + 2) wanted.erase(wanted.begin(), wanted.begin() + 2);
  if (!wanted.empty() && wanted.size() != n)
    return invalid_model(fmt::format(
        "attribute 'output_shape' has {} elements, but {} are expected", wanted.size(), n));
  if (wanted.empty() && !same) return {};
  const Shape& x = c.in(0)->shape();
  for (size_t i = 0; i < n; ++i) {
    const int axis = static_cast<int>(i) + 2;
    int64_t total = w.span(i) - w.strides[i] + output_padding[i];
    if (!wanted.empty()) {
      if (!x.ranked() || !x[axis].known())
        return unsupported("output_shape needs the size of the input; give it with --input-shape");
      if (x[axis].size() > (int64_t{1} << 31))
        return invalid_model(fmt::format("a dimension of {} is too large", x[axis].size()));
      if (wanted[i] < 0 || wanted[i] > (int64_t{1} << 40))
        return invalid_model(fmt::format("attribute 'output_shape' has the element {}", wanted[i]));
      total = w.strides[i] * (x[axis].size() - 1) + output_padding[i] + w.span(i) - wanted[i];
    }
    if (total < 0) output_padding[i] -= total;
    total = std::max<int64_t>(total, 0);
    w.pads[i] = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
    w.pads[i + n] = total - w.pads[i];
  }
  return {};
}

Result<Values> conv_transpose(RuleContext& c) {
  const auto kernel = TRY(kernel_of(c, c.in(1)));
  const size_t n = kernel.size();
  Windows w;
  w.kernel = kernel;
  w.strides = TRY(window_list(c, "strides", n, 1, 1));
  w.dilations = TRY(window_list(c, "dilations", n, 1, 1));
  w.pads = TRY(window_list(c, "pads", 2 * n, 0, 0));
  const int rank = static_cast<int>(n) + 2;
  if (c.in(0)->shape().ranked() && c.in(0)->shape().rank() != rank)
    return invalid_model(fmt::format("the weights have {} dimensions, but the input is {}", rank,
                                     c.in(0)->type().to_string()));
  auto output_padding = TRY(window_list(c, "output_padding", n, 0, 0));
  TRY(fit_output(c, w, output_padding));
  Value* x = TRY(to_channels_last(c, c.in(0), rank));
  Value* y = TRY(c.op("conv_transpose", {x, TRY(filter(c, c.in(1))), c.in(2)},
                      {{"strides", w.strides},
                       {"pads", w.pads},
                       {"dilations", w.dilations},
                       {"groups", TRY(groups_of(c))},
                       {"output_padding", output_padding}}));
  return one(to_channels_first(c, y, rank));
}

Result<Values> matmul(RuleContext& c) {
  return one(matrix_product(c, c.in(0), c.in(1)));
}

Result<Value*> scaled(const RuleContext& c, Value* x, double factor) {
  if (factor == 1) return x;
  return c.op("mul", {x, TRY(c.scalar_like(x, factor))});
}

Result<Values> gemm(RuleContext& c) {
  const double alpha = TRY(c.get_float("alpha", 1)), beta = TRY(c.get_float("beta", 1));
  Value* y = TRY(c.op("matmul", {c.in(0), c.in(1)},
                      {{"transpose_a", TRY(c.get_bool("transA", false))},
                       {"transpose_b", TRY(c.get_bool("transB", false))}}));
  y = TRY(scaled(c, y, alpha));
  if (!c.has(2) || beta == 0) return Values{y};
  return one(c.op("add", {y, TRY(scaled(c, c.in(2), beta))}));
}

// Windows whose elements are moved by offsets: the image is sampled where they fall, for all taps
// at once, then one product with the weights.
Result<Values> deform_conv(RuleContext& c) {
  if (TRY(c.rank(0)) != 4 || TRY(c.rank(1)) != 4 || TRY(c.rank(2)) != 4)
    return unsupported("a deformed convolution of other than 2 spatial dimensions");
  const Windows windows = TRY(windows_of(c, TRY(kernel_of(c, c.in(1)))));
  const Shape& x = c.in(0)->shape();
  const Shape& w = c.in(1)->shape();
  const Shape& offset = c.in(2)->shape();
  for (const Dim d : {x[1], x[2], x[3], w[0], offset[2], offset[3]})
    if (!d.known() || d.size() < 1)
      return unsupported("the sizes of images must be known; give them with --input-shape");
  if (windows.pads.size() != 4) return unsupported("the pads are not known");
  const int64_t groups = TRY(groups_of(c)), parts = TRY(c.get_int("offset_group", 1));
  const int64_t channels = x[1].size(), filters = w[0].size();
  const int64_t rows = offset[2].size(), columns = offset[3].size();
  const int64_t taps = windows.kernel[0] * windows.kernel[1];
  if (groups < 1 || parts < 1 || channels % groups != 0 || channels % parts != 0 ||
      filters % groups != 0 || taps > int64_t{1} << 20)
    return invalid_model("the channels are no multiple of the groups");
  // Where each tap of each window is without an offset, and what maps it to -1 … 1.
  const auto axis = [&](int64_t i, int64_t n, bool of_rows) -> Result<Value*> {
    const auto a = static_cast<size_t>(i);
    std::vector<float> at;
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t out = 0; out < n; ++out) {
        const int64_t step = of_rows ? tap / windows.kernel[1] : tap % windows.kernel[1];
        at.push_back(static_cast<float>(out * windows.strides[a] - windows.pads[a] +
                                        step * windows.dilations[a]));
      }
    Value* base = c.builder.constant(Tensor::vector(at));
    base = TRY(c.reshape(
        base, of_rows ? std::vector<int64_t>{1, taps, n, 1} : std::vector<int64_t>{1, taps, 1, n}));
    // [N * parts, taps, 2, rows, columns] holds y and x in turn.
    Value* moved = TRY(c.reshape(c.in(2), {-1, taps, 2, rows, columns}));
    moved = TRY(c.op("gather", {moved, c.int_scalar(i)}, {{"axis", int64_t{2}}}));
    Value* place = TRY(c.op("add", {TRY(c.cast(moved, DType::f32)), base}));
    const auto size = static_cast<double>(x[static_cast<int>(i) + 2].size());
    place = TRY(c.op("mul", {place, TRY(c.scalar(DType::f32, 2 / size))}));
    place = TRY(c.op("add", {place, TRY(c.scalar(DType::f32, 1 / size - 1))}));
    return c.reshape(place, {-1, taps * rows, columns, 1});
  };
  Value* grid = TRY(c.op("concat", {TRY(axis(1, columns, false)), TRY(axis(0, rows, true))},
                         {{"axis", int64_t{3}}}));
  Value* images = TRY(c.reshape(c.in(0), {-1, channels / parts, x[2].size(), x[3].size()}));
  images = TRY(to_channels_last(c, images, 4));
  Value* y = TRY(c.op("grid_sample", {images, TRY(c.cast(grid, images->dtype()))}));
  if (c.has(4)) y = TRY(c.op("mul", {y, TRY(c.reshape(c.in(4), {-1, taps * rows, columns, 1}))}));
  y = TRY(to_channels_first(c, y, 4));
  y = TRY(c.reshape(y, {-1, groups, channels / groups * taps, rows * columns}));
  Value* weights = TRY(c.reshape(c.in(1), {groups, filters / groups, -1}));
  y = TRY(c.reshape(TRY(c.op("matmul", {weights, y})), {-1, filters, rows, columns}));
  if (!c.has(3)) return Values{y};
  return one(c.op("add", {y, TRY(c.reshape(c.in(3), {1, -1, 1, 1}))}));
}

constexpr Rule kRules[] = {
    {"Conv", {2, 3}, conv},
    {"ConvTranspose", {2, 3}, conv_transpose},
    {"DeformConv", {3, 5}, deform_conv, 19},
    {"Gemm", {2, 3}, gemm},
    {"MatMul", 2, matmul},
};

}  // namespace

Result<Value*> convolution(const RuleContext& c, Value* x, Value* w, Value* bias) {
  return convolution(c, "conv", x, w, {bias});
}

Result<Value*> convolution(const RuleContext& c, std::string_view op, Value* x, Value* w,
                           std::initializer_list<Value*> more) {
  const Windows windows = TRY(windows_of(c, TRY(kernel_of(c, w))));
  const int rank = static_cast<int>(windows.size()) + 2;
  std::vector<Value*> operands{TRY(to_channels_last(c, x, rank)), TRY(filter(c, w))};
  operands.insert(operands.end(), more);
  Value* y = TRY(c.op(op, std::move(operands),
                      {{"strides", windows.strides},
                       {"pads", windows.pads},
                       {"dilations", windows.dilations},
                       {"groups", TRY(groups_of(c))},
                       {"auto_pad", windows.auto_pad}}));
  return to_channels_first(c, y, rank);
}

// The core op wants matrices, which factors of unknown rank are taken for.
Result<Value*> matrix_product(const RuleContext& c, Value* a, Value* b) {
  const auto is_vector = [](const Value* v) {
    return v->shape().ranked() && v->shape().rank() == 1;
  };
  for (const Value* v : {a, b})
    if (v->shape().ranked() && v->shape().rank() == 0)
      return invalid_model("a matrix product of a scalar");
  std::vector<int64_t> gone;
  if (is_vector(a)) {
    a = TRY(c.op("expand_dims", {a}, {{"axes", std::vector<int64_t>{0}}}));
    gone.push_back(-2);
  }
  if (is_vector(b)) {
    b = TRY(c.op("expand_dims", {b}, {{"axes", std::vector<int64_t>{1}}}));
    gone.push_back(-1);
  }
  Value* y = TRY(c.op("matmul", {a, b}));
  return gone.empty() ? Result<Value*>(y) : c.op("squeeze", {y}, {{"axes", gone}});
}

std::span<const Rule> conv_rules() {
  return kRules;
}

}  // namespace tenon::onnx
