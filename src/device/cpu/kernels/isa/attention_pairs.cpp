// The weights of a row of scores, for products of bf16: one sweep, in which they are rounded.
#include "device/cpu/kernels/attention.h"
#include "device/cpu/kernels/isa/activation_sums.h"
#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/lanes.h"
#include "device/cpu/kernels/isa/math.h"
#include "device/cpu/kernels/isa/simd.h"

namespace tenon::cpu::TENON_ISA {
namespace {

// 2^t for t <= 0.
TENON_INLINE Floats power(Floats t) {
#if defined(__AVX512F__)
  return power_of_sums(t);
#else
  return exp_not_positive(t * 0x1.62e430p-1f);
#endif
}

bool has_nan(const float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    if (x[i] != x[i]) return true;
  return false;
}

float weigh_row(const ScoreRow& row) {
  const auto larger = [](Floats a, Floats b) __attribute__((always_inline)) {
    return max_second(a, b);
  };
  const auto sum_of = [](Floats a, Floats b) __attribute__((always_inline)) {
    return a + b;
  };
  float* const x = row.x;
  const int64_t whole = row.n / kLanes * kLanes;
  const int rest = static_cast<int>(row.n - whole);
  const bool masked = row.mask != nullptr;
  const Floats lowest = splat(-kInfinity), scale = splat(row.scale);
  Floats top = lowest;
  for (int64_t i = 0; i < whole; i += kLanes) {
    Floats t = load(x + i);
    if (masked) store(x + i, t = fused(t, scale, load(row.mask + i)));
    top = larger(t, top);
  }
  if (rest > 0) {
    Floats t = load_part(x + whole, rest);
    if (masked) store_part(x + whole, t = fused(t, scale, load_part(row.mask + whole, rest)), rest);
    top = larger(first_lanes(t, rest, lowest), top);
  }
  top = across(top, larger);
  if (top[0] == -kInfinity && !has_nan(x, row.n)) return 0;
  const Floats factor = splat((masked ? 1.0f : row.scale) * kLog2E);
  Floats sums[2] = {};
  int64_t i = 0;
  // Both are read before either is written: y may lie over x.
  for (; i + 2 * kLanes <= row.n; i += 2 * kLanes) {
    const Floats a = power((load(x + i) - top) * factor);
    const Floats b = power((load(x + i + kLanes) - top) * factor);
    sums[0] += a;
    sums[1] += b;
    store_bf16(row.y + i, a);
    store_bf16(row.y + i + kLanes, b);
  }
  for (; i < row.n; i += kLanes) {
    const int n = row.n - i < kLanes ? static_cast<int>(row.n - i) : kLanes;
    const Floats a = power((load_part(x + i, n) - top) * factor);
    sums[1] += first_lanes(a, n, Floats{});
    store_bf16_part(row.y + i, a, n);
  }
  return across(sums[0] + sums[1], sum_of)[0];
}

}  // namespace

void fill_attention_pairs(KernelTable& table) {
  table.weigh_row = weigh_row;
}

}  // namespace tenon::cpu::TENON_ISA
