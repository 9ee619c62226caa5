// Attention as two products with a softmax between; the scores are in the chip's memory meanwhile.
#include "ops/attention.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "lower/elementwise.h"
#include "lower/pack.h"
#include "lower/product.h"
#include "lower/rows.h"
#include "lower/tiles.h"
#include "lower/vector_core.h"
#include "ops/movement.h"

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

// What a score becomes that is not to be seen.
constexpr double kHidden = -std::numeric_limits<double>::infinity();

// What a causal mask adds to the scores of queries s and keys t.
int causal_mask(Lowering& lowering, const std::string& layer, int64_t s, int64_t t) {
  return lowering.constant(layer + ".causal", lowering.real(), s * t,
                           [s, t, real = lowering.real()] {
                             std::vector<float> m(static_cast<size_t>(s * t), 0);
                             for (int64_t i = 0; i < s; ++i)
                               for (int64_t j = 0; j < t; ++j)
                                 if (j > i + t - s)
                                   m[static_cast<size_t>(i * t + j)] = static_cast<float>(kHidden);
                             return converted(Tensor::vector(m), real);
                           });
}

// What is added to the scores, under the dimensions of batch, heads, queries and keys.
struct Mask {
  int tensor = -1;  // -1: nothing
  std::vector<int64_t> dims;
};

// One tensor of reals, whatever the masks are.
Result<Mask> mask_of(Lowering& lowering, const Node& node, int64_t s, int64_t t) {
  const auto& op = *node.as<Attention>();
  const std::string layer = layer_of(node);
  const Value* given = node.input(3);
  if (given == nullptr && !op.causal) return Mask{};
  const int causal = op.causal ? causal_mask(lowering, layer, s, t) : -1;
  if (given == nullptr) return Mask{causal, {1, 1, s, t}};
  Mask mask{lowering.tensor_of(given), dims_of(given)};
  while (mask.dims.size() < 4) mask.dims.insert(mask.dims.begin(), 1);
  if (is_float(given->dtype()) && !op.causal && mask.dims[3] == t) return mask;
  Elementwise work;
  work.operands = {{"mask", mask.tensor, {}}};
  const auto before = mask.dims;
  if (op.causal) mask.dims[2] = s;
  mask.dims[3] = t;
  work.dims = mask.dims;
  work.strides = row_major_strides(mask.dims);
  work.operands[0].strides = broadcast_strides(before, mask.dims);
  if (op.causal) work.operands.push_back({"causal", causal, {0, 0, t, 1}});
  mask.tensor = lowering.scratch(layer + ".mask", lowering.real(), count_of(mask.dims));
  work.results = {mask.tensor};
  work.compute = [real = lowering.real(), keeps = given->dtype() == DType::boolean](
                     VectorCode& code,
                     std::span<const Register> in) -> Result<std::vector<Register>> {
    const auto number = [](double x) { return Register{{}, x, nullptr}; };
    Register y = in[0];
    if (keeps) y = code.select(y, code.tile(number(0), real), number(kHidden));
    y = code.tile(y, real);
    if (in.size() > 1) y = code.binary(Opcode::add, y, in[1]);
    return std::vector{y};
  };
  TRY(lower_elementwise(lowering, node, work));
  return mask;
}

// Adds the mask to the first product as its residual. The product counts batch, heads of the keys
// and heads that share them.
Status add_mask(Lowering& lowering, const Node& node, int64_t s, int64_t t, Product& p) {
  const Mask mask = TRY(mask_of(lowering, node, s, t));
  if (mask.tensor < 0) return {};
  const int64_t plane = mask.dims[2] * t;
  p.residual = mask.tensor;
  p.residual_row = mask.dims[2] == 1 ? 0 : t;
  p.batch[0].residual = mask.dims[0] == 1 ? 0 : mask.dims[1] * plane;
  if (mask.dims[1] == 1) return {};
  p.batch[1].residual = p.batch[2].size * plane;
  p.batch[2].residual = plane;
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
  const Strides sq = strides_of(op, q), sk = strides_of(op, k), sv = strides_of(op, v),
                sy = strides_of(op, y);
  const int64_t groups = k[head], shared = heads / groups;  // heads of keys, and queries' to each
  const std::string layer = layer_of(node);
  const int64_t scores = batch * heads * s * t;
  const int before = lowering.scratch(layer + ".scores", lowering.real(), scores);
  const int after = lowering.scratch(layer + ".weights", lowering.real(), scores);

  Product first;
  first.layer = layer + ".scores";
  first.rows = s, first.columns = t, first.k = d;
  first.batch = {{batch, sq.batch, sk.batch, heads * s * t, 0, 0},
                 {groups, shared * sq.head, sk.head, shared * s * t, 0, 0},
                 {shared, sq.head, 0, s * t, 0, 0}};
  first.a_row = sq.row, first.b_row = sk.row, first.y_row = t;
  first.b_transposed = true;
  first.a = lowering.tensor_of(node.input(0)), first.b = lowering.tensor_of(node.input(1));
  first.y = before;
  first.scale = op.scale != 0 ? op.scale : 1 / std::sqrt(static_cast<double>(d));
  TRY(add_mask(lowering, node, s, t, first));
  const auto is_one = [](const BatchDim& d) { return d.size == 1; };
  std::erase_if(first.batch, is_one);
  TRY(add_product(lowering, node, first));

  const bool hides = first.residual >= 0 && !op.nan_when_empty;
  TRY(lower_softmax(lowering, node, layer + ".softmax", before, after, batch * heads * s, t,
                    hides));

  Product second;
  second.layer = layer + ".values";
  second.rows = s, second.columns = e, second.k = t;
  second.batch = {{batch, heads * s * t, sv.batch, sy.batch, 0, 0},
                  {groups, shared * s * t, sv.head, shared * sy.head, 0, 0},
                  {shared, s * t, 0, sy.head, 0, 0}};
  std::erase_if(second.batch, is_one);
  second.a_row = t, second.b_row = sv.row, second.y_row = sy.row;
  second.a = after, second.b = lowering.tensor_of(node.input(2));
  second.y = lowering.tensor_of(node.output());
  return add_product(lowering, node, second);
}

}  // namespace tenon::lower
