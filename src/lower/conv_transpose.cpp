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

// What all phases have in common; sizes of three dimensions.
struct Transposed {
  std::array<int64_t, 3> in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, pad{0, 0, 0};
  int64_t images = 1, channels = 1, columns = 1, groups = 1;
};
using Phase = std::array<PhaseAxis, 3>;

// The kernel's elements of a phase, last first, as a filter [d, h, w, C / groups, M] of an ordinary
// convolution.
Tensor phase_filter(const Tensor& w, const Transposed& t, const Phase& phase) {
  const int64_t c = t.channels / t.groups, m = t.columns / t.groups;
  std::vector<float> values;
  values.reserve(
      static_cast<size_t>(phase[0].taps * phase[1].taps * phase[2].taps * c * t.columns));
  const auto source = [&](size_t axis, int64_t tap) {
    return phase[axis].first + (phase[axis].taps - 1 - tap) * t.stride[axis];
  };
  for (int64_t i = 0; i < phase[0].taps; ++i)
    for (int64_t j = 0; j < phase[1].taps; ++j)
      for (int64_t k = 0; k < phase[2].taps; ++k) {
        const int64_t at = (source(0, i) * t.kernel[1] + source(1, j)) * t.kernel[2] + source(2, k);
        for (int64_t in = 0; in < c; ++in)
          for (int64_t out = 0; out < t.columns; ++out)
            values.push_back(
                static_cast<float>(w.real_at((at * m + out % m) * t.channels + out / m * c + in)));
      }
  return Tensor::vector(values);
}

// The product of one phase, without its operands.
Result<Product> phase_product(const Transposed& t, const Phase& phase) {
  Product p;
  Windows w;
  w.depth = t.in[0], w.height = t.in[1], w.width = t.in[2];
  w.channels = t.channels / t.groups;
  w.out_depth = phase[0].out, w.out_height = phase[1].out, w.out_width = phase[2].out;
  for (size_t i = 0; i < 3; ++i) w.kernel[i] = phase[i].taps, w.pad[i] = phase[i].pad;
  for (int64_t d = 0; d < w.out_depth; ++d)
    if (d - w.pad[0] >= w.depth || d + w.kernel[0] - 1 - w.pad[0] < 0)
      return unsupported("a plane of its result meets no plane of the input");
  const int64_t plane = w.out_height * w.out_width, m = t.columns / t.groups;
  p.rows = plane, p.columns = m;
  p.k = w.kernel[0] * w.kernel[1] * w.kernel[2] * w.channels;
  p.batch = {{t.images, w.depth * w.height * w.width * t.channels, 0,
              w.out_depth * plane * t.columns, 0, 0}};
  if (w.out_depth > 1) p.batch.push_back({w.out_depth, 0, 0, plane * t.columns, 0, 0});
  p.groups = t.groups;
  if (t.groups > 1) p.batch.push_back({t.groups, w.channels, 1, m, 0, m});
  p.a_row = t.channels, p.y_row = t.columns;
  p.windows = w;
  return p;
}

Result<Transposed> transposed_of(const Node& node, const ConvTranspose& op) {
  const auto x = dims_of(node.input(0)), w = dims_of(node.input(1)), y = dims_of(node.output());
  const size_t n = w.size() - 2;
  if (n > 3) return unsupported("transposed convolutions over more than three dimensions");
  for (const int64_t d : op.dilations)
    if (d != 1) return unsupported("dilated transposed convolutions");
  Transposed t;
  t.images = x[0], t.channels = x.back(), t.columns = y.back(), t.groups = op.groups;
  for (size_t i = 0; i < n; ++i) {
    const size_t at = 3 - n + i;
    t.in[at] = x[i + 1], t.out[at] = y[i + 1], t.kernel[at] = w[i];
    if (i < op.strides.size()) t.stride[at] = op.strides[i];
    if (i < op.pads.size()) t.pad[at] = op.pads[i];
  }
  return t;
}

