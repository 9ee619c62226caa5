// Resizing as products: along one axis every way to interpolate is a matrix over the input's
// elements, whose rows are the weights of one output element.
#include "ops/resize.h"

#include <fmt/format.h>

#include "lower/movement.h"
#include "lower/pack.h"
#include "lower/product.h"

namespace tenon::lower {

Status lower_resize(Lowering& lowering, const Node& node) {
  const auto& op = *node.as<Resize>();
  const auto x = dims_of(node.input(0)), y = dims_of(node.output());
  if (!is_float(node.output()->dtype())) return unsupported("it is not of reals");
  if (op.coordinate == ResizeCoordinate::tf_crop_and_resize)
    return unsupported("it crops what it resizes");
  if (count_of(y) == 0) return unsupported("it has no elements");
  std::vector<int64_t> dims = x;
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
  int from = lowering.tensor_of(node.input(0));
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t a = axes[i];
    const int64_t in = dims[a], out = y[a];
    const std::string layer = fmt::format("{}.axis{}", layer_of(node), a);
    Product p;
    p.layer = layer;
    p.a = lowering.constant(layer + ".weights", lowering.real(), out * in,
                            [op, a, in, out, real = lowering.real()]() -> Result<Tensor> {
                              std::vector<float> m(static_cast<size_t>(out * in), 0);
                              for (int64_t o = 0; o < out; ++o) {
                                const ResizeTaps t = op.taps(a - 1, o, in, out);
                                for (size_t k = 0; k < t.index.size(); ++k)
                                  m[static_cast<size_t>(o * in + t.index[k])] +=
                                      static_cast<float>(t.weight[k]);
                              }
                              return converted(Tensor::vector(m), real);
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

}  // namespace tenon::lower
