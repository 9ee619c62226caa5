#include "ops/cumulative.h"

#include <complex>

#include "ops/axis.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

// A sums in the type A: double for floats, uint64_t (wrapping) for integers, complex for complex.
template <typename T, typename A, bool Product>
void eval_running(const Tensor& x, Tensor& y, const AxisView& view, bool exclusive, bool reverse) {
  const T* in = x.data<T>();
  T* out = y.mutable_data<T>();
  for (int64_t o = 0; o < view.outer; ++o)
    for (int64_t i = 0; i < view.inner; ++i) {
      A sum = Product ? A(1) : A(0);
      for (int64_t k = 0; k < view.size; ++k) {
        const int64_t row = reverse ? view.size - 1 - k : k;
        const int64_t at = (o * view.size + row) * view.inner + i;
        const A v = static_cast<A>(static_cast<Arithmetic<T>>(in[at]));
        const A next = Product ? sum * v : sum + v;
        out[at] = T(static_cast<Arithmetic<T>>(exclusive ? sum : next));
        sum = next;
      }
    }
}

}  // namespace

template <bool Product>
Result<TensorTypes> Cumulative<Product>::infer(const InferContext& context) const {
  return TensorTypes{TRY(check_axis_operand(name, context, axis, is_number))};
}

template <bool Product>
Status Cumulative<Product>::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  const AxisView view = axis_view(x.dims(), axis);
  using Complex = std::complex<double>;
  if (x.dtype() == DType::c64)
    eval_running<std::complex<float>, Complex, Product>(x, y, view, exclusive, reverse);
  else if (x.dtype() == DType::c128)
    eval_running<Complex, Complex, Product>(x, y, view, exclusive, reverse);
  else
    visit_real(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      using A = std::conditional_t<std::is_integral_v<T>, uint64_t, double>;
      eval_running<T, A, Product>(x, y, view, exclusive, reverse);
    });
  return {};
}

template <>
constinit const OpDef CumSum::def = define<CumSum>();
template <>
constinit const OpDef CumProd::def = define<CumProd>();
OpDefs cumulative_ops() {
  return {&CumSum::def, &CumProd::def};
}

}  // namespace tenon
