// Pools and depthwise convolutions as windows, and the pieces of those that have no room on a core.
#include "lower/window.h"

#include <algorithm>
#include <array>

#include "ops/conv.h"
#include "ops/pool.h"

namespace tenon::lower {
namespace {

template <typename Op>
Result<Window> window_of(const Node& node, const Op& op, std::span<const int64_t> kernel) {
  const auto x = dims_of(node.input(0)), y = dims_of(node.output());
  const size_t n = kernel.size();
  if (n > 3) return unsupported("windows over more than three dimensions");
  const auto pads = effective_pads(op, kernel, std::span(x).subspan(1));
  const auto three = [&](std::span<const int64_t> values, int64_t fallback) {
    std::array<int64_t, 3> out{fallback, fallback, fallback};
    for (size_t i = 0; i < n && i < values.size(); ++i) out[3 - n + i] = values[i];
    return out;
  };
  Window p;
  const auto in = three(std::span(x).subspan(1), 1), out = three(std::span(y).subspan(1), 1);
  p.images = x[0];
  p.w = {in[0],
         in[1],
         in[2],
         x.back(),
         out[0],
         out[1],
         out[2],
         three(kernel, 1),
         three(op.strides, 1),
         three(op.dilations, 1),
         three(pads, 0)};
  for (const int64_t pad : p.w.pad)
    if (pad < 0) return unsupported("negative pads");
  if (count_of(y) == 0) return unsupported("it has no elements");
  return p;
}

// Output pixels [first, first + count) of every row.
Result<Window> piece_of(const Window& whole, int64_t first, int64_t count) {
  Window p = whole;
  Windows& w = p.w;
  const int64_t begin = first * w.stride[2] - w.pad[2];
  const int64_t reach = (count - 1) * w.stride[2] + (w.kernel[2] - 1) * w.dilation[2] + 1;
  const int64_t from = std::max<int64_t>(begin, 0), to = std::min(begin + reach, w.width);
  if (to <= from) return unsupported("a part of its result is made of pads alone");
  p.first_in = from, p.first_out = first, p.out_pitch = w.out_width;
  w.pitch = w.width, w.width = to - from, w.pad[2] = from - begin;
  w.out_width = count;
  return p;
}

// Rows that have no room on a core are done in pieces, each a kernel.
Status add_window(Lowering& lowering, const Node& node, const Window& p) {
  Status status = lower_window_kernel(lowering, node, p);
  for (int64_t size = (p.w.out_width + 1) / 2;
       !status.ok() && status.error().code == Code::unsupported; size = (size + 1) / 2) {
    for (int64_t first = 0; first < p.w.out_width; first += size) {
      const Window piece = TRY(piece_of(p, first, std::min(size, p.w.out_width - first)));
      status = lower_window_kernel(lowering, node, piece);
      // The first is as large as any.
      if (!status.ok()) break;
    }
    if (size == 1) break;
  }
  return status;
}

}  // namespace

Status lower_window(Lowering& lowering, const Node& node) {
  if (!is_float(node.output()->dtype()) && !node.is("max_pool"))
    return unsupported("it is not of reals");
  if (const auto* op = node.as<MaxPool>())
    return add_window(lowering, node, TRY(window_of(node, *op, op->kernel)));
  if (const auto* op = node.as<AvgPool>()) {
    Window p = TRY(window_of(node, *op, op->kernel));
    p.kind = WindowKind::average;
    p.count_pads = op->count_include_pad;
    if (op->count_include_pad && op->ceil_mode)
      return unsupported("averages that count pads, rounded up");
    return add_window(lowering, node, p);
  }
  const auto& op = *node.as<Conv>();
  const auto w = dims_of(node.input(1));
  Window p = TRY(window_of(node, op, std::span(w).first(w.size() - 2)));
  p.kind = WindowKind::depthwise;
  p.filter = node.input(1)->constant();
  if (p.filter == nullptr) return unsupported("the filter is no constant");
  p.finish.activation = op.activation, p.finish.alpha = op.alpha, p.finish.beta = op.beta;
  if (node.input(2) != nullptr) p.finish.bias = lowering.tensor_of(node.input(2));
  if (node.input(3) != nullptr) p.finish.residual = lowering.tensor_of(node.input(3));
  return add_window(lowering, node, p);
}

}  // namespace tenon::lower
