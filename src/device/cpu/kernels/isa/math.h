// Exponentials, logarithms and their relatives on vectors. The polynomials are minimax fits over
// the stated ranges; errors of the whole functions are held to a few units in the last place by
// elementwise_test.cpp. Results below the smallest normal float may be flushed to zero.
#pragma once

#include "device/cpu/kernels/isa/simd.h"

namespace tenon::cpu::TENON_ISA {

inline constexpr float kInfinity = __builtin_inff();
inline constexpr float kLog2E = 0x1.715476p+0f;
inline constexpr float kLog2ELow = 0x1.4ae0c0p-26f;
inline constexpr float kLn2High = 0x1.62e430p-1f;
inline constexpr float kLn2Low = -0x1.05c610p-29f;
// Adding it leaves a float's nearest integer in the low bits.
inline constexpr float kRoundMagic = 12582912.0f;

// Coefficients from the constant term up.
template <int kTerms>
TENON_INLINE Floats polynomial(Floats x, const float (&c)[kTerms]) {
  Floats sum = splat(c[kTerms - 1]);
#pragma GCC unroll 16
  for (int i = kTerms - 2; i >= 0; --i) sum = sum * x + c[i];
  return sum;
}

// x log2(e) = n + f, n whole and |f| <= 1/2; n stays in the form that is cheapest to put into an
// exponent: AVX-512 has an instruction that takes it as a float, others want it in the low bits.
struct BinaryParts {
  Floats n;
  Floats f;
};
TENON_INLINE BinaryParts binary_parts(Floats x) {
#if defined(__AVX512F__) && TENON_LANES == 16
  const Floats n = round_even(x * kLog2E), whole = n;
#else
  const Floats n = fused(x, splat(kLog2E), splat(kRoundMagic)), whole = n - kRoundMagic;
#endif
  return {n, fused(x, splat(kLog2ELow), fused(x, splat(kLog2E), -whole))};
}
// Only the low nine bits of n count: the shift drops what binary_parts leaves above them.
TENON_INLINE Floats power_of_two(Ints n) {
  using Words = uint32_t __attribute__((vector_size(4 * TENON_LANES)));
  return reinterpret_cast<Floats>((reinterpret_cast<Words>(n) << 23) + 0x3f800000u);
}
// x 2^n, n as in BinaryParts and where that is a normal float.
TENON_INLINE Floats times_power(Floats x, Floats n) {
#if defined(__AVX512F__) && TENON_LANES == 16
  return (Floats)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
  return x * power_of_two(bits(n));
#endif
}
// 2^f within two units in the last place, and 2^f - 1 within one.
TENON_INLINE Floats power_small(Floats f) {
  constexpr float kC[] = {1.0f,           0x1.62e42ap-1f, 0x1.ebf9c2p-3f,
                          0x1.c6b6dap-5f, 0x1.3ce8b2p-7f, 0x1.5bd97ap-10f};
  return polynomial(f, kC);
}
TENON_INLINE Floats powerm1_small(Floats f) {
  constexpr float kC[] = {0x1.62e430p-1f, 0x1.ebfbdep-3f,  0x1.c6afa4p-5f,
                          0x1.3b2c3ep-7f, 0x1.5ef12ap-10f, 0x1.4296bcp-13f};
  return f * polynomial(f, kC);
}

// For x in [-87.3, 88.3]; above, infinity comes too early; NaN stays.
TENON_INLINE Floats exp_limited(Floats x) {
  const BinaryParts parts = binary_parts(x);
  return times_power(power_small(parts.f), parts.n);
}

// For x <= 0.
TENON_INLINE Floats exp_not_positive(Floats x) {
  const Floats y = exp_limited(max_second(splat(-87.0f), x));
  return select(x < -87.0f, Floats{}, y);
}

// Over the whole range, denormal results included.
TENON_INLINE Floats exponential(Floats x) {
  const BinaryParts parts = binary_parts(clip(x, splat(-105.0f), splat(89.5f)));
  const Floats power = powerm1_small(parts.f) + 1.0f;
#if defined(__AVX512F__) && TENON_LANES == 16
  return times_power(power, parts.n);
#else
  const Ints n = bits(parts.n) - bits(splat(kRoundMagic));
  const Ints half = n >> 1;
  return power * power_of_two(half) * power_of_two(n - half);
#endif
}

// For |x| < 88.
TENON_INLINE Floats expm1_limited(Floats x) {
  const BinaryParts parts = binary_parts(x);
  const Floats scale = times_power(splat(1.0f), parts.n);
  return fused(powerm1_small(parts.f), scale, scale - 1.0f);
}
TENON_INLINE Floats expm1(Floats x) {
  return select(x > 87.0f, exponential(x), expm1_limited(clip(x, splat(-20.0f), splat(87.0f))));
}

// 1 + exp(-x).
TENON_INLINE Floats one_and_exp_minus(Floats x) {
  return 1.0f + exp_limited(clip(-x, splat(-87.0f), splat(89.0f)));
}
TENON_INLINE Floats sigmoid(Floats x) {
  return 1.0f / one_and_exp_minus(x);
}

TENON_INLINE Floats with_sign_of(Floats magnitude, Floats sign) {
  return from_bits(bits(magnitude) | (bits(sign) & splat_int(INT32_MIN)));
}

TENON_INLINE Floats hyperbolic_tangent(Floats x) {
  const Floats magnitude = min_second(splat(9.1f), absolute(x));
  const Floats t = expm1_limited(magnitude + magnitude);
  return with_sign_of(t / (t + 2.0f), x);
}

// log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)], without its leading f.
TENON_INLINE Floats log1p_small_rest(Floats f) {
  constexpr float kC[] = {0x1.555548p-2f,  -0x1.000006p-2f, 0x1.99a4b6p-3f,
                          -0x1.555c4ep-3f, 0x1.233768p-3f,  -0x1.fc220ap-4f,
                          0x1.e6f06cp-4f,  -0x1.de3c12p-4f, 0x1.1457a0p-4f};
  const Floats square = f * f;
  return f * square * polynomial(f, kC) - 0.5f * square;
}

TENON_INLINE Floats logarithm(Floats x) {
  using Unsigned = uint32_t __attribute__((vector_size(sizeof(Ints))));
  constexpr int32_t kSqrtHalfBits = 0x3f3504f3;
  const Ints tiny = x < 0x1p-126f;
  const Floats scaled = select(tiny, x * 0x1p23f, x);
  // Unsigned, for what has no logarithm may wrap.
  const auto offset = reinterpret_cast<Ints>(reinterpret_cast<Unsigned>(bits(scaled)) -
                                             static_cast<uint32_t>(kSqrtHalfBits));
  const Floats exponent =
      __builtin_convertvector(offset >> 23, Floats) + select(tiny, splat(-23.0f), Floats{});
  const Floats f = from_bits((offset & 0x7fffff) + kSqrtHalfBits) - 1.0f;
  Floats y = exponent * kLn2Low + log1p_small_rest(f);
  y = exponent * kLn2High + (y + f);
  y = select(x == kInfinity, x, y);
  y = select(x == 0.0f, splat(-kInfinity), y);
  return select(x >= 0.0f, y, splat(__builtin_nanf("")));
}

TENON_INLINE Floats log1p(Floats x) {
  // The rounding error of 1 + x is undone by the quotient.
  const Floats u = 1.0f + x;
  const Floats y = logarithm(u) * (x / (u - 1.0f));
  return select((u == 1.0f) | (x == kInfinity), x, y);
}

// erfc(t) for t >= 0: exp(-t^2) s Q(s) with s = 1 / (1 + 0.4 t), fitted for t up to 10.5.
// t^2 comes as square + lost, since its rounding error would grow in the exponential.
TENON_INLINE Floats erfc_not_negative(Floats t, Floats square, Floats lost) {
  constexpr float kC[] = {0x1.ce3dbap-3f, 0x1.ccd4cep-3f,  0x1.b71282p-3f, 0x1.0ea7f0p-3f,
                          0x1.0f3b38p-2f, -0x1.156d20p-2f, 0x1.0ffd12p-1f, -0x1.f24ee4p-2f,
                          0x1.8ae644p-3f, -0x1.d52f8ep-6f};
  const Floats s = 1.0f / (1.0f + 0.4f * t);
  const Floats e = exp_not_positive(-square);
  return (e - e * lost) * s * polynomial(s, kC);
}

TENON_INLINE Floats error_function(Floats x) {
  constexpr float kC[] = {0x1.20dd74p+0f, -0x1.81273ep-2f,  0x1.ce2cf8p-4f, -0x1.b7f90ep-6f,
                          0x1.5405b2p-8f, -0x1.a3f700p-11f, 0x1.496a30p-14f};
  const Floats magnitude = absolute(x);
  const Floats t = min_second(splat(10.5f), magnitude);
  const Floats square = t * t;
  const Floats large = with_sign_of(1.0f - erfc_not_negative(t, square, fused(t, t, -square)), x);
  return select(magnitude < 1.0f, x * polynomial(x * x, kC), large);
}

// The lower limit keeps -inf from meeting the zero it is multiplied by.
TENON_INLINE Floats finite_below(Floats x) {
  return max_second(splat(-1e4f), x);
}

TENON_INLINE Floats silu(Floats x) {
  return finite_below(x) / one_and_exp_minus(x);
}
// x (1/2 + erf(x / sqrt 2) / 2), the latter as x P(x^2) / Q(x^2): absolute errors up to 1e-6, which
// are of numbers near -5 that are added to larger ones.
TENON_INLINE Floats gelu_erf(Floats x) {
  constexpr float kLimit = 5.6f;
  constexpr float kP[] = {0x1.988450p-2f,  0x1.199bdap-5f,  0x1.347ea4p-8f,
                          0x1.6c970ap-13f, 0x1.aa93ccp-18f, 0x1.7c7382p-26f};
  constexpr float kQ[] = {
      1.0f, 0x1.02e6dap-2f, 0x1.da276cp-6f, 0x1.f57990p-10f, 0x1.3affaap-14f, 0x1.3ccf18p-20f};
  const Floats t = clip(x, splat(-kLimit), splat(kLimit)), square = t * t;
  const Floats y = x * (0.5f + t * polynomial(square, kP) / polynomial(square, kQ));
  return select(x < -kLimit, Floats{}, y);
}
TENON_INLINE Floats gelu_tanh(Floats x) {
  const Floats u = 0x1.988454p-1f * (x + 0.044715f * (x * x * x));
  return finite_below(x) / one_and_exp_minus(u + u);
}
TENON_INLINE Floats elu(Floats x, Floats alpha) {
  return select(x < 0.0f, alpha * expm1(min_second(Floats{}, x)), x);
}
TENON_INLINE Floats softplus(Floats x) {
  return max_second(Floats{}, x) + log1p(exp_not_positive(-absolute(x)));
}
TENON_INLINE Floats mish(Floats x) {
  // tanh(log(1 + e)) = (e^2 + 2 e) / (e^2 + 2 e + 2)
  const Floats e = exp_limited(clip(x, splat(-87.0f), splat(20.0f)));
  const Floats n = e * (e + 2.0f);
  return select(x > 20.0f, x, max_second(splat(-88.0f), x) * (n / (n + 2.0f)));
}

inline constexpr float kTrigonometricLimit = 1e5f;  // |x| past it needs a longer reduction

// sin(x + quadrant * pi / 2) for |x| up to kTrigonometricLimit.
TENON_INLINE Floats sine_shifted(Floats x, int quadrant) {
  constexpr float kSin[] = {-0x1.555556p-3f, 0x1.111108p-7f, -0x1.a00f94p-13f, 0x1.6cd5ecp-19f};
  constexpr float kCos[] = {0x1.55554ap-5f, -0x1.6c0c82p-10f, 0x1.99ff42p-16f};
  const Floats shifted = fused(x, splat(0x1.45f306p-1f), splat(kRoundMagic));
  const Floats n = -(shifted - kRoundMagic);
  Floats r = fused(n, splat(0x1.921fb6p+0f), x);
  r = fused(n, splat(-0x1.777a5cp-25f), r);
  r = fused(n, splat(-0x1.ee59dap-50f), r);
  const Floats square = r * r;
  const Floats sine = r * square * polynomial(square, kSin) + r;
  const Floats cosine = square * square * polynomial(square, kCos) + (1.0f - 0.5f * square);
  const Ints turn = bits(shifted) + quadrant;
  const Floats y = select((turn & 1) != 0, cosine, sine);
  return from_bits(bits(y) ^ ((turn & 2) << 30));
}

}  // namespace tenon::cpu::TENON_ISA
