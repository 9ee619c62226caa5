#include "ops/unary_attr.h"

#include <fmt/format.h>

#include <cmath>

#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

template <typename OpStruct>
Status eval_floats(const OpStruct& op, EvalContext& context) {
  const Tensor& x = context.in(0);
  visit_float(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* in = x.data<T>();
    T* out = context.out(0).template mutable_data<T>();
    for (int64_t i = 0; i < x.elements(); ++i)
      out[i] = T(static_cast<Arithmetic<T>>(
          op.value(static_cast<double>(static_cast<Arithmetic<T>>(in[i])))));
  });
  return {};
}

}  // namespace

Result<TensorTypes> infer_unary_attr(std::string_view name, const InferContext& context,
                                     bool ints) {
  const TensorType& x = context.type(0);
  if (x.is_list || !(is_float(x.dtype) || (ints && is_int(x.dtype))))
    return invalid_argument(fmt::format("{} does not take {}", name, x.to_string()));
  return TensorTypes{x};
}

// All are written so that NaN stays NaN.
double LeakyRelu::value(double x) const {
  return x < 0 ? alpha * x : x;
}
double Elu::value(double x) const {
  return x < 0 ? alpha * std::expm1(x) : x;
}
double Selu::value(double x) const {
  return gamma * (x > 0 ? x : alpha * std::expm1(x));
}
double Celu::value(double x) const {
  return x > 0 ? x : alpha * std::expm1(x / alpha);
}
double Clip::value(double x) const {
  const double low = x < min ? min : x;
  return low > max ? max : low;
}
double HardSigmoid::value(double x) const {
  const double v = alpha * x + beta;
  return v < 0 ? 0 : (v > 1 ? 1 : v);
}
double Gelu::value(double x) const {
  constexpr double kSqrt2OverPi = 0.79788456080286535588;
  if (approximate == GeluKind::tanh)
    return 0.5 * x * (1 + std::tanh(kSqrt2OverPi * (x + 0.044715 * x * x * x)));
  return 0.5 * x * std::erfc(-x * M_SQRT1_2);
}
double ThresholdedRelu::value(double x) const {
  return x <= alpha ? 0 : x;
}
double Shrink::value(double x) const {
  if (x < -lambd) return x + bias;
  if (x > lambd) return x - bias;
  return std::isnan(x) ? x : 0;
}

Status Clip::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  if (is_float(x.dtype())) return eval_floats(*this, context);
  visit_int(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* in = x.data<T>();
    T* out = context.out(0).template mutable_data<T>();
    // Values within the bounds keep all their bits; bounds beyond the type do not bind.
    const auto bound = [](double v) {
      if (v >= static_cast<double>(std::numeric_limits<T>::max()))
        return std::numeric_limits<T>::max();
      if (!(v > static_cast<double>(std::numeric_limits<T>::min())))
        return std::numeric_limits<T>::min();
      return static_cast<T>(v);
    };
    const T low = bound(std::ceil(min)), high = bound(std::floor(max));
    for (int64_t i = 0; i < x.elements(); ++i) {
      const T v = in[i] < low ? low : in[i];
      out[i] = v > high ? high : v;
    }
  });
  return {};
}

Status LeakyRelu::eval(EvalContext& context) const {
  return eval_floats(*this, context);
}
Status Elu::eval(EvalContext& context) const {
  return eval_floats(*this, context);
}
Status Selu::eval(EvalContext& context) const {
  return eval_floats(*this, context);
}
Status Celu::eval(EvalContext& context) const {
  return eval_floats(*this, context);
}
Status HardSigmoid::eval(EvalContext& context) const {
  return eval_floats(*this, context);
}
Status Gelu::eval(EvalContext& context) const {
  return eval_floats(*this, context);
}
Status ThresholdedRelu::eval(EvalContext& context) const {
  return eval_floats(*this, context);
}
Status Shrink::eval(EvalContext& context) const {
  return eval_floats(*this, context);
}

constinit const OpDef LeakyRelu::def = define<LeakyRelu>();
constinit const OpDef Elu::def = define<Elu>();
constinit const OpDef Selu::def = define<Selu>();
constinit const OpDef Celu::def = define<Celu>();
constinit const OpDef Clip::def = define<Clip>();
constinit const OpDef HardSigmoid::def = define<HardSigmoid>();
constinit const OpDef Gelu::def = define<Gelu>();
constinit const OpDef ThresholdedRelu::def = define<ThresholdedRelu>();
constinit const OpDef Shrink::def = define<Shrink>();

OpDefs unary_attr_ops() {
  return {&LeakyRelu::def, &Elu::def,         &Selu::def, &Celu::def,
          &Clip::def,      &HardSigmoid::def, &Gelu::def, &ThresholdedRelu::def,
          &Shrink::def};
}

}  // namespace tenon
