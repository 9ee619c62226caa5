// The elementwise half of a recurrent step, in one sweep for the usual activations.
#include "device/cpu/kernels/recurrent.h"

#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/math.h"

namespace tenon::cpu::TENON_ISA {
namespace {

// sigmoid(x) = 1 / fall(x), tanh(x) = rise(x) / (rise(x) + 2): quotients are joined, since a
// division takes as long as most of an exponential. Limited so that a product of three is finite.
TENON_INLINE Floats fall(Floats x) {
  return 1.0f + exp_limited(clip(-x, splat(-87.0f), splat(33.0f)));
}
TENON_INLINE Floats rise(Floats x) {
  return expm1_limited(clip(x + x, splat(-18.2f), splat(18.2f)));
}

// In two sweeps: one would be a chain of instructions too long to run beside the next.
void lstm_gates(const LstmGates& g) {
  const int64_t n = g.n;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int lanes = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    const Floats in = fall(load_lanes(g.z + i, lanes));
    const Floats forget = fall(load_lanes(g.z + g.gate + i, lanes));
    const Floats cell = rise(load_lanes(g.z + 2 * g.gate + i, lanes));
    const Floats both = in * (cell + 2.0f);
    const Floats c = fused(load_lanes(g.c + i, lanes), both, cell * forget) / (both * forget);
    store_lanes(g.c + i, c, lanes);
  }
  for (int64_t i = 0; i < n; i += kLanes) {
    const int lanes = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    const Floats out = fall(load_lanes(g.z + 3 * g.gate + i, lanes));
    const Floats state = rise(load_lanes(g.c + i, lanes));
    store_lanes(g.h + i, state / (out * (state + 2.0f)), lanes);
  }
}

void gru_gates(const GruGates& g) {
  const int64_t n = g.n;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int lanes = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    const auto sum = [&](int64_t at) __attribute__((always_inline)) {
      return load_lanes(g.x + at, lanes) + load_lanes(g.r + at, lanes);
    };
    const Floats update = sigmoid(sum(i));
    const Floats reset = sigmoid(sum(g.gate + i));
    const Floats candidate = hyperbolic_tangent(load_lanes(g.x + 2 * g.gate + i, lanes) +
                                                reset * load_lanes(g.r + 2 * g.gate + i, lanes));
    const Floats h = load_lanes(g.h + i, lanes);
    store_lanes(g.h + i, candidate + update * (h - candidate), lanes);
  }
}

// Division and rounding as the op has them, so that integers are the same everywhere.
ByteRange quantize_row(const float* x, uint8_t* y, int64_t n) {
  Floats least{}, most{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Floats v = load(x + i);
    least = min_second(v, least);
    most = max_second(v, most);
  }
  float low = 0, high = 0;
  for (; i < n; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    low = least[lane] < low ? least[lane] : low;
    high = most[lane] > high ? most[lane] : high;
  }
  const float range = (high - low) / 255.0f, scale = range > 0 ? range : 1.0f;
  const Floats zero = clip(round_even(splat(-low / scale)), Floats{}, splat(255.0f));
  const auto bytes = [&](Floats v) __attribute__((always_inline)) {
    const Floats q = clip(round_even(v / scale) + zero, Floats{}, splat(255.0f));
    return __builtin_convertvector(q, Ints);
  };
  using Bytes = uint8_t __attribute__((vector_size(TENON_LANES)));
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const Bytes q = __builtin_convertvector(bytes(load(x + i)), Bytes);
    __builtin_memcpy(y + i, &q, kLanes);
  }
  if (i < n) {
    const Ints rest = bytes(load_part(x + i, static_cast<int>(n - i)));
    for (int64_t lane = 0; i < n; ++i, ++lane) y[i] = static_cast<uint8_t>(rest[lane]);
  }
  return {scale, static_cast<int32_t>(zero[0])};
}

TENON_INLINE Ints load_ints(const int32_t* p, int n) {
  return bits(load_lanes(reinterpret_cast<const float*>(p), n));
}

void scale_sums(const ScaledSums& s) {
  for (int64_t i = 0; i < s.n; i += kLanes) {
    const int lanes = s.n - i < kLanes ? static_cast<int>(s.n - i) : kLanes;
    const Ints sums = load_ints(s.sums + i, lanes) -
                      load_ints(s.column_sums + i, lanes) * splat_int(s.range.zero);
    const Floats scale = load_lanes(s.scales + i, lanes) * s.range.scale;
    const Floats add = s.add == nullptr ? Floats{} : load_lanes(s.add + i, lanes);
    store_lanes(s.y + i, fused(__builtin_convertvector(sums, Floats), scale, add), lanes);
  }
}

}  // namespace

void fill_recurrent(KernelTable& table) {
  table.lstm_gates = lstm_gates;
  table.gru_gates = gru_gates;
  table.quantize_row = quantize_row;
  table.scale_sums = scale_sums;
}

}  // namespace tenon::cpu::TENON_ISA
