// Shape inference and reference evaluation of the transposed convolution.
#include "ops/conv_transpose.h"

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {

Result<TensorTypes> ConvTranspose::infer(const InferContext& context) const {
  TRY(nn::expect_float(context, name));
  if (!nn::takes_weights(context.dtype(0), context.dtype(1)))
    TRY(nn::expect_same_dtype(context, name, {1}));
  TRY(nn::expect_same_dtype(context, name, {2}, result != DType::none));
  const Shape& x = context.shape(0);
  const Shape& w = context.shape(1);
  TensorType out = context.type(0);
  out.dtype = TRY(nn::product_type(out.dtype, result, name));
  if (!is_fusable(activation))
    return invalid_argument("conv_transpose cannot apply this activation");
  if (!w.ranked()) return TensorTypes{{out.dtype, Shape::unranked()}};
  TRY(nn::expect_rank(context, name, 1, 3, nn::kAnyRank));
  const int rank = w.rank();
  const size_t spatial = static_cast<size_t>(rank - 2);
  TRY(nn::expect_rank(context, name, 0, rank));
  TRY(nn::check_window(name, spatial, strides, pads, dilations));
  TRY(nn::check_extents(context, name, 0, 1, rank - 1));
  TRY(nn::check_extents(context, name, 1, 0, rank - 1));
  if (!output_padding.empty() && output_padding.size() != spatial)
    return invalid_argument(fmt::format("{} needs {} output paddings", name, spatial));
  for (const int64_t v : output_padding)
    if (v < 0 || v > nn::kMaxExtent)
      return invalid_argument(fmt::format("{}: an output padding of {} is out of range", name, v));
  if (groups < 1 || groups > nn::kMaxExtent)
    return invalid_argument(fmt::format("{}: {} groups are out of range", name, groups));
  TRY(nn::expect_dim(context, name, 0, rank - 1, w[rank - 1], "the filter's last dimension"));
  const Dim c = x.ranked() ? nn::known_of(x[rank - 1], w[rank - 1]) : w[rank - 1];
  if (c.known() && c.size() % groups != 0)
    return invalid_argument(
        fmt::format("{}: {} input channels do not split into {} groups", name, c.size(), groups));
  const Dim m = w[rank - 2].known() ? Dim(w[rank - 2].size() * groups)
                                    : (groups == 1 ? w[rank - 2] : Dim::unknown());
  TRY(nn::expect_vector(context, name, 2, m, "one value per output channel"));
  out.shape = x.ranked() ? x : Shape::unknown_dims(rank);
  out.shape[rank - 1] = m;
  for (size_t i = 0; i < spatial; ++i) {
    Dim& d = out.shape[static_cast<int>(i) + 1];
    const Dim k = w[static_cast<int>(i)];
    const int64_t stride = nn::at_or(strides, i, 1), dilation = nn::at_or(dilations, i, 1);
    const int64_t extra =
        nn::at_or(output_padding, i, 0) - nn::at_or(pads, i, 0) - nn::at_or(pads, i + spatial, 0);
    if (!d.known() || !k.known()) {
      if (!k.known() || stride != 1 || (k.size() - 1) * dilation + extra != 0) d = Dim::unknown();
      continue;
    }
    const int64_t size = (d.size() - 1) * stride + (k.size() - 1) * dilation + 1 + extra;
    if (size < 0)
      return invalid_argument(fmt::format("{}: the pads cut off more than the result of {} and {}",
                                          name, x.to_string(), w.to_string()));
    d = size;
  }
  return TensorTypes{out};
}

Status ConvTranspose::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const Tensor& w = context.in(1);
  Tensor& y = context.out(0);
  const auto vx = nn::reals(x), vw = nn::reals(w);
  std::vector<double> values(static_cast<size_t>(y.elements()));
  const int spatial = w.rank() - 2;
  const int64_t mg = w.dim(spatial), c = w.dim(spatial + 1), cg = c / groups, m = mg * groups;
  int64_t taps = 1, in_pixels = 1;
  for (int i = 0; i < spatial; ++i) taps *= w.dim(i), in_pixels *= x.dim(i + 1);
  for (int64_t n = 0; n < x.dim(0); ++n)
    for (int64_t p = 0; p < in_pixels; ++p)
      for (int64_t t = 0; t < taps; ++t) {
        int64_t offset = 0, scale = 1, rp = p, rt = t;
        bool inside = true;
        for (int i = spatial - 1; i >= 0; --i) {
          const auto u = static_cast<size_t>(i);
          const int64_t pos = rp % x.dim(i + 1) * nn::at_or(strides, u, 1) - nn::at_or(pads, u, 0) +
                              rt % w.dim(i) * nn::at_or(dilations, u, 1);
          rp /= x.dim(i + 1), rt /= w.dim(i);
          inside &= pos >= 0 && pos < y.dim(i + 1);
          offset += pos * scale, scale *= y.dim(i + 1);
        }
        if (!inside) continue;
        const double* in = vx.data() + (n * in_pixels + p) * c;
        double* out = values.data() + (n * scale + offset) * m;
        for (int64_t oc = 0; oc < m; ++oc) {
          const double* weights = vw.data() + (t * mg + oc % mg) * c;
          const int64_t first = oc / mg * cg;
          for (int64_t ic = first; ic < first + cg; ++ic) out[oc] += in[ic] * weights[ic];
        }
      }
  for (size_t i = 0; i < values.size(); ++i) {
    if (context.has(2)) values[i] += context.in(2).real_at(static_cast<int64_t>(i) % m);
    values[i] = activate(activation, alpha, beta, values[i]);
  }
  nn::store_reals(y, values);
  return {};
}

int64_t ConvTranspose::flops(std::span<const TensorType> in, std::span<const TensorType>) const {
  const Shape& w = in[1].shape;
  const auto inputs_n = in[0].shape.elements(), weights = w.elements();
  if (!inputs_n || !weights || w.rank() < 3) return 0;
  return nn::operations({2, *inputs_n, *weights / std::max<int64_t>(w[w.rank() - 1].size(), 1)});
}

constinit const OpDef ConvTranspose::def = define<ConvTranspose>();
OpDefs conv_transpose_ops() {
  return {&ConvTranspose::def};
}

}  // namespace tenon
