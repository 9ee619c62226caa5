// Maps over contiguous arrays: the unary and binary operations and the activations.
#include "device/cpu/kernels/elementwise.h"

#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/math.h"

namespace tenon::cpu::TENON_ISA {
namespace {

template <typename Op>
TENON_INLINE void map(const float* x, float* y, size_t n, Op op) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, op(load(x + i)));
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    store_part(y + i, op(load_part(x + i, rest)), rest);
  }
}

// sin and cos of lanes too large for the short reduction go through libm.
template <int kQuadrant>
TENON_INLINE Floats sine_any(Floats x) {
  const Floats y = sine_shifted(x, kQuadrant);
  const Ints large = !(absolute(x) <= kTrigonometricLimit);
  float in[kLanes], out[kLanes];
  int32_t is_large[kLanes];
  __builtin_memcpy(is_large, &large, sizeof(is_large));
  int any = 0;
  for (int i = 0; i < kLanes; ++i) any |= is_large[i];
  if (__builtin_expect(any == 0, 1)) return y;
  store(in, x);
  store(out, y);
  for (int i = 0; i < kLanes; ++i)
    if (is_large[i] != 0) out[i] = kQuadrant == 0 ? __builtin_sinf(in[i]) : __builtin_cosf(in[i]);
  return load(out);
}

TENON_INLINE Floats hard_sigmoid(Floats x, Floats alpha, Floats beta) {
  return clip(alpha * x + beta, Floats{}, splat(1.0f));
}
TENON_INLINE Floats hard_swish(Floats x) {
  return x * (clip(x + 3.0f, Floats{}, splat(6.0f)) * (1.0f / 6.0f));
}
TENON_INLINE Floats selu(Floats x) {
  constexpr float kScale = 1.0507009873554805f, kAlpha = 1.6732632423543772f;
  return elu(x, splat(kAlpha)) * kScale;
}
TENON_INLINE Floats sign(Floats x) {
  const Floats one = with_sign_of(splat(1.0f), x);
  return select((x > 0.0f) | (x < 0.0f), one, x);
}

template <UnaryOp kOp>
TENON_INLINE Floats unary_op(Floats x) {
  if constexpr (kOp == UnaryOp::kNeg) return -x;
  if constexpr (kOp == UnaryOp::kAbs) return absolute(x);
  if constexpr (kOp == UnaryOp::kSign) return sign(x);
  if constexpr (kOp == UnaryOp::kExp) return exponential(x);
  if constexpr (kOp == UnaryOp::kExpm1) return expm1(x);
  if constexpr (kOp == UnaryOp::kLog) return logarithm(x);
  if constexpr (kOp == UnaryOp::kLog1p) return log1p(x);
  if constexpr (kOp == UnaryOp::kSqrt) return square_root(x);
  if constexpr (kOp == UnaryOp::kRsqrt) return 1.0f / square_root(x);
  if constexpr (kOp == UnaryOp::kReciprocal) return 1.0f / x;
  if constexpr (kOp == UnaryOp::kSquare) return x * x;
  if constexpr (kOp == UnaryOp::kTanh) return hyperbolic_tangent(x);
  if constexpr (kOp == UnaryOp::kSigmoid) return sigmoid(x);
  if constexpr (kOp == UnaryOp::kErf) return error_function(x);
  if constexpr (kOp == UnaryOp::kFloor) return round_down(x);
  if constexpr (kOp == UnaryOp::kCeil) return round_up(x);
  if constexpr (kOp == UnaryOp::kRoundEven) return round_even(x);
  if constexpr (kOp == UnaryOp::kTrunc) return round_to_zero(x);
  if constexpr (kOp == UnaryOp::kSin) return sine_any<0>(x);
  if constexpr (kOp == UnaryOp::kCos) return sine_any<1>(x);
  if constexpr (kOp == UnaryOp::kRelu) return max_second(Floats{}, x);
  if constexpr (kOp == UnaryOp::kRelu6) return clip(x, Floats{}, splat(6.0f));
  if constexpr (kOp == UnaryOp::kSilu) return silu(x);
  if constexpr (kOp == UnaryOp::kHardSwish) return hard_swish(x);
  if constexpr (kOp == UnaryOp::kGeluErf) return gelu_erf(x);
  if constexpr (kOp == UnaryOp::kGeluTanh) return gelu_tanh(x);
  if constexpr (kOp == UnaryOp::kSoftplus) return softplus(x);
  if constexpr (kOp == UnaryOp::kSoftsign) return x / (1.0f + absolute(x));
  if constexpr (kOp == UnaryOp::kMish) return mish(x);
  if constexpr (kOp == UnaryOp::kSelu) return selu(x);
}

template <UnaryOp kOp>
void unary_map(const float* x, float* y, size_t n) {
  map(
      x, y, n, [](Floats v) __attribute__((always_inline)) { return unary_op<kOp>(v); });
}

TENON_INLINE Floats power(Floats a, Floats b) {
  float base[kLanes], exponent[kLanes];
  store(base, a);
  store(exponent, b);
  for (int i = 0; i < kLanes; ++i) base[i] = __builtin_powf(base[i], exponent[i]);
  return load(base);
}

template <BinaryOp kOp>
TENON_INLINE Floats binary_op(Floats a, Floats b) {
  if constexpr (kOp == BinaryOp::kAdd) return a + b;
  if constexpr (kOp == BinaryOp::kSub) return a - b;
  if constexpr (kOp == BinaryOp::kMul) return a * b;
  if constexpr (kOp == BinaryOp::kDiv) return a / b;
  if constexpr (kOp == BinaryOp::kMin) return minimum(a, b);
  if constexpr (kOp == BinaryOp::kMax) return maximum(a, b);
  if constexpr (kOp == BinaryOp::kPow) return power(a, b);
  if constexpr (kOp == BinaryOp::kSquaredDifference) return (a - b) * (a - b);
}

