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

constexpr Rule kRules[] = {
    {"Conv", {2, 3}, conv},
    {"ConvTranspose", {2, 3}, conv_transpose},
    {"Gemm", {2, 3}, gemm},
    {"MatMul", 2, matmul},
};

}  // namespace

Result<Value*> convolution(const RuleContext& c, Value* x, Value* w, Value* bias) {
  const Windows windows = TRY(windows_of(c, TRY(kernel_of(c, w))));
  const int rank = static_cast<int>(windows.size()) + 2;
  x = TRY(to_channels_last(c, x, rank));
  Value* y = TRY(c.op("conv", {x, TRY(filter(c, w)), bias},
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
