// The elementwise half of a recurrent step, in one sweep for the usual activations.
#include "device/cpu/kernels/recurrent.h"

#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/math.h"

namespace tenon::cpu::TENON_ISA {
namespace {

TENON_INLINE Floats load_up_to(const float* p, int n) {
  return n == kLanes ? load(p) : load_part(p, n);
}
TENON_INLINE void store_up_to(float* p, Floats x, int n) {
  if (n == kLanes)
    store(p, x);
  else
    store_part(p, x, n);
}

void lstm_gates(const LstmGates& g) {
  const int64_t n = g.n;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int lanes = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    const Floats in = sigmoid(load_up_to(g.z + i, lanes));
    const Floats forget = sigmoid(load_up_to(g.z + g.gate + i, lanes));
    const Floats cell = hyperbolic_tangent(load_up_to(g.z + 2 * g.gate + i, lanes));
    const Floats out = sigmoid(load_up_to(g.z + 3 * g.gate + i, lanes));
    const Floats c = forget * load_up_to(g.c + i, lanes) + in * cell;
    store_up_to(g.c + i, c, lanes);
    store_up_to(g.h + i, out * hyperbolic_tangent(c), lanes);
  }
}

void gru_gates(const GruGates& g) {
  const int64_t n = g.n;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int lanes = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    const auto sum = [&](int64_t at) __attribute__((always_inline)) {
      return load_up_to(g.x + at, lanes) + load_up_to(g.r + at, lanes);
    };
    const Floats update = sigmoid(sum(i));
    const Floats reset = sigmoid(sum(g.gate + i));
    const Floats candidate = hyperbolic_tangent(load_up_to(g.x + 2 * g.gate + i, lanes) +
                                                reset * load_up_to(g.r + 2 * g.gate + i, lanes));
    const Floats h = load_up_to(g.h + i, lanes);
    store_up_to(g.h + i, candidate + update * (h - candidate), lanes);
  }
}

}  // namespace

void fill_recurrent(KernelTable& table) {
  table.lstm_gates = lstm_gates;
  table.gru_gates = gru_gates;
}

}  // namespace tenon::cpu::TENON_ISA
