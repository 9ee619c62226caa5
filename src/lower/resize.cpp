// Resizing as products: along one axis every way to interpolate is a matrix over the input's
// elements, whose rows are the weights of one output element. What only repeats elements is a copy,
// what is not of reals is picked.
#include "ops/resize.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "lower/gather.h"
#include "lower/movement.h"
#include "lower/pack.h"
#include "lower/product.h"
#include "ops/scale_and_translate.h"

namespace tenon::lower {
namespace {

// Whether each element becomes the same number of copies of it side by side.
bool is_repeat(const Resize& op, size_t axis, int64_t in, int64_t out) {
  if (out % in != 0) return false;
  for (int64_t o = 0; o < out; ++o) {
    const ResizeTaps t = op.taps(axis - 1, o, in, out);
    if (t.index.size() != 1 || t.index[0] != o / (out / in) || t.weight[0] != 1) return false;
  }
  return true;
}

// Under sizes in which every axis is followed by its copies.
Piece repeated(int from, int to, const std::vector<int64_t>& x, const std::vector<int64_t>& y) {
  Piece p{from, to, {}, {}, {}};
  for (size_t a = 0; a < x.size(); ++a) {
    const int64_t in = count_of(std::span(x).subspan(a + 1)),
                  out = count_of(std::span(y).subspan(a + 1)), copies = y[a] / x[a];
    p.dims.insert(p.dims.end(), {x[a], copies});
    p.from_strides.insert(p.from_strides.end(), {in, 0});
    p.to_strides.insert(p.to_strides.end(), {out * copies, out});
  }
  return p;
}

// Which element each of the result is; nothing where one is made of several.
std::optional<std::vector<int64_t>> picked(const Resize& op, size_t axis, int64_t in, int64_t out) {
  std::vector<int64_t> numbers;
  for (int64_t o = 0; o < out; ++o) {
    const ResizeTaps t = op.taps(axis, o, in, out);
    int64_t number = -1;
    for (size_t k = 0; k < t.index.size(); ++k) {
      if (t.weight[k] == 0) continue;
      if (t.weight[k] != 1 || number >= 0) return std::nullopt;
      number = t.index[k];
    }
    if (number < 0) return std::nullopt;
    numbers.push_back(number);
  }
  return numbers;
}

// Axis by axis: whole repeats are one strided copy, else slices are picked by number.
Status pick(Lowering& lowering, const Node& node, const Resize& op,
            const std::vector<size_t>& axes) {
  std::vector<int64_t> dims = dims_of(node.input(0));
  const auto y = dims_of(node.output());
  int from = lowering.tensor_of(node.input(0));
  for (size_t k = 0; k < axes.size(); ++k) {
    const size_t a = axes[k];
    const int64_t in = dims[a], out = y[a];
    auto numbers = picked(op, a - 1, in, out);
    if (!numbers) return unsupported("what it interpolates is not of reals");
    const int64_t outer = count_of(std::span(dims).first(a)),
                  inner = count_of(std::span(dims).subspan(a + 1));
    dims[a] = out;
    const bool is_last = k + 1 == axes.size();
    std::string layer = layer_of(node) + (is_last ? "" : fmt::format(".axis{}", a));
    const int to = is_last ? lowering.tensor_of(node.output())
                           : lowering.scratch(layer, lowering.tensor(from).dtype, count_of(dims));
    const int64_t times = out / in;
    bool repeats = out % in == 0;
    for (int64_t o = 0; o < out && repeats; ++o)
      repeats = (*numbers)[static_cast<size_t>(o)] == o / times;
    const std::vector<int64_t> all{outer * in, times, inner};
    if (repeats)
      TRY(move_pieces(lowering, node, layer,
                      {{from, to, all, {inner, 0, 1}, {times * inner, inner, 1}, 0, 0}}));
    else
      TRY(pick_known(lowering, node, {layer, from, to, outer, in, inner, std::move(*numbers)}));
    from = to;
  }
  return {};
}

// [out, in] of an axis, made when it is needed.
using Weights = std::function<Result<Tensor>()>;

// The operand multiplied by a matrix of weights along each of the axes.
Status multiply_axes(Lowering& lowering, const Node& node, const std::vector<size_t>& axes,
                     const std::function<Weights(size_t axis, int64_t in, int64_t out)>& weights) {
  auto dims = dims_of(node.input(0));
  const auto y = dims_of(node.output());
  int from = lowering.tensor_of(node.input(0));
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t a = axes[i];
    const int64_t in = dims[a], out = y[a];
    const std::string layer = fmt::format("{}.axis{}", layer_of(node), a);
    Product p;
    p.layer = layer;
    p.a =
        lowering.constant(layer + ".weights", lowering.real(), out * in,
                          [make = weights(a, in, out), real = lowering.real()]() -> Result<Tensor> {
                            return converted(TRY(make()), real);
                          });
    const int64_t outer = count_of(std::span(dims).first(a)),
                  inner = count_of(std::span(dims).subspan(a + 1));
    p.rows = out, p.k = in, p.columns = inner;
    p.batch = {{outer, 0, in * inner, out * inner, 0, 0}};
    p.a_row = in, p.b_row = inner, p.y_row = inner;
    p.b = from;
    dims[a] = out;
    p.y = i + 1 == axes.size() ? lowering.tensor_of(node.output())
                               : lowering.scratch(layer, lowering.real(), count_of(dims));
    from = p.y;
    TRY(add_product(lowering, node, p));
  }
  return {};
}

}  // namespace

