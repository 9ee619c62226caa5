// Shape inference and reference evaluation of the products of 8-bit integers.
#include "ops/quantized_product.h"

#include "ops/conv.h"
#include "ops/matmul.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

enum Operand { kX, kWeights, kXZero, kWeightsZero, kScale, kBias, kYScale, kYZero };

bool is_byte(DType t) {
  return t == DType::i8 || t == DType::u8;
}

// Checks what both ops share; the type of the result.
Result<DType> check_operands(const InferContext& c, std::string_view op, ActivationKind activation,
                             Dim channels) {
  if (c.type(kX).is_list || c.type(kWeights).is_list || !is_byte(c.dtype(kX)) ||
      !is_byte(c.dtype(kWeights)))
    return invalid_argument(fmt::format("{} needs operands of i8 or u8, not {} and {}", op,
                                        c.type(kX).to_string(), c.type(kWeights).to_string()));
  if (!is_fusable(activation))
    return invalid_argument(fmt::format("{} cannot apply this activation", op));
  if (activation != ActivationKind::none && !c.has(kScale))
    return invalid_argument(fmt::format("{} without a scale takes no activation", op));
  const auto expect = [&](int i, bool fits) -> Status {
    if (!c.has(i) || (fits && !c.type(i).is_list)) return {};
    return invalid_argument(
        fmt::format("{}: operand {} cannot be {}", op, i, c.type(i).to_string()));
  };
  const auto channel_vector = [&](int i) -> Status {
    if (!c.has(i) || !c.shape(i).ranked() || c.shape(i).elements() == 1) return {};
    return nn::expect_vector(c, op, i, channels, "one value per channel");
  };
  TRY(expect(kXZero, c.has(kXZero) && c.dtype(kXZero) == c.dtype(kX)));
  TRY(expect(kWeightsZero, c.has(kWeightsZero) && c.dtype(kWeightsZero) == c.dtype(kWeights)));
  TRY(expect(kScale, c.has(kScale) && c.dtype(kScale) == DType::f32));
  TRY(expect(kBias, c.has(kScale) && c.has(kBias) && c.dtype(kBias) == DType::f32));
  TRY(expect(kYScale, c.has(kScale) && c.has(kYScale) && c.dtype(kYScale) == DType::f32));
  TRY(expect(kYZero, c.has(kYScale) && c.has(kYZero) && is_byte(c.dtype(kYZero))));
  if (c.has(kYScale) && !c.has(kYZero))
    return invalid_argument(fmt::format("{}: y_scale needs y_zero", op));
  for (const int i : {kXZero, kYScale, kYZero}) TRY(nn::expect_scalar(c, op, i));
  for (const int i : {kWeightsZero, kScale}) TRY(channel_vector(i));
  TRY(nn::expect_vector(c, op, kBias, channels, "one value per channel"));
  return c.has(kYScale) ? c.dtype(kYZero) : c.has(kScale) ? DType::f32 : DType::i32;
}

Dim last_dim(const Shape& s) {
  return s.ranked() && s.rank() > 0 ? s[s.rank() - 1] : Dim::unknown();
}

// x less its zero point, in f64: the sums of their products are exact.
Result<Tensor> centred(const Tensor& x, const EvalContext& context, int zero) {
  Tensor y = TRY(Tensor::allocate(DType::f64, x.dims()));
  double* out = y.mutable_data<double>();
  const Tensor* z = context.has(zero) ? &context.in(zero) : nullptr;
  const int64_t n = z == nullptr ? 1 : std::max<int64_t>(z->elements(), 1);
  for (int64_t i = 0; i < x.elements(); ++i)
    out[i] = static_cast<double>(x.int_at(i) - (z == nullptr ? 0 : z->int_at(i % n)));
  return y;
}

// The result from the sums; channels last.
void finish(EvalContext& context, const Tensor& sums, ActivationKind activation, double alpha,
            double beta) {
  Tensor& y = context.out(0);
  const double* s = sums.data<double>();
  const int64_t channels = sums.rank() == 0 ? 1 : sums.dim(sums.rank() - 1);
  const auto at = [&](int operand, int64_t channel) {
    const Tensor& t = context.in(operand);
    return t.real_at(t.elements() == 1 ? 0 : channel);
  };
  visit_real(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* out = y.mutable_data<T>();
    for (int64_t i = 0; i < sums.elements(); ++i) {
      if (!context.has(kScale)) {
        // Modulo 2^32, as integer arithmetic.
        out[i] = static_cast<T>(static_cast<int32_t>(static_cast<int64_t>(s[i])));
        continue;
      }
      double v = s[i] * at(kScale, i % channels);
      if (context.has(kBias)) v += at(kBias, i % channels);
      v = activate(activation, alpha, beta, v);
      if (context.has(kYScale)) {
        const float q = static_cast<float>(v) / static_cast<float>(at(kYScale, 0));
        v = static_cast<double>(std::nearbyint(q)) + at(kYZero, 0);
      }
      out[i] = nn::from_real<T>(v);
    }
  });
}

Status multiply(EvalContext& context, const Op& product, ActivationKind activation, double alpha,
                double beta) {
  const Tensor operands[] = {TRY(centred(context.in(kX), context, kXZero)),
                             TRY(centred(context.in(kWeights), context, kWeightsZero))};
  const auto sums = TRY(evaluate(product, operands));
  finish(context, sums[0], activation, alpha, beta);
  return {};
}

Conv plain(const QuantizedConv& op) {
  Conv conv;
  conv.strides = op.strides;
  conv.pads = op.pads;
  conv.dilations = op.dilations;
  conv.groups = op.groups;
  conv.auto_pad = op.auto_pad;
  return conv;
}

}  // namespace

Result<TensorTypes> QuantizedConv::infer(const InferContext& context) const {
  const DType type =
      TRY(check_operands(context, name, activation, last_dim(context.shape(kWeights))));
  const OperandInfo operands[] = {{TensorType{DType::f32, context.shape(kX)}},
                                  {TensorType{DType::f32, context.shape(kWeights)}}};
  TensorTypes types = TRY(plain(*this).infer(InferContext(operands)));
  types[0].dtype = type;
  return types;
}

Status QuantizedConv::eval(EvalContext& context) const {
  return multiply(context, *make_op(plain(*this)), activation, alpha, beta);
}

int64_t QuantizedConv::flops(std::span<const TensorType> in,
                             std::span<const TensorType> out) const {
  return plain(*this).flops(in, out);
}

Result<TensorTypes> QuantizedMatmul::infer(const InferContext& context) const {
  const DType type =
      TRY(check_operands(context, name, activation, last_dim(context.shape(kWeights))));
  const OperandInfo operands[] = {{TensorType{DType::f32, context.shape(kX)}},
                                  {TensorType{DType::f32, context.shape(kWeights)}}};
  TensorTypes types = TRY(Matmul{}.infer(InferContext(operands)));
  types[0].dtype = type;
  return types;
}

Status QuantizedMatmul::eval(EvalContext& context) const {
  return multiply(context, *make_op(Matmul{}), activation, alpha, beta);
}

int64_t QuantizedMatmul::flops(std::span<const TensorType> in,
                               std::span<const TensorType> out) const {
  return Matmul{}.flops(in, out);
}

constinit const OpDef QuantizedConv::def = define<QuantizedConv>();
constinit const OpDef QuantizedMatmul::def = define<QuantizedMatmul>();
OpDefs quantized_product_ops() {
  return {&QuantizedConv::def, &QuantizedMatmul::def};
}

}  // namespace tenon
