#include "ops/arg_max.h"

#include <fmt/format.h>

#include "ops/axis.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

bool orderable(DType t) {
  return is_float(t) || is_int(t) || t == DType::boolean;
}

template <typename T, bool Max>
void eval_arg(const Tensor& x, Tensor& y, const AxisView& view, bool last) {
  const T* in = static_cast<const T*>(x.raw());
  for (int64_t o = 0; o < view.outer; ++o)
    for (int64_t i = 0; i < view.inner; ++i) {
      const T* row = in + o * view.size * view.inner + i;
      int64_t best = 0;
      for (int64_t k = 1; k < view.size; ++k) {
        const auto v = static_cast<Arithmetic<T>>(row[k * view.inner]);
        const auto b = static_cast<Arithmetic<T>>(row[best * view.inner]);
        // NaN is never the one.
        if ((Max ? v > b : v < b) || (last && v == b) || (b != b && v == v)) best = k;
      }
      visit_int(y.dtype(), [&](auto tag) {
        using I = typename decltype(tag)::type;
        y.mutable_data<I>()[o * view.inner + i] = static_cast<I>(best);
      });
    }
}

}  // namespace

template <bool Max>
Result<TensorTypes> ArgExtreme<Max>::infer(const InferContext& context) const {
  TensorType out = TRY(check_axis_operand(name, context, axis, orderable));
  if (!is_int(dtype))
    return invalid_argument(
        fmt::format("{} needs an integer dtype for its result, not {}", name, dtype_name(dtype)));
  out.dtype = dtype;
  if (!out.shape.ranked()) return TensorTypes{out};
  const auto a = axis < 0 ? axis + out.shape.rank() : axis;
  if (out.shape[static_cast<int>(a)] == Dim(0))
    return invalid_argument(fmt::format("{} along axis {} of {}, which is empty", name, axis,
                                        context.type(0).to_string()));
  if (keep_dims)
    out.shape[static_cast<int>(a)] = 1;
  else
    out.shape.dims().erase(out.shape.dims().begin() + a);
  return TensorTypes{out};
}

template <bool Max>
Status ArgExtreme<Max>::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const AxisView view = axis_view(x.dims(), axis);
  if (x.dtype() == DType::boolean)
    eval_arg<uint8_t, Max>(x, context.out(0), view, select_last_index);
  else
    visit_real(x.dtype(), [&](auto tag) {
      eval_arg<typename decltype(tag)::type, Max>(x, context.out(0), view, select_last_index);
    });
  return {};
}

template <>
constinit const OpDef ArgMax::def = define<ArgMax>();
template <>
constinit const OpDef ArgMin::def = define<ArgMin>();
OpDefs arg_max_ops() {
  return {&ArgMax::def, &ArgMin::def};
}

}  // namespace tenon
