// Activations of what products of bf16 give, where AVX-512 has instructions for them that f32's do
// without: errors of some 1e-6.
#pragma once

#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/math.h"
#include "device/cpu/kernels/isa/simd.h"

namespace tenon::cpu::TENON_ISA {

TENON_INLINE Floats silu_of_sums(Floats x) {
#if defined(__AVX512F__)
  // 2^f for f in [0, 1) by a minimax polynomial; the whole part goes into the exponent.
  constexpr float kC[] = {0x1.00002cp+0f, 0x1.62d168p-1f, 0x1.ee797ep-3f, 0x1.aa1410p-5f,
                          0x1.bb7cdap-7f};
  const Floats t = x * -kLog2E;
  const Floats f = (Floats)_mm512_reduce_ps((__m512)t, 0x09);
  const Floats e = (Floats)_mm512_scalef_ps((__m512)polynomial(f, kC), (__m512)t);
  return finite_below(x) / (1.0f + e);
#else
  return silu(x);
#endif
}

// In place.
TENON_INLINE void activate_sums(const Activation& activation, float* x, size_t n) {
  if (activation.kind != ActivationKind::kSilu) {
    activate(activation, x, x, n);
    return;
  }
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(x + i, silu_of_sums(load(x + i)));
  const int rest = static_cast<int>(n - i);
  if (rest > 0) store_part(x + i, silu_of_sums(load_part(x + i, rest)), rest);
}

}  // namespace tenon::cpu::TENON_ISA
