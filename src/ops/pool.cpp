// Shape inference and reference evaluation of the pooling ops.
#include "ops/pool.h"

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

template <typename P>
Result<TensorTypes> infer_pool(const P& p, const InferContext& context) {
  TensorType out = context.type(0);
  const size_t spatial = p.kernel.size();
  if (spatial == 0) return invalid_argument(fmt::format("{} needs a kernel size", P::name));
  int64_t taps = 1;
  for (const int64_t k : p.kernel) {
    if (k < 1 || k > nn::kMaxExtent / taps)
      return invalid_argument(fmt::format("{}: a kernel size of {} is out of range", P::name, k));
    taps *= k;
  }
  TRY(nn::check_window(P::name, spatial, p.strides, p.pads, p.dilations));
  if (p.auto_pad != AutoPad::none && !p.pads.empty())
    return invalid_argument(fmt::format("{} has pads or auto_pad, not both", P::name));
  const int rank = static_cast<int>(spatial) + 2;
  TRY(nn::expect_rank(context, P::name, 0, rank));
  TRY(nn::check_extents(context, P::name, 0, 1, rank - 1));
  if (!out.shape.ranked()) out.shape = Shape::unknown_dims(rank);
  for (size_t i = 0; i < spatial; ++i) {
    Dim& d = out.shape[static_cast<int>(i) + 1];
    const int64_t stride = nn::at_or(p.strides, i, 1), begin = nn::at_or(p.pads, i, 0);
    const int64_t pad = begin + nn::at_or(p.pads, i + spatial, 0);
    const int64_t span = (p.kernel[i] - 1) * nn::at_or(p.dilations, i, 1) + 1;
    if (p.auto_pad != AutoPad::none) {
      if (d.known())
        d = (d.size() + stride - 1) / stride;
      else if (stride != 1)
        d = Dim::unknown();
      continue;
    }
    if (!d.known()) {
      if (stride != 1 || pad != span - 1) d = Dim::unknown();
      continue;
    }
    const int64_t size = d.size(), room = size + pad - span;
    if (room < 0)
      return invalid_argument(fmt::format("{}: the window of {} is larger than the padded input {}",
                                          P::name, span, context.shape(0).to_string()));
    int64_t n = room / stride + 1;
    if (p.ceil_mode) {
      n = (room + stride - 1) / stride + 1;
      if (n > 1 && (n - 1) * stride >= size + begin) --n;
    }
    d = n;
  }
  return TensorTypes{out};
}

// Calls f(first element of the output pixel, offsets of the inside positions, divisor with pads).
template <typename P, typename F>
void for_windows(const P& p, const Tensor& x, const Tensor& y, F&& f) {
  const int spatial = x.rank() - 2;
  const int64_t c = x.dim(x.rank() - 1);
  int64_t taps = 1, pixels = 1, in_pixels = 1;
  for (int i = 0; i < spatial; ++i) {
    taps *= p.kernel[static_cast<size_t>(i)];
    pixels *= y.dim(i + 1);
    in_pixels *= x.dim(i + 1);
  }
  const auto pads = effective_pads(p, p.kernel, std::span(x.dims()).subspan(1));
  std::vector<int64_t> inside;
  for (int64_t n = 0; n < y.dim(0); ++n)
    for (int64_t q = 0; q < pixels; ++q) {
      inside.clear();
      int64_t padded = 0;
      for (int64_t t = 0; t < taps; ++t) {
        int64_t offset = 0, scale = 1, rq = q, rt = t;
        bool in_x = true, in_pads = true;
        for (int i = spatial - 1; i >= 0; --i) {
          const auto u = static_cast<size_t>(i);
          const int64_t begin = nn::at_or(pads, u, 0);
          const int64_t end = nn::at_or(pads, u + static_cast<size_t>(spatial), 0);
          const int64_t pos = rq % y.dim(i + 1) * nn::at_or(p.strides, u, 1) - begin +
                              rt % p.kernel[u] * nn::at_or(p.dilations, u, 1);
          rq /= y.dim(i + 1), rt /= p.kernel[u];
          in_x &= pos >= 0 && pos < x.dim(i + 1);
          in_pads &= pos < x.dim(i + 1) + end;
          offset += pos * scale, scale *= x.dim(i + 1);
        }
        if (in_x) inside.push_back((n * in_pixels + offset) * c);
        padded += in_pads;
      }
      f((n * pixels + q) * c, inside, padded);
    }
}

