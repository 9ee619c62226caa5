// Transposed convolution as ordinary ones: output pixels of one phase (position modulo the stride)
// meet every stride-th element of the kernel. Each phase is a convolution of its own; a copy puts
// their pixels between each other.
#include "ops/conv_transpose.h"

#include <fmt/format.h>

#include "lower/movement.h"
#include "lower/product.h"
#include "ops/movement.h"

namespace tenon::lower {
namespace {

// One axis of one phase.
struct PhaseAxis {
  int64_t first = 0;  // of the kernel's elements, the first that meets
  int64_t taps = 0;   // how many do
  int64_t pad = 0;    // input elements before the first that the first output meets
  int64_t out = 0;    // output pixels of the phase
};

PhaseAxis phase_of(int64_t phase, int64_t stride, int64_t kernel, int64_t pad, int64_t out) {
  PhaseAxis a;
  a.first = (phase + pad) % stride;
  a.taps = kernel > a.first ? (kernel - a.first + stride - 1) / stride : 0;
  a.pad = a.taps - 1 - (phase + pad - a.first) / stride;
  a.out = (out - phase + stride - 1) / stride;
  return a;
}

// The kernel's elements of a phase, last first, as a filter [h, w, C, M] of an ordinary
// convolution.
Tensor phase_filter(const Tensor& w, const PhaseAxis& h, const PhaseAxis& x, int64_t sh, int64_t sw,
                    int64_t kernel_w, int64_t m, int64_t c) {
  std::vector<float> values(static_cast<size_t>(h.taps * x.taps * c * m));
  for (int64_t i = 0; i < h.taps; ++i)
    for (int64_t j = 0; j < x.taps; ++j) {
      const int64_t kh = h.first + (h.taps - 1 - i) * sh, kw = x.first + (x.taps - 1 - j) * sw;
      for (int64_t in = 0; in < c; ++in)
        for (int64_t out = 0; out < m; ++out)
          values[static_cast<size_t>(((i * x.taps + j) * c + in) * m + out)] =
              static_cast<float>(w.real_at(((kh * kernel_w + kw) * m + out) * c + in));
    }
  return Tensor::vector(values);
}

}  // namespace

Status lower_conv_transpose(Lowering& lowering, const Node& node) {
  const auto& op = *node.as<ConvTranspose>();
  const auto x = dims_of(node.input(0)), y = dims_of(node.output());
  auto w = dims_of(node.input(1));
  const Tensor* filter = node.input(1)->constant();
  if (filter == nullptr) return unsupported("the filter is no constant");
  if (op.groups != 1) return unsupported("transposed convolutions in groups");
  if (w.size() > 4) return unsupported("transposed convolutions over three dimensions");
  for (const int64_t d : op.dilations)
    if (d != 1) return unsupported("dilated transposed convolutions");
  // One dimension is two, the first of size 1.
  const bool one = w.size() == 3;
  const auto at = [&](std::span<const int64_t> v, size_t i, int64_t fallback) {
    if (one) return i == 0 ? fallback : (v.empty() ? fallback : v[0]);
    return i < v.size() ? v[i] : fallback;
  };
  const auto size = [&](const std::vector<int64_t>& d, size_t first, size_t i) {
    return one ? (i == 0 ? int64_t{1} : d[first]) : d[first + i];
  };
  const int64_t m = y.back(), c = x.back(), n = x[0];
  const int64_t out_h = size(y, 1, 0), out_w = size(y, 1, 1);
  const int64_t sh = at(op.strides, 0, 1), sw = at(op.strides, 1, 1), kw = size(w, 0, 1);
  std::vector<Piece> pieces;
  const int to = lowering.tensor_of(node.output());
  for (int64_t ph = 0; ph < sh; ++ph)
    for (int64_t pw = 0; pw < sw; ++pw) {
      const PhaseAxis h = phase_of(ph, sh, size(w, 0, 0), at(op.pads, 0, 0), out_h);
      const PhaseAxis v = phase_of(pw, sw, kw, at(op.pads, 1, 0), out_w);
      if (h.out <= 0 || v.out <= 0) continue;
      if (h.taps == 0 || v.taps == 0) return unsupported("strides beyond the kernel");
      // Pads that would cut input away shift the windows instead.
      if (h.pad < 0 || v.pad < 0) return unsupported("pads beyond the kernel");
      Product p;
      p.layer = fmt::format("{}.phase{}", layer_of(node), ph * sw + pw);
      const auto parts = std::make_shared<Tensor>(phase_filter(*filter, h, v, sh, sw, kw, m, c));
      p.b_constant = lowering.keep(parts);
      Windows win;
      win.height = size(x, 1, 0), win.width = size(x, 1, 1), win.channels = c;
      win.out_height = h.out, win.out_width = v.out;
      win.kernel = {1, h.taps, v.taps};
      win.pad = {0, h.pad, v.pad};
      p.rows = h.out * v.out, p.columns = m, p.k = h.taps * v.taps * c;
      p.batch = {{n, win.height * win.width * c, 0, p.rows * m, 0, 0}};
      p.a_row = c, p.y_row = m;
      p.windows = win;
      p.a = lowering.tensor_of(node.input(0));
      if (node.input(2) != nullptr) p.bias = lowering.tensor_of(node.input(2));
      p.activation = op.activation, p.alpha = op.alpha, p.beta = op.beta;
      const bool whole = sh == 1 && sw == 1;
      p.y = whole ? to : lowering.scratch(p.layer, lowering.real(), n * p.rows * m);
      TRY(add_product(lowering, node, p));
      pieces.push_back({p.y,
                        to,
                        {n, h.out, v.out, m},
                        row_major_strides(std::vector<int64_t>{n, h.out, v.out, m}),
                        {out_h * out_w * m, sh * out_w * m, sw * m, 1},
                        0,
                        (ph * out_w + pw) * m});
    }
  if (sh == 1 && sw == 1) return {};
  return move_pieces(lowering, node, layer_of(node) + ".interleave", pieces);
}

}  // namespace tenon::lower
