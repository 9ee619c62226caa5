#include "import/onnx/windows.h"

#include <fmt/format.h>

#include <algorithm>

namespace tenon::onnx {
namespace {

// Sizes, strides and pads of a window; what is beyond is a damaged model.
constexpr int64_t kMaxWindow = int64_t{1} << 30;

// Pads that make the result ceil(size / stride) long.
void pad_same(const RuleContext& c, bool at_end, Windows& w) {
  const Shape& x = c.in(0)->shape();
  const size_t n = w.size();
  for (size_t i = 0; i < n; ++i) {
    int64_t total = w.span(i) - 1;
    if (w.strides[i] != 1) {
      const int axis = static_cast<int>(i) + 2;
      const Dim size = x.ranked() && axis < x.rank() ? x[axis] : Dim::unknown();
      if (!size.known()) {
        w.auto_pad = at_end ? "same_upper" : "same_lower";
        w.pads.clear();
        return;
      }
      const int64_t out = (size.size() + w.strides[i] - 1) / w.strides[i];
      total = std::max<int64_t>((out - 1) * w.strides[i] + w.span(i) - size.size(), 0);
    }
    w.pads[i] = at_end ? total / 2 : total - total / 2;
    w.pads[i + n] = total - w.pads[i];
  }
}

}  // namespace

Result<Value*> to_channels_last(const RuleContext& c, Value* x, int rank) {
  std::vector<int64_t> perm{0};
  for (int i = 2; i < rank; ++i) perm.push_back(i);
  perm.push_back(1);
  return c.transpose(x, std::move(perm));
}

Result<Value*> to_channels_first(const RuleContext& c, Value* x, int rank) {
  std::vector<int64_t> perm{0, rank - 1};
  for (int i = 1; i < rank - 1; ++i) perm.push_back(i);
  return c.transpose(x, std::move(perm));
}

Result<std::vector<int64_t>> window_list(const RuleContext& c, std::string_view name, size_t size,
                                         int64_t fallback, int64_t least) {
  std::vector<int64_t> values = TRY(c.get_ints(name));
  if (values.empty()) values.assign(size, fallback);
  if (values.size() != size)
    return invalid_model(fmt::format("attribute '{}' has {} elements, but {} are expected", name,
                                     values.size(), size));
  for (const int64_t v : values)
    if (v < least || v > kMaxWindow)
      return invalid_model(fmt::format("attribute '{}' has the element {}", name, v));
  return values;
}

Result<Windows> windows_of(const RuleContext& c, const std::vector<int64_t>& kernel) {
  Windows w;
  const size_t n = kernel.empty() ? TRY(c.get_ints("kernel_shape")).size() : kernel.size();
  if (n == 0) return invalid_model("attribute 'kernel_shape' is missing");
  w.kernel = TRY(window_list(c, "kernel_shape", n, 1, 1));
  if (!kernel.empty() && c.has_attr("kernel_shape") && w.kernel != kernel)
    return invalid_model("attribute 'kernel_shape' contradicts the shape of the weights");
  if (!kernel.empty()) w.kernel = kernel;
  const Shape& x = c.in(0)->shape();
  if (x.ranked() && static_cast<size_t>(x.rank()) != n + 2)
    return invalid_model(fmt::format("windows have {} dimensions, but the input is {}", n,
                                     c.in(0)->type().to_string()));
  w.strides = TRY(window_list(c, "strides", n, 1, 1));
  w.dilations = TRY(window_list(c, "dilations", n, 1, 1));
  w.ceil_mode = TRY(c.get_bool("ceil_mode", false));
  const std::string auto_pad = TRY(c.get_string("auto_pad", "NOTSET"));
  if (auto_pad == "NOTSET" || auto_pad.empty()) {
    w.pads = TRY(window_list(c, "pads", 2 * n, 0, 0));
    return w;
  }
  w.pads.assign(2 * n, 0);
  if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER")
    pad_same(c, auto_pad == "SAME_UPPER", w);
  else if (auto_pad != "VALID")
    return invalid_model(fmt::format("attribute 'auto_pad' is '{}'", auto_pad));
  return w;
}

}  // namespace tenon::onnx