int64_t pool_flops(const std::vector<int64_t>& kernel, const TensorType& out) {
  int64_t n = out.shape.elements().value_or(0);
  for (const int64_t k : kernel) n = nn::operations({n, k});
  return n;
}

}  // namespace

Result<TensorTypes> MaxPool::infer(const InferContext& context) const {
  if (context.type(0).is_list || !(is_float(context.dtype(0)) || is_int(context.dtype(0))))
    return invalid_argument(
        fmt::format("max_pool needs real numbers, not {}", context.type(0).to_string()));
  return infer_pool(*this, context);
}

Status MaxPool::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  visit_real(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = Arithmetic<T>;
    const T* px = x.data<T>();
    T* py = y.mutable_data<T>();
    const int64_t c = x.dim(x.rank() - 1);
    for_windows(*this, x, y, [&](int64_t out, const std::vector<int64_t>& inside, int64_t) {
      for (int64_t i = 0; i < c; ++i) {
        A best = std::numeric_limits<A>::has_infinity ? -std::numeric_limits<A>::infinity()
                                                      : std::numeric_limits<A>::lowest();
        for (const int64_t at : inside) {
          const A v = static_cast<A>(px[at + i]);
          if (v > best || v != v) best = v;
          if (v != v) break;
        }
        py[out + i] = T(best);
      }
    });
  });
  return {};
}

int64_t MaxPool::flops(std::span<const TensorType>, std::span<const TensorType> out) const {
  return pool_flops(kernel, out[0]);
}

Result<TensorTypes> MaxPoolIndex::infer(const InferContext& context) const {
  if (context.type(0).is_list || !(is_float(context.dtype(0)) || is_int(context.dtype(0))))
    return invalid_argument(
        fmt::format("max_pool_index needs real numbers, not {}", context.type(0).to_string()));
  TensorTypes types = TRY(infer_pool(*this, context));
  types[0].dtype = DType::i64;
  return types;
}

Status MaxPoolIndex::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  const int64_t c = x.dim(x.rank() - 1);
  int64_t image = c;
  for (int i = 1; i < x.rank() - 1; ++i) image *= x.dim(i);
  int64_t* py = y.mutable_data<int64_t>();
  visit_real(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = Arithmetic<T>;
    const T* px = x.data<T>();
    for_windows(*this, x, y, [&](int64_t out, const std::vector<int64_t>& inside, int64_t) {
      for (int64_t i = 0; i < c; ++i) {
        int64_t best = inside.empty() ? 0 : inside[0];
        for (const int64_t at : inside)
          if (static_cast<A>(px[at + i]) > static_cast<A>(px[best + i])) best = at;
        py[out + i] = best % image / c;
      }
    });
  });
  return {};
}

int64_t MaxPoolIndex::flops(std::span<const TensorType>, std::span<const TensorType> out) const {
  return pool_flops(kernel, out[0]);
}

Result<TensorTypes> AvgPool::infer(const InferContext& context) const {
  TRY(nn::expect_float(context, name));
  return infer_pool(*this, context);
}

Status AvgPool::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  const int64_t c = x.dim(x.rank() - 1);
  std::vector<double> values(static_cast<size_t>(y.elements()));
  for_windows(*this, x, y, [&](int64_t out, const std::vector<int64_t>& inside, int64_t padded) {
    const int64_t count = count_include_pad ? padded : static_cast<int64_t>(inside.size());
    for (int64_t i = 0; i < c && count > 0; ++i) {
      double sum = 0;
      for (const int64_t at : inside) sum += x.real_at(at + i);
      values[static_cast<size_t>(out + i)] = sum / static_cast<double>(count);
    }
  });
  nn::store_reals(y, values);
  return {};
}

int64_t AvgPool::flops(std::span<const TensorType>, std::span<const TensorType> out) const {
  return pool_flops(kernel, out[0]);
}

constinit const OpDef MaxPool::def = define<MaxPool>();
constinit const OpDef MaxPoolIndex::def = define<MaxPoolIndex>();
constinit const OpDef AvgPool::def = define<AvgPool>();
OpDefs pool_ops() {
  return {&MaxPool::def, &MaxPoolIndex::def, &AvgPool::def};
}

}  // namespace tenon
