#include "ops/conv.h"

#include <fmt/format.h>

#include "ops/nn_util.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {

Result<TensorTypes> Conv::infer(const InferContext& context) const {
  const Shape& x = context.shape(0);
  const Shape& w = context.shape(1);
  TensorType out = context.type(0);
  if (!nn::takes_weights(context.dtype(0), context.dtype(1)))
    return invalid_argument(
        fmt::format("conv needs input and filter of one floating-point type, or a filter of 16 "
                    "bits with an input of f32, not {} and {}",
                    context.type(0).to_string(), context.type(1).to_string()));
  out.dtype = TRY(nn::product_type(out.dtype, result, name));
  if (!is_fusable(activation)) return invalid_argument("conv cannot apply this activation");
  if (!w.ranked()) return TensorTypes{{out.dtype, Shape::unranked()}};
  if (w.rank() < 3) return invalid_argument("conv needs a filter [spatial…, C/groups, M]");
  const int rank = w.rank();
  const size_t spatial = static_cast<size_t>(rank - 2);
  TRY(nn::check_window(name, spatial, strides, pads, dilations));
  if (auto_pad != AutoPad::none && !pads.empty())
    return invalid_argument("conv has pads or auto_pad, not both");
  if (x.ranked() && x.rank() != rank)
    return invalid_argument(
        fmt::format("conv input {} and filter {} differ in rank", x.to_string(), w.to_string()));
  TRY(nn::check_extents(context, name, 0, 1, rank - 1));
  TRY(nn::check_extents(context, name, 1, 0, rank - 1));
  if (groups < 1 || groups > nn::kMaxExtent)
    return invalid_argument(fmt::format("{}: {} groups are out of range", name, groups));
  const Dim m = w[rank - 1];
  if (x.ranked() && x[rank - 1].known() && w[rank - 2].known() &&
      x[rank - 1].size() != w[rank - 2].size() * groups)
    return invalid_argument(fmt::format(
        "conv input {} has {} channels, the filter {} with {} groups expects {}", x.to_string(),
        x[rank - 1].size(), w.to_string(), groups, w[rank - 2].size() * groups));
  if (m.known() && m.size() % groups != 0)
    return invalid_argument("conv output channels must be a multiple of groups");
  out.shape = x.ranked() ? x : Shape::unknown_dims(rank);
  out.shape[rank - 1] = m;
  for (size_t i = 0; i < spatial; ++i) {
    Dim& d = out.shape[static_cast<int>(i) + 1];
    const Dim k = w[static_cast<int>(i)];
    const int64_t stride = nn::at_or(strides, i, 1);
    if (auto_pad != AutoPad::none) {
      if (d.known())
        d = (d.size() + stride - 1) / stride;
      else if (stride != 1)
        d = Dim::unknown();
      continue;
    }
    const int64_t pad = nn::at_or(pads, i, 0) + nn::at_or(pads, i + spatial, 0);
    if (!d.known() || !k.known()) {
      const bool same =
          k.known() && stride == 1 && pad == (k.size() - 1) * nn::at_or(dilations, i, 1);
      if (!same) d = Dim::unknown();
      continue;
    }
    const int64_t span = (k.size() - 1) * nn::at_or(dilations, i, 1) + 1;
    const int64_t room = d.size() + pad - span;
    if (room < 0)
      return invalid_argument(fmt::format("conv filter {} is larger than the padded input {}",
                                          w.to_string(), x.to_string()));
    d = room / stride + 1;
  }
  return TensorTypes{out};
}

Status Conv::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const Tensor& w = context.in(1);
  Tensor& y = context.out(0);
  const int spatial = w.rank() - 2;
  const int64_t cg = w.dim(spatial), m = w.dim(spatial + 1), c = x.dim(spatial + 1),
                mg = m / groups;
  int64_t taps = 1, pixels = 1;
  for (int i = 0; i < spatial; ++i) taps *= w.dim(i), pixels *= y.dim(i + 1);
  const auto around = effective_pads(*this, std::span(w.dims()).first(static_cast<size_t>(spatial)),
                                     std::span(x.dims()).subspan(1));
  const std::vector<double> filter = nn::reals(w);
  std::vector<double> values(static_cast<size_t>(y.elements()));
  visit_float(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* px = x.data<T>();
    std::vector<double> sums(static_cast<size_t>(m));
    for (int64_t n = 0; n < y.dim(0); ++n)
      for (int64_t p = 0; p < pixels; ++p) {
        for (double& s : sums) s = 0;
        for (int64_t t = 0; t < taps; ++t) {
          int64_t offset = 0, scale = 1, rp = p, rt = t;
          bool inside = true;
          for (int i = spatial - 1; i >= 0; --i) {
            const auto u = static_cast<size_t>(i);
            const int64_t o = rp % y.dim(i + 1), k = rt % w.dim(i);
            rp /= y.dim(i + 1), rt /= w.dim(i);
            const int64_t pos = o * nn::at_or(strides, u, 1) - nn::at_or(around, u, 0) +
                                k * nn::at_or(dilations, u, 1);
            inside &= pos >= 0 && pos < x.dim(i + 1);
            offset += pos * scale, scale *= x.dim(i + 1);
          }
          if (!inside) continue;
          const T* row = px + (n * scale + offset) * c;
          for (int64_t g = 0; g < groups; ++g)
            for (int64_t ic = 0; ic < cg; ++ic) {
              const double v = static_cast<double>(static_cast<Arithmetic<T>>(row[g * cg + ic]));
              const double* weights = filter.data() + (t * cg + ic) * m + g * mg;
              for (int64_t oc = 0; oc < mg; ++oc)
                sums[static_cast<size_t>(g * mg + oc)] += v * weights[oc];
            }
        }
        const int64_t base = (n * pixels + p) * m;
        for (int64_t oc = 0; oc < m; ++oc) {
          double v = sums[static_cast<size_t>(oc)];
          if (context.has(2)) v += context.in(2).real_at(oc);
          if (context.has(3)) v += context.in(3).real_at(base + oc);
          values[static_cast<size_t>(base + oc)] = activate(activation, alpha, beta, v);
        }
      }
  });
  nn::store_reals(y, values);
  return {};
}

int64_t Conv::flops(std::span<const TensorType> in, std::span<const TensorType> out) const {
  const Shape& w = in[1].shape;
  const auto outputs = out[0].shape.elements(), weights = w.elements();
  if (!outputs || !weights) return 0;
  return nn::operations({2, *outputs, *weights / std::max<int64_t>(w[w.rank() - 1].size(), 1)});
}

constinit const OpDef Conv::def = define<Conv>();
OpDefs conv_ops() {
  return {&Conv::def};
}

}  // namespace tenon
