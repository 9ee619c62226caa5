#include "lower/vector_code.h"

#include <algorithm>
#include <cmath>

namespace tenon::lower {

using isa::Relation;
using isa::Rounding;

VectorCode::VectorCode(ProgramBuilder& builder, int memory, int64_t slot_bytes, DType real)
    : builder_(builder), memory_(memory), slot_bytes_(slot_bytes), real_(computed_dtype(real)) {}

Register VectorCode::temporary(DType dtype) {
  auto slot = std::ranges::find_if(*slots_, &Slot::free);
  if (slot == slots_->end()) {
    slots_->push_back({builder_.allocate(memory_, slot_bytes_), true});
    slot = std::prev(slots_->end());
  }
  slot->free = false;
  widest_ = std::max(widest_, static_cast<int64_t>(dtype_size(dtype)));
  const size_t index = static_cast<size_t>(slot - slots_->begin());
  Register r;
  r.view = builder_.local(memory_, slot->place, dtype, axes_);
  r.place = std::shared_ptr<void>(nullptr,
                                  [slots = slots_, index](void*) { (*slots)[index].free = true; });
  return r;
}

bool VectorCode::has(Opcode op) const {
  const auto views = static_cast<size_t>(isa::info(op).views);
  View v;
  v.memory = memory_;
  return builder_.architecture().route(op, std::vector<View>(views, v)) != nullptr;
}

Register VectorCode::unary(Opcode op, const Register& operand) {
  const Register x = computed(operand);
  Register y = temporary(x.view.dtype);
  builder_.emit(op, {y.view, x.view});
  return y;
}

void VectorCode::emit(Opcode op, const Register& to, const Register& from) {
  builder_.emit(op, {to.view, from.view});
}

void VectorCode::emit_fill(const Register& to, double value) {
  builder_.emit(Opcode::fill, {to.view}, {}, value);
}

Register VectorCode::tile(const Register& x, DType dtype) {
  if (x.number) {
    Register y = temporary(dtype);
    builder_.emit(Opcode::fill, {y.view}, {}, *x.number);
    return y;
  }
  return x.view.dtype == dtype ? x : convert(x, dtype, Rounding::truncate);
}

Register VectorCode::computed(const Register& x) {
  return x.number ? x : tile(x, computed_dtype(x.view.dtype));
}

Register VectorCode::convert(const Register& x, DType to, Rounding rounding) {
  Register y = temporary(to);
  builder_.emit(Opcode::convert, {y.view, x.view}, {static_cast<int64_t>(rounding)});
  return y;
}

Register VectorCode::round(const Register& x, DType to) {
  return convert(x, to, Rounding::even);
}

Register VectorCode::floor(const Register& x) {
  return convert(x, DType::i32, Rounding::floor);
}

// Where i32 holds it, by i32: beyond, numbers are whole already, or none.
Register VectorCode::whole_number(const Register& x, Rounding rounding) {
  constexpr double kWhole = 0x1p23;  // every f32 from here on
  const Register small = compare(Relation::less, unary(Opcode::abs, x), number(kWhole));
  return select(small, tile(convert(x, DType::i32, rounding), x.view.dtype), x);
}

Register VectorCode::binary(Opcode op, const Register& left_operand,
                            const Register& right_operand) {
  const Register a = computed(left_operand), b = computed(right_operand);
  if (a.number && b.number) return binary(op, tile(a, real_), b);
  const auto scalar = [&](Opcode with, const Register& x, double s) {
    Register y = temporary(x.view.dtype);
    builder_.emit(with, {y.view, x.view}, {}, s);
    return y;
  };
  const bool left = a.number.has_value();
  if (a.number || b.number) {
    const Register& x = left ? b : a;
    const double s = left ? *a.number : *b.number;
    switch (op) {
      case Opcode::add:
        return scalar(Opcode::adds, x, s);
      case Opcode::mul:
        return scalar(Opcode::muls, x, s);
      case Opcode::max:
        return scalar(Opcode::maxs, x, s);
      case Opcode::min:
        return scalar(Opcode::mins, x, s);
      case Opcode::sub:
        return left ? scalar(Opcode::adds, scalar(Opcode::muls, x, -1), s)
                    : scalar(Opcode::adds, x, -s);
      case Opcode::div:
        if (!left) return scalar(Opcode::muls, x, 1 / s);
        return scalar(Opcode::muls, unary(Opcode::reciprocal, x), s);
      default:
        break;
    }
  }
  const DType dtype = a.number ? b.view.dtype : a.view.dtype;
  const Register x = tile(a, dtype), y = tile(b, dtype);
  Register z = temporary(dtype);
  builder_.emit(op, {z.view, x.view, y.view});
  return z;
}

Register VectorCode::compare(Relation relation, const Register& left, const Register& right) {
  const Register a = computed(left), b = computed(right);
  const DType dtype = a.number ? (b.number ? real_ : b.view.dtype) : a.view.dtype;
  const Register x = tile(a, dtype), y = tile(b, dtype);
  Register z = temporary(DType::boolean);
  builder_.emit(Opcode::compare, {z.view, x.view, y.view}, {static_cast<int64_t>(relation)});
  return z;
}

Register VectorCode::select(const Register& condition, const Register& left,
                            const Register& right) {
  const Register a = computed(left), b = computed(right);
  const DType dtype = a.number ? (b.number ? real_ : b.view.dtype) : a.view.dtype;
  const Register c = tile(condition, DType::boolean), x = tile(a, dtype), y = tile(b, dtype);
  Register z = temporary(dtype);
  builder_.emit(Opcode::select, {z.view, c.view, x.view, y.view});
  return z;
}

void VectorCode::store(const Register& x, const View& to) {
  if (!x.number && x.place.use_count() == 1 && x.view.dtype == to.dtype &&
      builder_.retarget_last(x.view, to))
    return;
  if (x.number)
    builder_.emit(Opcode::fill, {to}, {}, *x.number);
  else if (x.view.dtype == to.dtype)
    builder_.emit(Opcode::copy, {to, x.view});
  else
    builder_.emit(Opcode::convert, {to, x.view}, {static_cast<int64_t>(Rounding::truncate)});
}

// Of values in f16, where there is room for it: their functions are made of intermediate values
// that f16 has not, such as e to the power of 12 or 1 + 1e-4.
Register VectorCode::in_f32(const Register& x, Register (VectorCode::*f)(const Register&)) {
  const Register y = (this->*f)(tile(x, DType::f32));
  return tile(y, x.view.dtype);
}

Register VectorCode::sigmoid(const Register& x) {
  if (has(Opcode::sigmoid)) return unary(Opcode::sigmoid, x);
  if (x.view.dtype == DType::f16 && is_wide_) return in_f32(x, &VectorCode::sigmoid);
  if (is_rough_) {
    const Register e = unary(Opcode::exp, binary(Opcode::mul, x, number(-1)));
    return unary(Opcode::reciprocal, binary(Opcode::add, e, number(1)));
  }
  // e^min(x, 0) / (1 + e^-|x|): nothing overflows, and what is small stays exact.
  const Register e = unary(Opcode::exp, binary(Opcode::mul, unary(Opcode::abs, x), number(-1)));
  const Register r = unary(Opcode::reciprocal, binary(Opcode::add, e, number(1)));
  return binary(Opcode::mul, r, unary(Opcode::exp, binary(Opcode::min, x, number(0))));
}

Register VectorCode::tanh(const Register& x) {
  if (has(Opcode::tanh)) return unary(Opcode::tanh, x);
  if (x.view.dtype == DType::f16 && is_wide_) return in_f32(x, &VectorCode::tanh);
  // 1 - 2 / (e^2x + 1), which no large x makes a quotient of infinities.
  const Register e = unary(Opcode::exp, binary(Opcode::mul, x, number(2)));
  const Register r = unary(Opcode::reciprocal, binary(Opcode::add, e, number(1)));
  return binary(Opcode::add, binary(Opcode::mul, r, number(-2)), number(1));
}

Register VectorCode::clip(const Register& x, double low, double high) {
  // What is divided by the result relies on it that it is not 0.
  constexpr double kLeastHalf = 0x1p-24;
  if (x.view.dtype == DType::f16 && low > 0) low = std::max(low, kLeastHalf);
  Register y = std::isfinite(low) ? binary(Opcode::max, x, number(low)) : x;
  return std::isfinite(high) ? binary(Opcode::min, y, number(high)) : y;
}

// Abramowitz and Stegun, 7.1.26: off by 1.5e-7 at most.
Register VectorCode::erf_of_magnitude(const Register& m) {
  static constexpr double kTerms[] = {1.061405429, -1.453152027, 1.421413741, -0.284496736,
                                      0.254829592};
  const Register t =
      unary(Opcode::reciprocal,
            binary(Opcode::add, binary(Opcode::mul, m, number(0.3275911)), number(1)));
  Register sum = binary(Opcode::mul, t, number(kTerms[0]));
  for (size_t i = 1; i < std::size(kTerms); ++i)
    sum = binary(Opcode::mul, binary(Opcode::add, sum, number(kTerms[i])), t);
  const Register e = unary(Opcode::exp, binary(Opcode::mul, binary(Opcode::mul, m, m), number(-1)));
  return binary(Opcode::sub, number(1), binary(Opcode::mul, sum, e));
}

Register VectorCode::gelu(const Register& x, bool approximate) {
  if (approximate) {
    // x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))
    const Register cube = binary(Opcode::mul, binary(Opcode::mul, x, x), x);
    const Register inner = binary(Opcode::add, binary(Opcode::mul, cube, number(0.044715)), x);
    return binary(Opcode::mul, x, sigmoid(binary(Opcode::mul, inner, number(1.5957691216057308))));
  }
  const Register m = unary(Opcode::abs, x);
  const Register e = erf_of_magnitude(binary(Opcode::mul, m, number(std::sqrt(0.5))));
  return binary(Opcode::mul, binary(Opcode::add, binary(Opcode::mul, m, e), x), number(0.5));
}

Register VectorCode::softplus(const Register& x) {
  const Register e = unary(Opcode::exp, binary(Opcode::mul, unary(Opcode::abs, x), number(-1)));
  const Register l = unary(Opcode::ln, binary(Opcode::add, e, number(1)));
  return binary(Opcode::add, l, unary(Opcode::relu, x));
}

// Whole exponents by products, which take numbers below 0, too.
Result<Register> VectorCode::power(const Register& x, double exponent) {
  const double magnitude = std::abs(exponent);
  if (exponent == 0.5) return unary(Opcode::sqrt, x);
  if (exponent == -0.5) return unary(Opcode::rsqrt, x);
  if (magnitude != std::floor(magnitude)) {
    const Register wide = is_wide_ ? tile(x, DType::f32) : x;
    const Register log = binary(Opcode::mul, unary(Opcode::ln, wide), number(exponent));
    return tile(unary(Opcode::exp, log), x.view.dtype);
  }
  if (magnitude == 0) return number(1);
  std::optional<Register> y;
  Register square = x;
  for (auto rest = static_cast<int>(magnitude); rest > 0; rest /= 2) {
    if (rest % 2 != 0) y = y ? binary(Opcode::mul, *y, square) : square;
    if (rest > 1) square = binary(Opcode::mul, square, square);
  }
  return exponent < 0 ? unary(Opcode::reciprocal, *y) : *y;
}

// gamma (x > 0 ? x : alpha (e^(x inner) - 1))
Register VectorCode::elu(const Register& x, double inner, double alpha, double gamma) {
  Register below = binary(Opcode::min, x, number(0));
  if (inner != 1) below = binary(Opcode::mul, below, number(inner));
  const Register e = binary(Opcode::add, unary(Opcode::exp, below), number(-1));
  const Register y =
      binary(Opcode::add, unary(Opcode::relu, x), binary(Opcode::mul, e, number(alpha)));
  return gamma == 1 ? y : binary(Opcode::mul, y, number(gamma));
}

// Level by level from the lowest, in f32.
Register VectorCode::fake_quant(const FakeQuantLevels& levels, const Register& x) {
  const Register wide = tile(x, DType::f32);
  if (levels.step == 0) return tile(binary(Opcode::mul, wide, number(0)), x.view.dtype);
  const double from = levels.from;
  const Register above = binary(Opcode::add, clip(wide, from, levels.to), number(-from));
  const Register half_up =
      binary(Opcode::add, binary(Opcode::mul, above, number(1 / levels.step)), number(0.5));
  const Register level = tile(convert(half_up, DType::i32, Rounding::floor), DType::f32);
  return tile(binary(Opcode::add, binary(Opcode::mul, level, number(levels.step)), number(from)),
              x.view.dtype);
}

Result<Register> VectorCode::activate(ActivationKind kind, double alpha, double beta,
                                      const Register& operand) {
  using A = ActivationKind;
  const Register x = computed(operand);
  switch (kind) {
    case A::none:
      return x;
    case A::relu:
      return unary(Opcode::relu, x);
    case A::clip:
      return clip(x, alpha, beta);
    case A::leaky_relu:
      return binary(Opcode::add, unary(Opcode::relu, x),
                    binary(Opcode::mul, binary(Opcode::min, x, number(0)), number(alpha)));
    case A::sigmoid:
      return sigmoid(x);
    case A::tanh:
      return tanh(x);
    case A::silu:
      return binary(Opcode::mul, x, sigmoid(x));
    case A::hard_swish:
      return binary(
          Opcode::mul, x,
          clip(binary(Opcode::add, binary(Opcode::mul, x, number(1.0 / 6)), number(0.5)), 0, 1));
    case A::hard_sigmoid:
      return clip(binary(Opcode::add, binary(Opcode::mul, x, number(alpha)), number(beta)), 0, 1);
    case A::gelu_erf:
      return gelu(x, false);
    case A::gelu_tanh:
      return gelu(x, true);
    case A::elu:
      return elu(x, 1, alpha, 1);
    case A::affine:
      return binary(Opcode::add, binary(Opcode::mul, x, number(alpha)), number(beta));
    case A::softplus:
      return softplus(x);
    case A::softsign:
      return binary(Opcode::div, x, binary(Opcode::add, unary(Opcode::abs, x), number(1)));
    case A::scaled_tanh:
      return binary(Opcode::mul, tanh(binary(Opcode::mul, x, number(beta))), number(alpha));
    default:
      return unsupported("the vector unit has no such activation");
  }
}

}  // namespace tenon::lower
