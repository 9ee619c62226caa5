#include "cost/product.h"

#include <algorithm>
#include <cmath>

#include "base/numbers.h"
#include "ops/conv.h"
#include "ops/conv_transpose.h"
#include "ops/matmul.h"
#include "ops/matmul_nbits.h"
#include "ops/quantized_product.h"

namespace tenon::cost {

double elements(const Value* v) {
  if (v == nullptr || !v->shape().ranked()) return 0;
  double n = 1;
  for (const Dim& d : v->shape().dims()) n *= static_cast<double>(d.size_or(1));
  return n;
}

double round_up(double v, double step) {
  return std::ceil(v / step) * step;
}

namespace {

// Of the taps of all results along a spatial dim, the share that reads what there is.
double share_inside(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t dilation,
                    int64_t pad) {
  int64_t inside = 0;
  for (int64_t k = 0; k < kernel; ++k) {
    const int64_t at = k * dilation - pad;  // of the first result
    const int64_t first = at >= 0 ? 0 : ceil_div(-at, stride);
    const int64_t end = at >= in ? 0 : ceil_div(in - at, stride);
    inside += std::clamp<int64_t>(std::min(end, out) - first, 0, out);
  }
  const int64_t all = out * kernel;
  return all == 0 ? 1 : static_cast<double>(inside) / static_cast<double>(all);
}

template <typename T>
double share_inside(const Node& node, const T& conv) {
  const Shape &x = node.input(0)->shape(), &w = node.input(1)->shape(), &y = node.output()->shape();
  const int dims = w.rank() - 2;
  if (!x.ranked() || !y.ranked() || std::ssize(conv.pads) != 2 * dims) return 1;
  const auto of = [](const std::vector<int64_t>& v, int d) {
    return v.empty() ? int64_t{1} : v[static_cast<size_t>(d)];
  };
  double share = 1;
  for (int d = 0; d < dims; ++d)
    share *=
        share_inside(x[d + 1].size_or(1), y[d + 1].size_or(1), w[d].size_or(1), of(conv.strides, d),
                     of(conv.dilations, d), conv.pads[static_cast<size_t>(d)]);
  return share;
}

// Of a convolution either way what its filter's spatial dims and its groups are.
Product taps_and_groups(const Shape& filter, int64_t groups) {
  Product p;
  for (int i = 0; i + 2 < filter.rank(); ++i) p.taps *= static_cast<double>(filter[i].size_or(1));
  p.groups = static_cast<double>(std::max<int64_t>(groups, 1));
  return p;
}

template <typename T>
Product conv_product(const Node& node, const T& conv) {
  const Shape& w = node.input(1)->shape();
  if (!w.ranked() || w.rank() < 3) return {};
  const int rank = w.rank();
  Product p = taps_and_groups(w, conv.groups);
  p.terms = p.taps * static_cast<double>(w[rank - 2].size_or(1));
  p.columns = static_cast<double>(w[rank - 1].size_or(1)) / p.groups;
  p.rows = elements(node.output()) / std::max(p.columns * p.groups, 1.0);
  p.inside = share_inside(node, conv);
  const auto is_one = [](int64_t v) { return v == 1; };
  p.unit_stride = std::ranges::all_of(conv.strides, is_one);
  if (!conv.strides.empty()) p.stride = static_cast<double>(conv.strides.back());
  p.is_dense = std::ranges::all_of(conv.dilations, is_one);
  const Shape& y = node.output()->shape();
  if (y.ranked() && y.rank() == 4 && rank == 4) {
    p.batch = static_cast<double>(y[0].size_or(1));
    p.height = static_cast<double>(y[1].size_or(1));
    p.width = static_cast<double>(y[2].size_or(1));
    p.kernel_height = static_cast<double>(w[0].size_or(1));
    p.kernel_width = static_cast<double>(w[1].size_or(1));
  }
  return p;
}

// A convolution for every phase of the strides.
Product transposed_product(const Node& node, const ConvTranspose& conv) {
  const Shape& w = node.input(1)->shape();
  if (!w.ranked() || w.rank() < 3) return {};
  const int rank = w.rank();
  Product p = taps_and_groups(w, conv.groups);
  for (const int64_t stride : conv.strides) p.taps /= static_cast<double>(stride);
  p.taps = std::max(p.taps, 1.0);
  p.columns = static_cast<double>(w[rank - 2].size_or(1));
  p.terms = p.taps * static_cast<double>(w[rank - 1].size_or(1)) / p.groups;
  p.rows = elements(node.output()) / std::max(p.columns * p.groups, 1.0);
  p.unit_stride = false;
  return p;
}

Product matmul_product(const Node& node, bool transposed) {
  Product p;
  const Shape& w = node.input(1)->shape();
  const int rank = w.ranked() ? w.rank() : 0;
  if (rank < 2) return p;
  p.columns = static_cast<double>(w[transposed ? rank - 2 : rank - 1].size_or(1));
  p.terms = static_cast<double>(w[transposed ? rank - 1 : rank - 2].size_or(1));
  p.rows = elements(node.output()) / std::max(p.columns, 1.0);
  return p;
}

}  // namespace

std::optional<Product> product_of(const Node& node) {
  if (const auto* conv = node.as<Conv>()) return conv_product(node, *conv);
  if (const auto* conv = node.as<QuantizedConv>()) return conv_product(node, *conv);
  if (const auto* conv = node.as<ConvTranspose>()) return transposed_product(node, *conv);
  if (const auto* matmul = node.as<Matmul>()) return matmul_product(node, matmul->transpose_b);
  if (node.as<QuantizedMatmul>() != nullptr) return matmul_product(node, false);
  const auto* few_bits = node.as<MatmulNbits>();
  if (few_bits == nullptr) return std::nullopt;
  Product p = matmul_product(node, false);
  if (few_bits->bits == 4) p.terms *= 2;  // two to a byte
  return p;
}

namespace {

constexpr double kColumns = 16, kCyclesPerProduct = 8, kLeastCycles = 146;

Tiling small_tiles(const Product& p) {
  const bool is_line = p.kernel_height == 1 || p.kernel_width == 1;
  const auto by = [&](double taps) {
    const double outputs = 7 - taps;
    Tiling t{is_line, std::ceil(p.kernel_height / taps) * std::ceil(p.kernel_width / taps)};
    t.tiles = p.batch * std::ceil(p.height / (p.kernel_height > 1 ? outputs : 1)) *
              std::ceil(p.width / (p.kernel_width > 1 ? outputs : 1));
    return std::pair{t.groups / (is_line ? outputs : outputs * outputs), t};
  };
  const auto three = by(3), four = by(4);
  return four.first < three.first ? four.second : three.second;
}

Tiling large_tiles(const Product& p) {
  return {.tiles = p.batch * std::ceil(p.height / 6) * std::ceil(p.width / 6), .inputs = 8};
}

double channels_of(const Product& p) {
  return p.terms / p.taps;
}

// `unit` channels are one of the products.
double cycles_of(const Product& p, const Tiling& t, double unit) {
  const double in = channels_of(p) / unit / kColumns, out = std::ceil(p.columns / kColumns);
  return t.frequencies() * t.groups * in * out *
             std::max(kCyclesPerProduct * t.tiles, kLeastCycles) +
         t.transform() * t.tiles * (t.groups * channels_of(p) / kColumns + out);
}

}  // namespace

Tiling tiling_of(const Product& p, DType dtype) {
  constexpr double kMostFilterBytes = 9 << 20, kFewestTiles = 64, kGain = 0.95;
  const Tiling small = small_tiles(p), large = large_tiles(p);
  const double bytes = 4 * large.frequencies() * channels_of(p) * round_up(p.columns, kColumns);
  const bool is_large = dtype == DType::f32 && p.taps == 9 && p.kernel_height == 3 &&
                        p.kernel_width == 3 && bytes <= kMostFilterBytes &&
                        large.tiles >= kFewestTiles &&
                        cycles_of(p, large, 1) < kGain * cycles_of(p, small, 1);
  return is_large ? large : small;
}

bool takes_winograd(const Product& p, DType dtype) {
  constexpr double kFewest = 32;
  if (dtype != DType::f32 && dtype != DType::bf16) return false;
  const double channels = channels_of(p);
  if (p.kernel_height * p.kernel_width <= 1 || p.groups != 1 || !p.unit_stride || !p.is_dense ||
      channels < kFewest || p.columns < kColumns ||
      (dtype == DType::bf16 && std::fmod(channels, kColumns) != 0))
    return false;
  const double unit = dtype == DType::bf16 ? 2 : 1;
  const Tiling t = small_tiles(p);
  const double direct = p.taps * channels / unit / kColumns * std::ceil(p.columns / kColumns) *
                        std::max(kCyclesPerProduct * p.rows, kLeastCycles);
  return cycles_of(p, t, unit) < (t.is_line ? 0.85 : 0.75) * direct;
}

}  // namespace tenon::cost
