// Inner loops of products with weights of few bits: 16 columns at a time, widened to floats in
// registers.
#include "device/cpu/kernels/nbits.h"

#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/simd.h"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr int kVectors = 16 / kLanes;
using SignedBytes [[gnu::vector_size(TENON_LANES), gnu::aligned(1), gnu::may_alias]] = int8_t;
using Bytes [[gnu::vector_size(TENON_LANES), gnu::aligned(1), gnu::may_alias]] = uint8_t;

// Adds one row of w (two with 4 bits) times a to the sums.
template <int kM, int kBits>
TENON_INLINE void add_row(const float* const (&a)[kM], int64_t k, const uint8_t* b,
                          Floats (&sums)[kM][kVectors]) {
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    if constexpr (kBits == 8) {
      const auto w = *reinterpret_cast<const SignedBytes*>(b + v * kLanes);
      const Floats x = __builtin_convertvector(__builtin_convertvector(w, Ints), Floats);
#pragma GCC unroll 4
      for (int r = 0; r < kM; ++r) accumulate(sums[r][v], splat(a[r][k]), x);
    } else {
      const auto w = *reinterpret_cast<const Bytes*>(b + v * kLanes);
      const Ints both = __builtin_convertvector(w, Ints);
      const Floats low = __builtin_convertvector((both & 15) - 8, Floats);
      const Floats high = __builtin_convertvector((both >> 4) - 8, Floats);
#pragma GCC unroll 4
      for (int r = 0; r < kM; ++r) {
        accumulate(sums[r][v], splat(a[r][k]), low);
        accumulate(sums[r][v], splat(a[r][k + 1]), high);
      }
    }
  }
}

// kP panels of kM rows: enough independent sums to hide the latency of additions.
template <int kM, int kP, int kBits>
void run_panels(const NbitsBlock& block, int64_t panel) {
  constexpr int64_t kRowsOfByte = 8 / kBits;
  const float* a[kM];
#pragma GCC unroll 4
  for (int r = 0; r < kM; ++r) a[r] = block.a + r * block.lda;
  Floats totals[kP][kM][kVectors] = {};
  const uint8_t* b[kP];
#pragma GCC unroll 4
  for (int p = 0; p < kP; ++p) b[p] = block.b + (panel + p) * block.panel_bytes;
  for (int64_t g = 0; g < block.groups; ++g) {
    Floats sums[kP][kM][kVectors] = {};
    const uint8_t* rows[kP];
#pragma GCC unroll 4
    for (int p = 0; p < kP; ++p) rows[p] = b[p] + 16 * sizeof(float);
    const int64_t end = (g + 1) * block.group_rows;
    for (int64_t k = g * block.group_rows; k < end; k += kRowsOfByte) {
#pragma GCC unroll 4
      for (int p = 0; p < kP; ++p) {
        add_row<kM, kBits>(a, k, rows[p], sums[p]);
        rows[p] += 16;
      }
    }
#pragma GCC unroll 4
    for (int p = 0; p < kP; ++p) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        const Floats scale = load(reinterpret_cast<const float*>(b[p]) + v * kLanes);
#pragma GCC unroll 4
        for (int r = 0; r < kM; ++r) accumulate(totals[p][r][v], sums[p][r][v], scale);
      }
      b[p] = rows[p];
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < kP; ++p)
#pragma GCC unroll 4
    for (int r = 0; r < kM; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v)
        store(block.sums + r * block.ld + (panel + p) * 16 + v * kLanes, totals[p][r][v]);
}

template <int kM, int kBits>
void run_rows(const NbitsBlock& block) {
  constexpr int kP = kM == 1 ? 4 : kM == 2 ? 2 : 1;
  int64_t panel = 0;
  for (; panel + kP <= block.panels; panel += kP) run_panels<kM, kP, kBits>(block, panel);
  for (; panel < block.panels; ++panel) run_panels<kM, 1, kBits>(block, panel);
}

}  // namespace

void nbits_block(const NbitsBlock& block) {
  using Function = void (*)(const NbitsBlock&);
  static constexpr Function kEight[] = {run_rows<1, 8>, run_rows<2, 8>, run_rows<3, 8>,
                                        run_rows<4, 8>};
  static constexpr Function kFour[] = {run_rows<1, 4>, run_rows<2, 4>, run_rows<3, 4>,
                                       run_rows<4, 4>};
  (block.bits == 8 ? kEight : kFour)[block.m - 1](block);
}

}  // namespace tenon::cpu::TENON_ISA
