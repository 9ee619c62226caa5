#include "ops/matmul_nbits.h"

#include <fmt/format.h>

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {

Result<TensorTypes> MatmulNbits::infer(const InferContext& context) const {
  if (bits != 8 && bits != 4)
    return invalid_argument(fmt::format("{}: weights of 8 or 4 bits, not {}", name, bits));
  if (!is_fusable(activation))
    return invalid_argument(fmt::format("{} cannot apply this activation", name));
  const DType wanted = bits == 8 ? DType::i8 : DType::u8;
  if (context.type(0).is_list || context.dtype(0) != DType::f32 || context.dtype(1) != wanted ||
      context.dtype(2) != DType::f32)
    return invalid_argument(fmt::format("{} of {} bits needs f32, {} and f32, not {}, {} and {}",
                                        name, bits, dtype_name(wanted), context.type(0).to_string(),
                                        context.type(1).to_string(), context.type(2).to_string()));
  TRY(nn::expect_rank(context, name, 0, 1, nn::kAnyRank));
  TRY(nn::expect_rank(context, name, 1, 2));
  TRY(nn::expect_rank(context, name, 2, 2));
  const Shape& a = context.shape(0);
  const Shape& b = context.shape(1);
  const Shape& scale = context.shape(2);
  Dim n = Dim::unknown();
  if (b.ranked()) {
    n = b[1];
    const int64_t per_byte = 8 / bits;
    if (b[0].known() && b[0].size() > nn::kMaxExtent)
      return invalid_argument(fmt::format("{}: {} is too large", name, b.to_string()));
    if (a.ranked() && a[a.rank() - 1].known() && b[0].known() &&
        a[a.rank() - 1].size() != b[0].size() * per_byte)
      return invalid_argument(fmt::format("{} cannot multiply {} by {} rows of weights", name,
                                          a.to_string(), b[0].size() * per_byte));
    if (scale.ranked() && scale[0].known() && b[0].known() &&
        (scale[0].size() < 1 || b[0].size() % scale[0].size() != 0))
      return invalid_argument(fmt::format("{}: {} rows of {} do not split into {} groups", name,
                                          b[0].size(), b.to_string(), scale[0].size()));
  }
  TRY(nn::expect_dim(context, name, 2, 1, n, "one scale per column"));
  TRY(nn::expect_vector(context, name, 3, n, "one value per column"));
  for (const int i : {3, 4})
    if (context.has(i) && context.dtype(i) != DType::f32)
      return invalid_argument(fmt::format("{}: operand {} must be f32", name, i));
  TensorType out{DType::f32, a};
  if (a.ranked()) out.shape[a.rank() - 1] = n;
  TRY(nn::expect_broadcastable(context, name, 4, out.shape));
  return TensorTypes{out};
}

Status MatmulNbits::eval(EvalContext& context) const {
  const Tensor& a = context.in(0);
  const Tensor& b = context.in(1);
  const Tensor& scale = context.in(2);
  Tensor& y = context.out(0);
  const int64_t n = b.dim(1), k = b.dim(0) * (8 / bits);
  const int64_t group = std::max<int64_t>(1, k / std::max<int64_t>(1, scale.dim(0)));
  const int64_t rows = n == 0 ? 0 : y.elements() / n;
  std::vector<int64_t> strides;
  if (context.has(4)) strides = nn::broadcast_strides(context.in(4).dims(), y.dims());
  std::vector<double> sums(static_cast<size_t>(n));
  for (int64_t r = 0; r < rows; ++r) {
    std::ranges::fill(sums, 0.0);
    for (int64_t i = 0; i < k; ++i) {
      const double x = static_cast<double>(a.data<float>()[r * k + i]);
      const float* scales = scale.data<float>() + i / group * n;
      for (int64_t j = 0; j < n; ++j) {
        const int64_t w = bits == 8
                              ? int64_t{b.data<int8_t>()[i * n + j]}
                              : int64_t{(b.data<uint8_t>()[i / 2 * n + j] >> (i % 2 * 4)) & 15} - 8;
        sums[static_cast<size_t>(j)] += x * static_cast<double>(w) * static_cast<double>(scales[j]);
      }
    }
    for (int64_t j = 0; j < n; ++j) {
      double v = sums[static_cast<size_t>(j)];
      if (context.has(3)) v += context.in(3).real_at(j);
      if (context.has(4)) v += context.in(4).real_at(nn::offset_of(r * n + j, y.dims(), strides));
      y.mutable_data<float>()[r * n + j] =
          static_cast<float>(activate(activation, act_alpha, act_beta, v));
    }
  }
  return {};
}

int64_t MatmulNbits::flops(std::span<const TensorType> in, std::span<const TensorType> out) const {
  const auto outputs = out[0].shape.elements();
  const Shape& a = in[0].shape;
  if (!outputs || a.rank() < 1) return 0;
  return nn::operations({2, *outputs, a[a.rank() - 1].size_or(0)});
}

constinit const OpDef MatmulNbits::def = define<MatmulNbits>();
OpDefs matmul_nbits_ops() {
  return {&MatmulNbits::def};
}

}  // namespace tenon
