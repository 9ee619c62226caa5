// Rules of quantisation: between real numbers and integers, and integer products. Products of
// quantised tensors become real products between core (de)quantisations, which passes can fuse.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "import/onnx/graph_importer.h"
#include "import/onnx/quantized.h"
#include "import/onnx/rule_support.h"
#include "import/onnx/windows.h"
#include "tensor/narrow.h"

namespace tenon::onnx {
namespace {

Result<Parameters> parameters(const RuleContext& c) {
  Parameters p{TRY(c.get_int("axis", 1)), TRY(c.get_int("block_size", 0))};
  if (p.block < 0) return invalid_model(fmt::format("attribute 'block_size' is {}", p.block));
  return p;
}

// A scalar or one value per index of an axis is what the core ops take.
Result<bool> is_simple(const Value* scale, const Parameters& p) {
  if (!scale->shape().ranked())
    return unsupported("the number of dimensions of the scale is not known");
  return scale->shape().rank() == 0 || (scale->shape().rank() == 1 && p.block == 0);
}

// Blocks along the axis: each value repeated, cut to the length of x.
Result<Value*> spread(RuleContext& c, Value* v, const Value* x, const Parameters& p) {
  if (v == nullptr || p.block == 0) return v;
  if (!v->shape().is_static() || !x->shape().ranked() || v->shape().rank() != x->shape().rank())
    return unsupported("blocked quantisation needs scales of known shape and x's dimensions");
  const int axis = TRY(normalize_axis(p.axis, x->shape().rank()));
  const Dim length = x->shape()[axis];
  if (!length.known()) return unsupported("blocked quantisation needs the size of the axis");
  std::vector<int64_t> sizes = v->shape().sizes();
  const auto at = static_cast<size_t>(axis);
  if (length.size() > 0 && sizes[at] != (length.size() - 1) / p.block + 1)
    return invalid_model(
        fmt::format("{} blocks of {} do not cover {}", sizes[at], p.block, length.size()));
  std::vector<int64_t> repeated = sizes, merged = sizes;
  repeated.insert(repeated.begin() + axis + 1, std::min(p.block, length.size()));
  merged[at] = sizes[at] * repeated[at + 1];
  Value* y = TRY(expand_dims(c, v, {axis + 1}));
  y = TRY(c.op("expand", {y, c.builder.ints(repeated)}));
  y = TRY(c.reshape(y, merged));
  if (merged[at] == length.size()) return y;
  return c.op("slice", {y, c.builder.ints({0}), c.builder.ints({length.size()})},
              {{"axes", std::vector<int64_t>{axis}}});
}

// The range of an integer type, as floats that convert back.
Result<Value*> saturated(RuleContext& c, Value* x, DType to) {
  const int bits = static_cast<int>(dtype_size(to)) * 8;
  const double span = std::ldexp(1.0, bits);
  const double low = is_signed_int(to) ? -span / 2 : 0;
  return c.op("clip", {x}, {{"min", low}, {"max", low + span - 1}});
}

// One value per index of an axis of a tensor of some rank, so that it broadcasts.
Result<Value*> along(RuleContext& c, Value* v, int axis, int rank) {
  if (v == nullptr || !v->shape().ranked() || v->shape().rank() != 1) return v;
  std::vector<int64_t> shape(static_cast<size_t>(rank), 1);
  shape[static_cast<size_t>(axis)] = -1;
  return c.reshape(v, shape);
}

// x minus its zero point as numbers of another type.
Result<Value*> centred(RuleContext& c, Value* x, Value* zero, DType type) {
  x = TRY(c.cast(x, type));
  if (zero == nullptr) return x;
  return c.op("sub", {x, TRY(c.cast(zero, type))});
}

// Whether the core ops take this as the zero point of an operand: one number, or one per channel.
bool is_zero_point(const Value* v, bool per_channel) {
  if (v == nullptr) return true;
  if (!v->shape().is_static()) return false;
  return v->shape().rank() <= 1 && (per_channel || v->shape().elements() == 1);
}

}  // namespace

Result<Value*> dequantized(RuleContext& c, Value* x, Value* scale, Value* zero,
                           const Parameters& p) {
  if (TRY(is_simple(scale, p)))
    return c.op("dequantize_linear", {x, scale, zero}, {{"axis", p.axis}});
  Value* y = TRY(c.cast(x, scale->dtype()));
  if (zero != nullptr)
    y = TRY(c.op("sub", {y, TRY(c.cast(TRY(spread(c, zero, x, p)), scale->dtype()))}));
  return c.op("mul", {y, TRY(spread(c, scale, x, p))});
}

Result<Value*> quantized(RuleContext& c, Value* x, Value* scale, Value* zero, DType to,
                         const Parameters& p) {
  if (TRY(is_simple(scale, p)))
    return c.op("quantize_linear", {x, scale, zero}, {{"axis", p.axis}, {"dtype", to}});
  Value* y = TRY(c.op("round", {TRY(c.op("div", {x, TRY(spread(c, scale, x, p))}))}));
  if (zero != nullptr)
    y = TRY(c.op("add", {y, TRY(c.cast(TRY(spread(c, zero, x, p)), x->dtype()))}));
  return c.cast(TRY(saturated(c, y, to)), to);
}

Result<Value*> integer_product(RuleContext& c, Value* a, Value* b, Value* za, Value* zb) {
  if (!a->shape().ranked() || !b->shape().ranked())
    return unsupported("the number of dimensions of the factors is not known");
  const int a_rank = a->shape().rank(), b_rank = b->shape().rank();
  if (a_rank >= 2 && b_rank >= 2 && is_zero_point(za, false) && is_zero_point(zb, true))
    return c.op("quantized_matmul", {a, b, za, zb});
  if (a_rank >= 2) za = TRY(along(c, za, a_rank - 2, a_rank));
  return matrix_product(c, TRY(centred(c, a, za, DType::i32)), TRY(centred(c, b, zb, DType::i32)));
}

namespace {

// The type quantisation to a narrow integer is computed in; others are their own.
DType wide_type(DType t) {
  if (t == narrow::i4 || t == narrow::i2) return DType::i8;
  return t == narrow::u4 || t == narrow::u2 ? DType::u8 : t;
}

Result<DType> target_of(const RuleContext& c) {
  if (TRY(c.get_int("output_dtype", 0)) != 0) return c.get_dtype("output_dtype");
  return c.has(2) ? c.in(2)->dtype() : DType::u8;
}

// A scale or zero point so that it broadcasts with x, but for blocks.
Result<Value*> along_axis(RuleContext& c, Value* v, const Value* x, const Parameters& p) {
  const bool is_vector = v != nullptr && v->shape().ranked() && v->shape().rank() == 1;
  if (!is_vector || p.block != 0 || !x->shape().ranked() || v->shape()[0] == Dim(1)) return v;
  const int rank = x->shape().rank();
  return along(c, v, TRY(normalize_axis(p.axis, rank)), rank);
}

// Floats of few bits have no rounding of their own but the cast's.
Result<Value*> quantized_float(RuleContext& c, Value* x, Value* scale, Value* zero, DType to,
                               const Parameters& p) {
  const bool saturate = TRY(c.get_bool("saturate", true));
  scale = TRY(along_axis(c, scale, x, p));
  zero = TRY(along_axis(c, zero, x, p));
  Value* y = TRY(c.op("div", {x, TRY(spread(c, scale, x, p))}));
  if (zero != nullptr)
    y = TRY(c.op("add", {y, TRY(c.cast(TRY(spread(c, zero, x, p)), x->dtype()))}));
  return c.op("cast", {y}, {{"to", to}, {"saturate", saturate}});
}

Result<Values> quantize(RuleContext& c) {
  const Parameters p = TRY(parameters(c));
  const DType target = TRY(target_of(c)), wide = wide_type(target);
  Value* x = c.in(0);
  if (is_int(x->dtype())) x = TRY(c.cast(x, DType::f32));
  Value* scale = TRY(c.cast(c.in(1), x->dtype()));
  Value* zero = c.in(2);
  if (is_narrow_float(target)) return one(quantized_float(c, x, scale, zero, target, p));
  if (zero != nullptr) zero = TRY(c.cast(zero, wide));
  Value* y = TRY(quantized(c, x, scale, zero, wide, p));
  if (wide == target) return Values{y};
  const int width = narrow_bits(target);
  const double low = wide == DType::i8 ? -std::ldexp(1.0, width - 1) : 0;
  y = TRY(c.op("clip", {y}, {{"min", low}, {"max", low + std::ldexp(1.0, width) - 1}}));
  return one(c.cast(y, target));
}

// A tensor of a narrow type in one that arithmetic is done in.
Result<Value*> widened(RuleContext& c, Value* x) {
  if (x == nullptr || !is_narrow(x->dtype())) return x;
  return c.cast(x, is_narrow_float(x->dtype()) ? DType::f32 : wide_type(x->dtype()));
}

Result<Values> dequantize(RuleContext& c) {
  const Parameters p = TRY(parameters(c));
  Value* x = TRY(widened(c, c.in(0)));
  Value* zero = TRY(widened(c, c.in(2)));
  Value* scale = c.in(1);
  Value* y = nullptr;
  if (is_float(x->dtype()) && p.block == 0) {
    zero = TRY(along_axis(c, zero, x, p));
    y = TRY(c.cast(x, scale->dtype()));
    if (zero != nullptr) y = TRY(c.op("sub", {y, TRY(c.cast(zero, scale->dtype()))}));
    y = TRY(c.op("mul", {y, TRY(along_axis(c, scale, x, p))}));
  } else {
    y = TRY(dequantized(c, x, scale, zero, p));
  }
  const int64_t wanted = TRY(c.get_int("output_dtype", 0));
  if (wanted == 0) return Values{y};
  return one(c.cast(y, TRY(c.get_dtype("output_dtype"))));
}

Result<Values> dynamic_quantize(RuleContext& c) {
  return all(c.builder.node("dynamic_quantize_linear", {c.in(0)}));
}

Result<Values> matmul_integer(RuleContext& c) {
  return one(integer_product(c, c.in(0), c.in(1), c.in(2), c.in(3)));
}

Result<Values> conv_integer(RuleContext& c) {
  const Shape& w = c.in(1)->shape();
  if (!w.ranked() || w.rank() < 3) return invalid_model("the weights need 3 dimensions or more");
  if (is_zero_point(c.in(2), false) && is_zero_point(c.in(3), true))
    return one(convolution(c, "quantized_conv", c.in(0), c.in(1), {c.in(2), c.in(3)}));
  Value* x = TRY(centred(c, c.in(0), c.in(2), DType::f64));
  Value* zero = TRY(along(c, c.in(3), 0, w.rank()));
  Value* weights = TRY(centred(c, c.in(1), zero, DType::f64));
  return one(c.cast(TRY(convolution(c, x, weights, nullptr)), DType::i32));
}

Result<Values> qlinear_conv(RuleContext& c) {
  const int rank = TRY(c.rank(0));
  if (rank < 3) return invalid_model("the input needs 3 dimensions or more");
  Value* x = TRY(dequantized(c, c.in(0), c.in(1), c.in(2), {}));
  Value* w = TRY(dequantized(c, c.in(3), c.in(4), c.in(5), {.axis = 0}));
  Value* bias = c.in(8);
  if (bias != nullptr)
    bias = TRY(c.op("mul", {TRY(c.cast(bias, DType::f32)), TRY(c.op("mul", {c.in(1), c.in(4)}))}));
  if (bias != nullptr) bias = TRY(c.reshape(bias, {-1}));
  Value* y = TRY(convolution(c, x, w, bias));
  return one(quantized(c, y, c.in(6), c.in(7), c.in(7)->dtype(), {}));
}

Result<Values> qlinear_matmul(RuleContext& c) {
  // Vectors of parameters go with the rows of a and of the result, and the columns of b.
  Value* a = TRY(dequantized(c, c.in(0), c.in(1), c.in(2), {.axis = -2}));
  Value* b = TRY(dequantized(c, c.in(3), c.in(4), c.in(5), {.axis = -1}));
  Value* y = TRY(matrix_product(c, a, b));
  return one(quantized(c, y, c.in(6), c.in(7), c.in(7)->dtype(), {.axis = -2}));
}

constexpr Rule kRules[] = {
    {"ConvInteger", {2, 4}, conv_integer},
    {"DequantizeLinear", {2, 3}, dequantize},
    {"DequantizeLinear", {2, 3}, dequantize, 1, "com.microsoft"},
    {"DynamicQuantizeLinear", 1, dynamic_quantize},
    {"MatMulInteger", {2, 4}, matmul_integer},
    {"QLinearConv", {8, 9}, qlinear_conv},
    {"QLinearMatMul", 8, qlinear_matmul},
    {"QuantizeLinear", {2, 3}, quantize},
    {"QuantizeLinear", {2, 3}, quantize, 1, "com.microsoft"},
};

}  // namespace

std::span<const Rule> quantize_rules() {
  return kRules;
}

}  // namespace tenon::onnx
