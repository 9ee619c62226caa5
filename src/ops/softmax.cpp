#include "ops/softmax.h"

#include <cmath>

#include "ops/axis.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

Status eval_softmax(int64_t axis, bool logarithm, EvalContext& context) {
  const Tensor& x = context.in(0);
  const AxisView view = axis_view(x.dims(), axis);
  visit_float(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto load = [](T v) { return static_cast<double>(static_cast<Arithmetic<T>>(v)); };
    T* y = context.out(0).mutable_data<T>();
    for (int64_t o = 0; o < view.outer; ++o)
      for (int64_t i = 0; i < view.inner; ++i) {
        const int64_t base = o * view.size * view.inner + i;
        const T* in = x.data<T>() + base;
        double top = -INFINITY, sum = 0;
        for (int64_t k = 0; k < view.size; ++k) top = std::max(top, load(in[k * view.inner]));
        for (int64_t k = 0; k < view.size; ++k) sum += std::exp(load(in[k * view.inner]) - top);
        const double log_sum = std::log(sum);
        for (int64_t k = 0; k < view.size; ++k) {
          const double v = load(in[k * view.inner]) - top;
          y[base + k * view.inner] =
              T(static_cast<Arithmetic<T>>(logarithm ? v - log_sum : std::exp(v) / sum));
        }
      }
  });
  return {};
}

}  // namespace

Result<TensorTypes> Softmax::infer(const InferContext& context) const {
  return TensorTypes{TRY(check_axis_operand(name, context, axis, is_float))};
}
Status Softmax::eval(EvalContext& context) const {
  return eval_softmax(axis, false, context);
}

Result<TensorTypes> LogSoftmax::infer(const InferContext& context) const {
  return TensorTypes{TRY(check_axis_operand(name, context, axis, is_float))};
}
Status LogSoftmax::eval(EvalContext& context) const {
  return eval_softmax(axis, true, context);
}

constinit const OpDef Softmax::def = define<Softmax>();
constinit const OpDef LogSoftmax::def = define<LogSoftmax>();
OpDefs softmax_ops() {
  return {&Softmax::def, &LogSoftmax::def};
}

}  // namespace tenon
