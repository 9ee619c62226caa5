// The product of pairs of bf16 (kernels/pairs.h).
#pragma once

#include "device/cpu/kernels/isa/simd.h"

namespace tenon::cpu::TENON_ISA {

// sum += a.low * b.low + a.high * b.high
TENON_INLINE void add_product(Floats& sum, Floats a, Floats b) {
#if defined(__AVX512F__)
  __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#else
  const auto high = [](Floats v) { return from_bits(bits(v) & splat_int(INT32_MIN >> 15)); };
  const auto low = [](Floats v) { return from_bits(bits(v) << 16); };
  sum += low(a) * low(b);
  sum += high(a) * high(b);
#endif
}

}  // namespace tenon::cpu::TENON_ISA
