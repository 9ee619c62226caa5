// Activations of what products of bf16 give, where AVX-512 has instructions for them that f32's do
// without: errors of some 1e-6, of GELU up to 5e-5 and 4e-4 of the result, a fifth of what rounding
// that leaves.
#pragma once

#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/math.h"
#include "device/cpu/kernels/isa/simd.h"

namespace tenon::cpu::TENON_ISA {

#if defined(__AVX512F__)
// 2^t: 2^f for f in [0, 1) by a minimax polynomial; the whole part goes into the exponent.
TENON_INLINE Floats power_of_sums(Floats t) {
  constexpr float kC[] = {0x1.00002cp+0f, 0x1.62d168p-1f, 0x1.ee797ep-3f, 0x1.aa1410p-5f,
                          0x1.bb7cdap-7f};
  const Floats f = (Floats)_mm512_reduce_ps((__m512)t, 0x09);
  return (Floats)_mm512_scalef_ps((__m512)polynomial(f, kC), (__m512)t);
}
// x / (1 + 2^-t).
TENON_INLINE Floats logistic_part(Floats x, Floats t) {
  return finite_below(x) / (1.0f + power_of_sums(-t));
}
// The odds of the normal distribution are 2^(x P(x^2)), P a minimax polynomial up to |x| = 4.2.
TENON_INLINE Floats gelu_erf_of_sums(Floats x) {
  constexpr float kC[] = {0x1.267698p+1f, 0x1.b6b438p-4f, -0x1.f21f7ep-11f, -0x1.741e76p-16f,
                          0x1.cd94ccp-21f};
  const Floats square = min_second(splat(4.2f * 4.2f), x * x);
  return logistic_part(x, x * polynomial(square, kC));
}
TENON_INLINE Floats gelu_tanh_of_sums(Floats x) {
  constexpr float kC[] = {0x1.26aec2p+1f, 0x1.a5a7d0p-4f};  // 2 sqrt(2 / pi) / log(2), by 0.044715
  return logistic_part(x, x * polynomial(x * x, kC));
}
TENON_INLINE Floats silu_of_sums(Floats x) {
  return logistic_part(x, x * kLog2E);
}
#else
TENON_INLINE Floats gelu_erf_of_sums(Floats x) {
  return gelu_erf(x);
}
TENON_INLINE Floats gelu_tanh_of_sums(Floats x) {
  return gelu_tanh(x);
}
TENON_INLINE Floats silu_of_sums(Floats x) {
  return silu(x);
}
#endif

// Those that have a form of their own here.
TENON_INLINE bool is_of_sums(ActivationKind kind) {
  return kind == ActivationKind::kSilu || kind == ActivationKind::kGeluErf ||
         kind == ActivationKind::kGeluTanh;
}
TENON_INLINE Floats activated_sums(ActivationKind kind, Floats x) {
  if (kind == ActivationKind::kSilu) return silu_of_sums(x);
  return kind == ActivationKind::kGeluErf ? gelu_erf_of_sums(x) : gelu_tanh_of_sums(x);
}

// In place.
TENON_INLINE void activate_sums(const Activation& activation, float* x, size_t n) {
  if (!is_of_sums(activation.kind)) {
    activate(activation, x, x, n);
    return;
  }
  const auto all = [&](ActivationKind kind) __attribute__((always_inline)) {
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(x + i, activated_sums(kind, load(x + i)));
    const int rest = static_cast<int>(n - i);
    if (rest > 0) store_part(x + i, activated_sums(kind, load_part(x + i, rest)), rest);
  };
  if (activation.kind == ActivationKind::kSilu)
    all(ActivationKind::kSilu);
  else if (activation.kind == ActivationKind::kGeluErf)
    all(ActivationKind::kGeluErf);
  else
    all(ActivationKind::kGeluTanh);
}

}  // namespace tenon::cpu::TENON_ISA