// The input that a phase sees: pads beyond the kernel cut some away, and are none then.
Result<Transposed> without_cut(const Transposed& t, Phase& phase) {
  Transposed seen = t;
  for (size_t i = 0; i < 3; ++i) {
    if (phase[i].pad >= 0) continue;
    seen.in[i] += phase[i].pad;
    phase[i].pad = 0;
    if (seen.in[i] <= 0) return unsupported("a part of its result meets nothing of the input");
  }
  return seen;
}

Result<int> cut_input(Lowering& lowering, const Node& node, const std::string& layer,
                      const Transposed& t, const Transposed& seen) {
  const auto dims_with = [&](const Transposed& of) {
    return std::vector<int64_t>{t.images, of.in[0], of.in[1], of.in[2], t.channels};
  };
  const auto dims = dims_with(seen), strides = row_major_strides(dims_with(t));
  const int to = lowering.scratch(layer, lowering.real(), count_of(dims));
  Piece piece{lowering.tensor_of(node.input(0)), to, dims, strides, row_major_strides(dims), 0, 0};
  for (size_t i = 0; i < 3; ++i) piece.from_offset += (t.in[i] - seen.in[i]) * strides[i + 1];
  TRY(move_pieces(lowering, node, layer, {piece}));
  return to;
}

}  // namespace

Status lower_conv_transpose(Lowering& lowering, const Node& node) {
  const auto& op = *node.as<ConvTranspose>();
  const Tensor* filter = node.input(1)->constant();
  if (filter == nullptr) return unsupported("the filter is no constant");
  const Transposed t = TRY(transposed_of(node, op));
  const int64_t phases = t.stride[0] * t.stride[1] * t.stride[2];
  const int to = lowering.tensor_of(node.output());
  std::vector<Piece> pieces;
  for (int64_t number = 0; number < phases; ++number) {
    const std::array<int64_t, 3> at{number / (t.stride[1] * t.stride[2]),
                                    number / t.stride[2] % t.stride[1], number % t.stride[2]};
    Phase phase;
    bool empty = false;
    for (size_t i = 0; i < 3; ++i) {
      phase[i] = phase_of(at[i], t.stride[i], t.kernel[i], t.pad[i], t.out[i]);
      empty |= phase[i].out <= 0;
    }
    if (empty) continue;
    for (const PhaseAxis& axis : phase)
      if (axis.taps == 0) return unsupported("strides beyond the kernel");
    const std::string layer = fmt::format("{}.phase{}", layer_of(node), number);
    const Transposed seen = TRY(without_cut(t, phase));
    Product p = TRY(phase_product(seen, phase));
    p.layer = layer;
    p.b_constant = lowering.keep(std::make_shared<const Tensor>(phase_filter(*filter, t, phase)));
    p.a = lowering.tensor_of(node.input(0));
    if (seen.in != t.in) p.a = TRY(cut_input(lowering, node, layer + ".input", t, seen));
    if (node.input(2) != nullptr) p.bias = lowering.tensor_of(node.input(2));
    p.activation = op.activation, p.alpha = op.alpha, p.beta = op.beta;
    const std::vector<int64_t> dims{t.images, phase[0].out, phase[1].out, phase[2].out, t.columns};
    p.y = phases == 1 ? to : lowering.scratch(p.layer, lowering.real(), count_of(dims));
    TRY(add_product(lowering, node, p));
    const int64_t row = t.out[2] * t.columns, plane = t.out[1] * row;
    pieces.push_back(
        {p.y,
         to,
         dims,
         row_major_strides(dims),
         {t.out[0] * plane, t.stride[0] * plane, t.stride[1] * row, t.stride[2] * t.columns, 1},
         0,
         at[0] * plane + at[1] * row + at[2] * t.columns});
  }
  if (phases == 1) return {};
  return move_pieces(lowering, node, layer_of(node) + ".interleave", pieces);
}

}  // namespace tenon::lower
