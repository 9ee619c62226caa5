#include "ops/dft.h"

#include "ops/axis.h"
#include "ops/fft.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {

Result<TensorTypes> Dft::infer(const InferContext& context) const {
  TRY(nn::expect_float(context, name));
  TensorType y = context.type(0);
  if (context.has(1) && (context.type(1).is_list || !is_int(context.dtype(1))))
    return invalid_argument("dft needs an integer length, not " + context.type(1).to_string());
  std::optional<SymInts> length;
  if (context.has(1)) length = context.ints(1);
  if (length && length->size() != 1) return invalid_argument("dft needs one length");
  if (length && length->front().value &&
      (*length->front().value < 1 || *length->front().value > kMaxFftLength))
    return invalid_argument(fmt::format("dft needs a length from 1 to {}, not {}", kMaxFftLength,
                                        *length->front().value));
  if (!y.shape.ranked()) return TensorTypes{y};
  const int rank = y.shape.rank();
  const int64_t a = axis < 0 ? axis + rank : axis;
  if (rank < 2 || a < 0 || a >= rank - 1)
    return invalid_argument(fmt::format(
        "dft along axis {} needs {} to have that axis before its last", axis, y.to_string()));
  const Dim parts = y.shape[rank - 1];
  if (parts.known() && parts.size() != 1 && parts.size() != 2)
    return invalid_argument("dft needs a last dimension of 1 or 2, not " + y.to_string());
  if (onesided && !inverse && parts.known() && parts.size() == 2)
    return invalid_argument("dft: only the transform of a real signal can be one-sided");
  Dim n = context.has(1) ? (length ? length->front().as_dim() : Dim::unknown())
                         : y.shape[static_cast<int>(a)];
  if (onesided && inverse && !context.has(1))
    n = n.known() ? Dim(n.size() > 0 ? 2 * (n.size() - 1) : 0) : Dim::unknown();
  if (onesided && !inverse) n = n.known() ? Dim(n.size() / 2 + 1) : Dim::unknown();
  y.shape[static_cast<int>(a)] = n;
  y.shape[rank - 1] = onesided && inverse ? 1 : 2;
  return TensorTypes{y};
}

Status Dft::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  std::vector<int64_t> dims = x.dims();
  const int64_t parts = dims.back();
  const bool real_result = onesided && inverse;
  dims.pop_back();
  const auto a = static_cast<size_t>(axis < 0 ? axis + x.rank() : axis);
  const AxisView view = axis_view(dims, static_cast<int64_t>(a));
  int64_t length = real_result ? std::max<int64_t>(2 * (view.size - 1), 0) : view.size;
  if (context.has(1)) {
    if (context.in(1).elements() != 1) return invalid_argument("dft needs one length");
    length = context.in(1).int_at(0);
  }
  if (length < 1 || length > kMaxFftLength)
    return invalid_argument(fmt::format("dft cannot have the length {}", length));
  const int64_t given = std::min(view.size, real_result ? length / 2 + 1 : length);
  const int64_t kept = onesided && !inverse ? length / 2 + 1 : length;
  const int64_t out_parts = real_result ? 1 : 2;
  dims[a] = kept;
  dims.push_back(out_parts);
  TRY(context.allocate(0, x.dtype(), dims));
  std::vector<std::complex<double>> signal(static_cast<size_t>(length));
  visit_float(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto load = [&](int64_t i) {
      return static_cast<double>(static_cast<Arithmetic<T>>(x.data<T>()[i]));
    };
    for (int64_t o = 0; o < view.outer; ++o)
      for (int64_t i = 0; i < view.inner; ++i) {
        std::fill(signal.begin(), signal.end(), 0.0);
        for (int64_t k = 0; k < given; ++k) {
          const int64_t at = ((o * view.size + k) * view.inner + i) * parts;
          const std::complex<double> v(load(at), parts == 2 ? load(at + 1) : 0);
          signal[static_cast<size_t>(k)] = v;
          // The other half of a one-sided spectrum is its mirror image.
          if (real_result && k > 0 && 2 * k != length)
            signal[static_cast<size_t>(length - k)] = std::conj(v);
        }
        fourier_transform(signal, inverse ? 1 : -1);
        const double scale = inverse ? 1.0 / static_cast<double>(length) : 1;
        for (int64_t k = 0; k < kept; ++k) {
          T* y = context.out(0).mutable_data<T>() + ((o * kept + k) * view.inner + i) * out_parts;
          const auto v = signal[static_cast<size_t>(k)] * scale;
          y[0] = T(static_cast<Arithmetic<T>>(v.real()));
          if (out_parts == 2) y[1] = T(static_cast<Arithmetic<T>>(v.imag()));
        }
      }
  });
  return {};
}

constinit const OpDef Dft::def = define<Dft>();
OpDefs dft_ops() {
  return {&Dft::def};
}

}  // namespace tenon