enum class Form { kVectorVector, kVectorScalar, kScalarVector };

template <BinaryOp kOp, Form kForm>
void binary_map(const float* a, const float* b, float* y, size_t n) {
  const Floats a0 = kForm == Form::kScalarVector && n > 0 ? splat(*a) : Floats{};
  const Floats b0 = kForm == Form::kVectorScalar && n > 0 ? splat(*b) : Floats{};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    store(y + i, binary_op<kOp>(kForm == Form::kScalarVector ? a0 : load(a + i),
                                kForm == Form::kVectorScalar ? b0 : load(b + i)));
  if (i == n) return;
  const int rest = static_cast<int>(n - i);
  store_part(y + i,
             binary_op<kOp>(kForm == Form::kScalarVector ? a0 : load_part(a + i, rest),
                            kForm == Form::kVectorScalar ? b0 : load_part(b + i, rest)),
             rest);
}

// Exponents that need no libm; the results are those of pow.
void power_by_scalar(const float* a, const float* b, float* y, size_t n) {
  if (n == 0) return;
  const float exponent = *b;
  if (exponent == 2.0f) {
    map(a, y, n, [](Floats x) { return x * x; });
  } else if (exponent == 3.0f) {
    map(a, y, n, [](Floats x) { return x * x * x; });
  } else if (exponent == 1.0f) {
    map(a, y, n, [](Floats x) { return x; });
  } else if (exponent == -1.0f) {
    map(a, y, n, [](Floats x) { return 1.0f / x; });
  } else if (exponent == 0.5f) {
    map(a, y, n,
        [](Floats x) { return select(x == -kInfinity, splat(kInfinity), square_root(x + 0.0f)); });
  } else if (exponent == -0.5f) {
    map(a, y, n,
        [](Floats x) { return select(x == -kInfinity, Floats{}, 1.0f / square_root(x + 0.0f)); });
  } else {
    binary_map<BinaryOp::kPow, Form::kVectorScalar>(a, b, y, n);
  }
}

template <size_t... kOps>
void fill_unary(KernelTable& table, Indices<kOps...>) {
  ((table.unary[kOps] = unary_map<static_cast<UnaryOp>(kOps)>), ...);
}
template <size_t... kOps>
void fill_binary(KernelTable& table, Indices<kOps...>) {
  ((table.binary[kOps] = binary_map<static_cast<BinaryOp>(kOps), Form::kVectorVector>), ...);
  ((table.binary_vs[kOps] = binary_map<static_cast<BinaryOp>(kOps), Form::kVectorScalar>), ...);
  ((table.binary_sv[kOps] = binary_map<static_cast<BinaryOp>(kOps), Form::kScalarVector>), ...);
  table.binary_vs[static_cast<size_t>(BinaryOp::kPow)] = power_by_scalar;
}

void round_bf16(const float* x, uint16_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_bf16(y + i, load(x + i));
  if (i == n) return;
  const Ints rest = rounded_bf16(load_part(x + i, static_cast<int>(n - i)));
  for (int64_t lane = 0; i < n; ++i, ++lane) y[i] = static_cast<uint16_t>(rest[lane] >> 16);
}

}  // namespace

void activate(const Activation& activation, const float* x, float* y, size_t n) {
  const Floats alpha = splat(activation.alpha), beta = splat(activation.beta);
  switch (activation.kind) {
    case ActivationKind::kNone:
      if (x != y) map(x, y, n, [](Floats v) { return v; });
      return;
    case ActivationKind::kRelu:
      return unary_map<UnaryOp::kRelu>(x, y, n);
    case ActivationKind::kClip:
      return map(x, y, n, [=](Floats v) { return clip(v, alpha, beta); });
    case ActivationKind::kLeakyRelu:
      return map(x, y, n, [=](Floats v) { return select(v < 0.0f, alpha * v, v); });
    case ActivationKind::kSigmoid:
      return unary_map<UnaryOp::kSigmoid>(x, y, n);
    case ActivationKind::kTanh:
      return unary_map<UnaryOp::kTanh>(x, y, n);
    case ActivationKind::kSilu:
      return unary_map<UnaryOp::kSilu>(x, y, n);
    case ActivationKind::kHardSwish:
      return unary_map<UnaryOp::kHardSwish>(x, y, n);
    case ActivationKind::kHardSigmoid:
      return map(x, y, n, [=](Floats v) { return hard_sigmoid(v, alpha, beta); });
    case ActivationKind::kGeluErf:
      return unary_map<UnaryOp::kGeluErf>(x, y, n);
    case ActivationKind::kGeluTanh:
      return unary_map<UnaryOp::kGeluTanh>(x, y, n);
    case ActivationKind::kElu:
      return map(x, y, n, [=](Floats v) { return elu(v, alpha); });
  }
}

void fill_elementwise(KernelTable& table) {
  static_assert(static_cast<size_t>(UnaryOp::kCount) == kUnaryOps);
  static_assert(static_cast<size_t>(BinaryOp::kCount) == kBinaryOps);
  table.activate = activate;
  table.round_bf16 = round_bf16;
  fill_unary(table, MakeIndices<kUnaryOps>{});
  fill_binary(table, MakeIndices<kBinaryOps>{});
}

}  // namespace tenon::cpu::TENON_ISA
