// Attention as two products with a softmax between; the scores are in the chip's memory meanwhile.
#include "ops/attention.h"

#include <fmt/format.h>

#include <cmath>

#include "lower/pack.h"
#include "lower/product.h"
#include "lower/rows.h"

namespace tenon::lower {
namespace {

// Strides of [batch, heads, length] in q, k, v and the result.
struct Strides {
  int64_t batch, head, row;
};

Strides strides_of(const Attention& op, const std::vector<int64_t>& dims) {
  const int64_t inner = dims[3];
  if (op.length_first) return {dims[1] * dims[2] * inner, inner, dims[2] * inner};
  return {dims[1] * dims[2] * inner, dims[2] * inner, inner};
}

// Adds the mask to the first product as its residual.
Status add_mask(Lowering& lowering, const Node& node, const Attention& op, int64_t heads, int64_t s,
                int64_t t, Product& p) {
  const Value* mask = node.input(3);
  if (mask == nullptr && !op.causal) return {};
  if (mask == nullptr) {
    p.residual = lowering.constant(layer_of(node) + ".causal", lowering.real(), s * t,
                                   [s, t, real = lowering.real()] {
                                     std::vector<float> m(static_cast<size_t>(s * t), 0);
                                     for (int64_t i = 0; i < s; ++i)
                                       for (int64_t j = 0; j < t; ++j)
                                         if (j > i + t - s)
                                           m[static_cast<size_t>(i * t + j)] = -65504;
                                     return converted(Tensor::vector(m), real);
                                   });
    p.residual_row = t;
    return {};
  }
  if (op.causal) return unsupported("a mask beside a causal one");
  if (!is_float(mask->dtype())) return unsupported("a mask of true and false");
  auto dims = dims_of(mask);
  while (dims.size() < 4) dims.insert(dims.begin(), 1);
  if (dims[3] != t) return unsupported("a mask that is broadcast along the keys");
  p.residual = lowering.tensor_of(mask);
  p.residual_row = dims[2] == 1 ? 0 : t;
  p.batch[0].residual = dims[0] == 1 ? 0 : dims[1] * dims[2] * t;
  p.batch[1].residual = dims[1] == 1 ? 0 : dims[2] * t;
  (void)heads;
  return {};
}

}  // namespace

Status lower_attention(Lowering& lowering, const Node& node) {
  const auto& op = *node.as<Attention>();
  const auto q = dims_of(node.input(0)), k = dims_of(node.input(1)), v = dims_of(node.input(2)),
             y = dims_of(node.output());
  if (q.size() != 4 || k.size() != 4 || v.size() != 4)
    return unsupported("other than four dimensions");
  const auto head = static_cast<size_t>(op.head_axis()),
             length = static_cast<size_t>(op.length_axis());
  const int64_t batch = q[0], heads = q[head], s = q[length], t = k[length], d = q[3], e = v[3];
  if (k[head] != heads && k[head] != 1) return unsupported("heads in groups");
  const Strides sq = strides_of(op, q), sk = strides_of(op, k), sv = strides_of(op, v),
                sy = strides_of(op, y);
  const bool one = k[head] == 1;
  const std::string layer = layer_of(node);
  const int64_t scores = batch * heads * s * t;
  const int before = lowering.scratch(layer + ".scores", lowering.real(), scores);
  const int after = lowering.scratch(layer + ".weights", lowering.real(), scores);

  Product first;
  first.layer = layer + ".scores";
  first.rows = s, first.columns = t, first.k = d;
  first.batch = {{batch, sq.batch, sk.batch, heads * s * t, 0, 0},
                 {heads, sq.head, one ? 0 : sk.head, s * t, 0, 0}};
  first.a_row = sq.row, first.b_row = sk.row, first.y_row = t;
  first.b_transposed = true;
  first.a = lowering.tensor_of(node.input(0)), first.b = lowering.tensor_of(node.input(1));
  first.y = before;
  first.scale = op.scale != 0 ? op.scale : 1 / std::sqrt(static_cast<double>(d));
  TRY(add_mask(lowering, node, op, heads, s, t, first));
  TRY(add_product(lowering, node, first));

  TRY(lower_softmax(lowering, node, layer + ".softmax", before, after, batch * heads * s, t));

  Product second;
  second.layer = layer + ".values";
  second.rows = s, second.columns = e, second.k = t;
  second.batch = {{batch, heads * s * t, sv.batch, sy.batch, 0, 0},
                  {heads, s * t, one ? 0 : sv.head, sy.head, 0, 0}};
  second.a_row = t, second.b_row = sv.row, second.y_row = sy.row;
  second.a = after, second.b = lowering.tensor_of(node.input(2));
  second.y = lowering.tensor_of(node.output());
  return add_product(lowering, node, second);
}

}  // namespace tenon::lower
