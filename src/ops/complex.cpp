#include "ops/complex.h"

#include <fmt/format.h>

#include <complex>

#include "ops/broadcast.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

template <typename R>
void eval_part(ComplexPart part, EvalContext& context) {
  using C = std::complex<R>;
  const Tensor& x = context.in(0);
  const C* in = x.data<C>();
  Tensor& y = context.out(0);
  for (int64_t i = 0; i < x.elements(); ++i) switch (part) {
      case ComplexPart::real:
        y.mutable_data<R>()[i] = in[i].real();
        break;
      case ComplexPart::imag:
        y.mutable_data<R>()[i] = in[i].imag();
        break;
      case ComplexPart::complex_abs:
        y.mutable_data<R>()[i] = std::abs(in[i]);
        break;
      case ComplexPart::angle:
        y.mutable_data<R>()[i] = std::arg(in[i]);
        break;
      case ComplexPart::conj:
        y.mutable_data<C>()[i] = std::conj(in[i]);
        break;
    }
}

template <typename R>
void eval_make(EvalContext& context) {
  const R* re = context.in(0).data<R>();
  const R* im = context.in(1).data<R>();
  auto* out = context.out(0).mutable_data<std::complex<R>>();
  broadcast_each<2>(context.out(0).dims(), {context.in(0).dims(), context.in(1).dims()},
                    [&](int64_t i, const auto& at) {
                      out[i] = {re[at[0]], im[at[1]]};
                    });
}

}  // namespace

Result<TensorTypes> infer_complex_part(ComplexPart part, const InferContext& context) {
  TensorType out = context.type(0);
  const bool real = part == ComplexPart::conj && (is_float(out.dtype) || is_int(out.dtype));
  if (out.is_list || !(is_complex(out.dtype) || real))
    return invalid_argument(fmt::format("{} needs complex numbers, not {}",
                                        kComplexParts[static_cast<size_t>(part)][0],
                                        out.to_string()));
  if (part != ComplexPart::conj) out.dtype = out.dtype == DType::c64 ? DType::f32 : DType::f64;
  return TensorTypes{out};
}

Status eval_complex_part(ComplexPart part, EvalContext& context) {
  if (context.in(0).dtype() == DType::c64)
    eval_part<float>(part, context);
  else if (context.in(0).dtype() == DType::c128)
    eval_part<double>(part, context);
  else
    context.out(0) = context.in(0);
  return {};
}

Result<TensorTypes> MakeComplex::infer(const InferContext& context) const {
  const TensorType &re = context.type(0), &im = context.type(1);
  if (re.is_list || im.is_list || re.dtype != im.dtype ||
      (re.dtype != DType::f32 && re.dtype != DType::f64))
    return invalid_argument(fmt::format("complex needs two tensors of f32 or of f64, not {} and {}",
                                        re.to_string(), im.to_string()));
  return TensorTypes{{re.dtype == DType::f32 ? DType::c64 : DType::c128,
                      TRY(broadcast_shapes(re.shape, im.shape))}};
}

Status MakeComplex::eval(EvalContext& context) const {
  if (context.in(0).dtype() == DType::f32)
    eval_make<float>(context);
  else
    eval_make<double>(context);
  return {};
}

constinit const OpDef MakeComplex::def = define<MakeComplex>();
OpDefs complex_ops() {
  return {&ComplexUnary<ComplexPart::real>::def,        &ComplexUnary<ComplexPart::imag>::def,
          &ComplexUnary<ComplexPart::complex_abs>::def, &ComplexUnary<ComplexPart::angle>::def,
          &ComplexUnary<ComplexPart::conj>::def,        &MakeComplex::def};
}

}  // namespace tenon