Status lower_resize(Lowering& lowering, const Node& node) {
  const auto& op = *node.as<Resize>();
  const auto x = dims_of(node.input(0)), y = dims_of(node.output());
  if (op.coordinate == ResizeCoordinate::tf_crop_and_resize)
    return unsupported("it crops what it resizes");
  if (count_of(y) == 0) return unsupported("it has no elements");
  std::vector<size_t> axes;
  for (size_t a = 1; a + 1 < x.size(); ++a)
    if (x[a] != y[a]) axes.push_back(a);
  if (axes.empty())
    return move_pieces(lowering, node, layer_of(node),
                       {{lowering.tensor_of(node.input(0)),
                         lowering.tensor_of(node.output()),
                         {count_of(x)},
                         {1},
                         {1}}});
  if (!is_float(node.output()->dtype())) return pick(lowering, node, op, axes);
  const int from = lowering.tensor_of(node.input(0));
  if (op.mode == ResizeMode::nearest &&
      std::ranges::all_of(axes, [&](size_t a) { return is_repeat(op, a, x[a], y[a]); }))
    return move_pieces(lowering, node, layer_of(node),
                       {repeated(from, lowering.tensor_of(node.output()), x, y)});
  return multiply_axes(lowering, node, axes, [&](size_t a, int64_t in, int64_t out) {
    return [op, a, in, out]() -> Result<Tensor> {
      std::vector<float> m(static_cast<size_t>(out * in), 0);
      for (int64_t o = 0; o < out; ++o) {
        const ResizeTaps t = op.taps(a - 1, o, in, out);
        for (size_t k = 0; k < t.index.size(); ++k)
          m[static_cast<size_t>(o * in + t.index[k])] += static_cast<float>(t.weight[k]);
      }
      return Tensor::vector(m);
    };
  });
}

Status lower_scale_and_translate(Lowering& lowering, const Node& node) {
  const auto& op = *node.as<ScaleAndTranslate>();
  const Tensor *scale = node.input(2)->constant(), *translation = node.input(3)->constant();
  if (scale == nullptr || translation == nullptr)
    return unsupported("its scale or translation is no constant");
  if (count_of(dims_of(node.output())) == 0) return unsupported("it has no elements");
  // What becomes of an image whose pixels are the rows of a unit matrix is the matrix of weights.
  return multiply_axes(lowering, node, {1, 2}, [&](size_t a, int64_t in, int64_t out) {
    const auto at = static_cast<int64_t>(a) - 1;
    const std::vector<float> factor{static_cast<float>(scale->real_at(at)), 1},
        shift{static_cast<float>(translation->real_at(at)), 0};
    return [op, in, out, factor, shift]() -> Result<Tensor> {
      Tensor unit = TRY(Tensor::zeros(DType::f32, std::vector<int64_t>{1, in, 1, in}));
      for (int64_t i = 0; i < in; ++i) unit.mutable_data<float>()[i * in + i] = 1;
      const std::vector<Tensor> operands{
          unit, Tensor::vector(std::vector<int32_t>{static_cast<int32_t>(out), 1}),
          Tensor::vector(factor), Tensor::vector(shift)};
      return TRY(evaluate(op_detail::OpModel<ScaleAndTranslate>(op), operands))[0];
    };
  });
}

}  // namespace tenon::lower
