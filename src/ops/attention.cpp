// Shape inference and reference evaluation of attention.
#include "ops/attention.h"

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {

Result<TensorTypes> Attention::infer(const InferContext& context) const {
  TRY(nn::expect_float(context, name));
  TRY(nn::expect_same_dtype(context, name, {1, 2}));
  for (const int i : {0, 1, 2}) TRY(nn::expect_rank(context, name, i, 4));
  const auto dim = [&](int i, int axis) {
    return context.shape(i).ranked() ? context.shape(i)[axis] : Dim::unknown();
  };
  const Dim batch = nn::known_of(dim(0, 0), dim(1, 0)), heads = dim(0, head_axis()),
            length = dim(0, length_axis());
  const Dim kv_heads = nn::known_of(dim(1, head_axis()), dim(2, head_axis())),
            kv_len = nn::known_of(dim(1, length_axis()), dim(2, length_axis()));
  for (const int i : {1, 2}) {
    TRY(nn::expect_dim(context, name, i, 0, batch, "the batch"));
    TRY(nn::expect_dim(context, name, i, head_axis(), kv_heads, "the heads of k and v"));
    TRY(nn::expect_dim(context, name, i, length_axis(), kv_len, "the length of k and v"));
  }
  TRY(nn::expect_dim(context, name, 1, 3, dim(0, 3), "the width of q"));
  if (heads.known() && kv_heads.known() && heads != kv_heads &&
      (kv_heads.size() == 0 || heads.size() % kv_heads.size() != 0))
    return invalid_argument(fmt::format("attention: {} heads of q are no multiple of {} heads of k",
                                        heads.size(), kv_heads.size()));
  if (context.has(3)) {
    if (context.dtype(3) != DType::boolean && !is_float(context.dtype(3)))
      return invalid_argument(
          fmt::format("attention: the mask must be boolean or floating-point, "
                      "not {}",
                      context.type(3).to_string()));
    TRY(nn::expect_broadcastable(context, name, 3, Shape{batch, heads, length, kv_len}));
  }
  Shape y{batch, heads, length, dim(2, 3)};
  if (length_first) std::swap(y.dims()[1], y.dims()[2]);
  return TensorTypes{{context.dtype(0), y}};
}

Status Attention::eval(EvalContext& context) const {
  const Tensor& k = context.in(1);
  const auto q = nn::reals(context.in(0)), vk = nn::reals(k), v = nn::reals(context.in(2));
  Tensor& y = context.out(0);
  const int64_t heads = y.dim(head_axis()), rows = y.dim(length_axis()), width = y.dim(3);
  const int64_t kv_heads = k.dim(head_axis()), cols = k.dim(length_axis()), depth = k.dim(3);
  // Where the vector of a batch index, head and position begins, in vectors.
  const auto place = [&](int64_t b, int64_t head, int64_t at, int64_t n, int64_t length) {
    return length_first ? (b * length + at) * n + head : (b * n + head) * length + at;
  };
  const double factor = scale != 0 ? scale : 1 / std::sqrt(static_cast<double>(depth));
  const std::vector<int64_t> score_dims{y.dim(0), heads, rows, cols};
  std::vector<int64_t> mask_strides;
  if (context.has(3)) mask_strides = nn::broadcast_strides(context.in(3).dims(), score_dims);
  const double never = -std::numeric_limits<double>::infinity();
  std::vector<double> values(static_cast<size_t>(y.elements())), p(static_cast<size_t>(cols));
  for (int64_t row = 0; row < y.dim(0) * heads * rows; ++row) {
    const int64_t s = row % rows, h = row / rows % heads, b = row / rows / heads;
    const int64_t query = place(b, h, s, heads, rows);
    const auto key = [&](int64_t t) { return place(b, h * kv_heads / heads, t, kv_heads, cols); };
    double top = never, sum = 0;
    for (int64_t t = 0; t < cols; ++t) {
      double score = 0;
      for (int64_t i = 0; i < depth; ++i)
        score +=
            q[static_cast<size_t>(query * depth + i)] * vk[static_cast<size_t>(key(t) * depth + i)];
      score *= factor;
      if (context.has(3)) {
        const Tensor& mask = context.in(3);
        const double m = mask.real_at(nn::offset_of(row * cols + t, score_dims, mask_strides));
        score = mask.dtype() == DType::boolean ? (m != 0 ? score : never) : score + m;
      }
      if (causal && t > s + cols - rows) score = never;
      p[static_cast<size_t>(t)] = score;
      if (score > top || score != score) top = score;
    }
    if (top == never) {
      if (nan_when_empty && cols > 0)
        std::fill_n(values.begin() + query * width, width,
                    std::numeric_limits<double>::quiet_NaN());
      continue;
    }
    for (double& e : p) sum += e = std::exp(e - top);
    for (int64_t t = 0; t < cols; ++t)
      for (int64_t i = 0; i < width; ++i)
        values[static_cast<size_t>(query * width + i)] +=
            p[static_cast<size_t>(t)] / sum * v[static_cast<size_t>(key(t) * width + i)];
  }
  nn::store_reals(y, values);
  return {};
}

int64_t Attention::flops(std::span<const TensorType> in, std::span<const TensorType> out) const {
  const auto q = in[0].shape.elements(), y = out[0].shape.elements();
  if (!q || !y || in[1].shape.rank() != 4) return 0;
  return nn::operations({2, *q + *y, in[1].shape[length_axis()].size_or(0)});
}

constinit const OpDef Attention::def = define<Attention>();
OpDefs attention_ops() {
  return {&Attention::def};
}

}  // namespace tenon
