// Shape inference and reference evaluation of the quantisation ops.
#include "ops/quantize.h"

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

bool per_tensor(const Shape& s) {
  return s.rank() == 0 || (s.rank() == 1 && s[0] == Dim(1));
}

Status check_parameters(const InferContext& context, std::string_view op, int64_t axis) {
  if (!is_float(context.dtype(1)))
    return invalid_argument(fmt::format("{}: the scale must be floating-point, not {}", op,
                                        context.type(1).to_string()));
  const Shape& x = context.shape(0);
  Dim length = Dim::unknown();
  for (const int i : {1, 2}) {
    if (!context.has(i) || !context.shape(i).ranked()) continue;
    const Shape& s = context.shape(i);
    if (s.rank() > 1)
      return unsupported(
          fmt::format("{} takes one scale or one per index of an axis, not {}; "
                      "blocked quantisation is not supported",
                      op, s.to_string()));
    if (per_tensor(s)) continue;
    if (x.ranked()) length = nn::known_of(length, x[TRY(normalize_axis(axis, x.rank()))]);
    TRY(nn::expect_vector(context, op, i, length, "one value per index of the axis"));
    length = nn::known_of(length, s[0]);
  }
  return {};
}

// Maps an element of x to its element of scale and zero.
struct AxisIndex {
  int64_t inner = 1, size = 1;

  int64_t operator()(const Tensor& parameter, int64_t i) const {
    return parameter.elements() == 1 ? 0 : i / inner % size;
  }
};

Result<AxisIndex> axis_index(const EvalContext& context, int64_t axis) {
  const Tensor& x = context.in(0);
  AxisIndex index;
  if (context.in(1).elements() == 1 && (!context.has(2) || context.in(2).elements() == 1))
    return index;
  const int a = TRY(normalize_axis(axis, x.rank()));
  index.size = x.dim(a);
  for (int i = a + 1; i < x.rank(); ++i) index.inner *= x.dim(i);
  return index;
}

}  // namespace

Result<TensorTypes> QuantizeLinear::infer(const InferContext& context) const {
  TRY(nn::expect_float(context, name));
  TRY(check_parameters(context, name, axis));
  const bool has_zero = context.has(2);
  const DType type = dtype != DType::none ? dtype : (has_zero ? context.dtype(2) : DType::u8);
  if (!is_int(type) || dtype_size(type) > 4)
    return unsupported(
        fmt::format("{} makes integers of 8, 16 or 32 bits, not {}", name, dtype_name(type)));
  if (has_zero && context.dtype(2) != type)
    return invalid_argument(fmt::format("{}: the zero point is {}, but the result is {}", name,
                                        context.type(2).to_string(), dtype_name(type)));
  return TensorTypes{{type, context.shape(0)}};
}

Status QuantizeLinear::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  const AxisIndex at = TRY(axis_index(context, axis));
  const bool single = x.dtype() != DType::f64;
  visit_int(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* out = y.mutable_data<T>();
    for (int64_t i = 0; i < x.elements(); ++i) {
      const double v = x.real_at(i), s = context.in(1).real_at(at(context.in(1), i));
      // Ties depend on the precision of the quotient: divide as the source frameworks do.
      const double q =
          single ? static_cast<double>(static_cast<float>(v) / static_cast<float>(s)) : v / s;
      const double zero = context.has(2) ? context.in(2).real_at(at(context.in(2), i)) : 0;
      out[i] = nn::from_real<T>(std::nearbyint(q) + zero);
    }
  });
  return {};
}

Result<TensorTypes> DequantizeLinear::infer(const InferContext& context) const {
  if (context.type(0).is_list || !is_int(context.dtype(0)))
    return invalid_argument(
        fmt::format("{} needs integers, not {}", name, context.type(0).to_string()));
  if (context.has(2) && context.dtype(2) != context.dtype(0))
    return invalid_argument(fmt::format("{}: the zero point is {}, but the input {}", name,
                                        context.type(2).to_string(), context.type(0).to_string()));
  TRY(check_parameters(context, name, axis));
  return TensorTypes{{context.dtype(1), context.shape(0)}};
}

