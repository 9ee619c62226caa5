#include "ops/cumulative.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>

#include "ops/axis.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

template <typename T, typename A>
A widened(const T& v) {
  if constexpr (std::is_signed_v<T> && std::is_integral_v<T>)
    return static_cast<A>(static_cast<int64_t>(v));
  else
    return static_cast<A>(static_cast<Arithmetic<T>>(v));
}

template <typename A, CumulativeKind K>
A start() {
  if constexpr (K == CumulativeKind::log_sum_exp) return -std::numeric_limits<A>::infinity();
  return K == CumulativeKind::product ? A(1) : A(0);
}

template <typename A, CumulativeKind K>
A combined(A sum, A v) {
  if constexpr (K == CumulativeKind::log_sum_exp) {
    const A high = std::max(sum, v), low = std::min(sum, v);
    // Also where both are infinite.
    return high == low ? high + std::log(A(2)) : high + std::log1p(std::exp(low - high));
  } else {
    return K == CumulativeKind::product ? sum * v : sum + v;
  }
}

// A sums in the type A: double for floats, uint64_t (wrapping) for integers, complex for complex.
template <typename T, typename A, CumulativeKind K>
void eval_running(const Tensor& x, Tensor& y, const AxisView& view, bool exclusive, bool reverse) {
  const T* in = x.data<T>();
  T* out = y.mutable_data<T>();
  for (int64_t o = 0; o < view.outer; ++o)
    for (int64_t i = 0; i < view.inner; ++i) {
      A sum = start<A, K>();
      for (int64_t k = 0; k < view.size; ++k) {
        const int64_t row = reverse ? view.size - 1 - k : k;
        const int64_t at = (o * view.size + row) * view.inner + i;
        const A v = widened<T, A>(in[at]);
        const A next = combined<A, K>(sum, v);
        out[at] = T(static_cast<Arithmetic<T>>(exclusive ? sum : next));
        sum = next;
      }
    }
}

}  // namespace

template <CumulativeKind K>
Result<TensorTypes> Cumulative<K>::infer(const InferContext& context) const {
  const auto takes = K == CumulativeKind::log_sum_exp ? is_float : is_number;
  return TensorTypes{TRY(check_axis_operand(name, context, axis, takes))};
}

template <CumulativeKind K>
Status Cumulative<K>::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  const AxisView view = axis_view(x.dims(), axis);
  if constexpr (K == CumulativeKind::log_sum_exp) {
    visit_float(x.dtype(), [&](auto tag) {
      eval_running<typename decltype(tag)::type, double, K>(x, y, view, exclusive, reverse);
    });
  } else {
    using Complex = std::complex<double>;
    if (x.dtype() == DType::c64)
      eval_running<std::complex<float>, Complex, K>(x, y, view, exclusive, reverse);
    else if (x.dtype() == DType::c128)
      eval_running<Complex, Complex, K>(x, y, view, exclusive, reverse);
    else
      visit_real(x.dtype(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        using A = std::conditional_t<std::is_integral_v<T>, uint64_t, double>;
        eval_running<T, A, K>(x, y, view, exclusive, reverse);
      });
  }
  return {};
}

template <>
constinit const OpDef CumSum::def = define<CumSum>();
template <>
constinit const OpDef CumProd::def = define<CumProd>();
template <>
constinit const OpDef CumLogSumExp::def = define<CumLogSumExp>();
OpDefs cumulative_ops() {
  return {&CumSum::def, &CumProd::def, &CumLogSumExp::def};
}

}  // namespace tenon
