// Vectors across their lanes, and with some of them.
#pragma once

#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/simd.h"

namespace tenon::cpu::TENON_ISA {

template <int kShift, size_t... kLane>
TENON_INLINE Floats rotate(Floats x, Indices<kLane...>) {
  return __builtin_shufflevector(x, x, (kLane + kShift) % kLanes...);
}
// The lanes turned by kShift.
template <int kShift>
TENON_INLINE Floats rotate(Floats x) {
  return rotate<kShift>(x, MakeIndices<kLanes>());
}
// op over all lanes, in every lane.
template <int kShift = kLanes / 2, typename Op>
TENON_INLINE Floats across(Floats x, Op op) {
  x = op(x, rotate<kShift>(x));
  if constexpr (kShift > 1)
    return across<kShift / 2>(x, op);
  else
    return x;
}

// The lanes below n of x, the others of `rest`.
TENON_INLINE Floats first_lanes(Floats x, int n, Floats rest) {
  Ints lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  return select(lane < n, x, rest);
}

}  // namespace tenon::cpu::TENON_ISA