Status DequantizeLinear::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const AxisIndex at = TRY(axis_index(context, axis));
  auto values = nn::reals(x);
  for (int64_t i = 0; i < x.elements(); ++i) {
    const double zero = context.has(2) ? context.in(2).real_at(at(context.in(2), i)) : 0;
    double& v = values[static_cast<size_t>(i)];
    v = (v - zero) * context.in(1).real_at(at(context.in(1), i));
  }
  nn::store_reals(context.out(0), values);
  return {};
}

Result<TensorTypes> FakeQuant::infer(const InferContext& context) const {
  TRY(nn::expect_float(context, name));
  if (bits < 2 || bits > 16)
    return invalid_argument(fmt::format("fake_quant needs 2 to 16 bits, not {}", bits));
  if (!(min <= max) || !std::isfinite(min) || !std::isfinite(max))
    return invalid_argument(fmt::format("fake_quant needs a range, not [{}, {}]", min, max));
  return TensorTypes{context.type(0)};
}

FakeQuantLevels FakeQuant::levels() const {
  const float low = narrow ? 1 : 0, high = static_cast<float>((int64_t{1} << bits) - 1);
  const float first = static_cast<float>(min), last = static_cast<float>(max);
  const float step = (last - first) / (high - low);
  const float zero = step > 0 ? std::clamp(std::round(low - first / step), low, high) : 0;
  return {(low - zero) * step, (high - zero) * step, step};
}

Status FakeQuant::eval(EvalContext& context) const {
  auto values = nn::reals(context.in(0));
  const auto [from, to, step] = levels();
  const float inverse = 1 / step;
  for (double& v : values) {
    if (step == 0) {
      v = 0;
      continue;
    }
    const float x = static_cast<float>(v), clamped = x < from ? from : (x > to ? to : x);
    v = static_cast<double>(std::floor((clamped - from) * inverse + 0.5f) * step + from);
  }
  nn::store_reals(context.out(0), values);
  return {};
}

Result<TensorTypes> DynamicQuantizeLinear::infer(const InferContext& context) const {
  TRY(nn::expect_float(context, name));
  if (context.dtype(0) != DType::f32)
    return invalid_argument(
        fmt::format("{} needs an f32 input, not {}", name, context.type(0).to_string()));
  return TensorTypes{{DType::u8, context.shape(0)}, {DType::f32, Shape{}}, {DType::u8, Shape{}}};
}

Status DynamicQuantizeLinear::eval(EvalContext& context) const {
  const auto x = context.in(0).span<float>();
  float low = 0, high = 0;
  for (const float v : x) low = std::min(low, v), high = std::max(high, v);
  const float range = (high - low) / 255.0f;
  const float scale = range > 0 ? range : 1.0f;
  const auto zero = nn::from_real<uint8_t>(static_cast<double>(-low / scale));
  uint8_t* y = context.out(0).mutable_data<uint8_t>();
  for (size_t i = 0; i < x.size(); ++i)
    y[i] = nn::from_real<uint8_t>(static_cast<double>(std::nearbyint(x[i] / scale)) + zero);
  context.out(1).mutable_data<float>()[0] = scale;
  context.out(2).mutable_data<uint8_t>()[0] = zero;
  return {};
}

constinit const OpDef QuantizeLinear::def = define<QuantizeLinear>();
constinit const OpDef DequantizeLinear::def = define<DequantizeLinear>();
constinit const OpDef FakeQuant::def = define<FakeQuant>();
constinit const OpDef DynamicQuantizeLinear::def = define<DynamicQuantizeLinear>();
OpDefs quantize_ops() {
  return {&QuantizeLinear::def, &DequantizeLinear::def, &FakeQuant::def,
          &DynamicQuantizeLinear::def};
}

}  // namespace tenon
