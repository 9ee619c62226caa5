// How the GEMM micro kernels multiply: the sums of a tile, a step of k after the other. With
// TENON_PAIRS what is multiplied are pairs of bf16 in the place of floats (kernels/pairs.h).
#pragma once

#include "device/cpu/kernels/isa/simd.h"
#include "device/cpu/kernels/pack.h"
#if defined(TENON_PAIRS)
#include "device/cpu/kernels/isa/pair_product.h"
#endif

namespace tenon::cpu::TENON_ISA {
namespace {

// 6 x 2 accumulators + 2 of B + 1 of A of 16 registers; 12 x 2 + 2 + 1 of 32.
inline constexpr int kRows = TENON_LANES == 8 ? 6 : 12;
inline constexpr int kVectors = 2;
inline constexpr int kColumns = kVectors * kLanes;
inline constexpr int kStep = kPanelColumns;
static_assert(kColumns % kPanelColumns == 0 && kPanelColumns % kLanes == 0);

struct Tile {
  const float* const* rows;  // [taps][kRows]
  int64_t offset;
  int64_t taps;
  int64_t run;
  const float* b;         // the first vector of a row of B
  int64_t second_vector;  // every further one, floats after the one before
  int64_t ahead;          // floats from a row of B to the one to fetch; 0 for none
  float* before_post;     // where a tile that is rounded after its activation goes, or null
};

#if defined(TENON_PAIRS)
TENON_INLINE Floats broadcast(const float* p) {
  int32_t pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return from_bits(splat_int(pair));
}
#else
TENON_INLINE Floats broadcast(const float* p) {
  return splat(*p);
}
TENON_INLINE void add_product(Floats& sum, Floats a, Floats b) {
  accumulate(sum, a, b);
}
#endif

// The last vector of columns: half of it takes half the time where 512 bits take two goes.
enum class Last : uint8_t { kWhole, kHalf };
#if defined(__AVX512F__) && !defined(TENON_PAIRS)
inline constexpr bool kHalves = true;
#else
inline constexpr bool kHalves = false;
#endif
// Where sums begin with their bias, it takes no additions. Those of pairs begin with zeros:
// ResNet-50 is 2 % faster for it on Zen 4.
#if defined(TENON_PAIRS)
inline constexpr bool kBiasFirst = false;
#else
inline constexpr bool kBiasFirst = true;
#endif

// Adds one step of k to the accumulators.
template <int kM, int kN, Last kLast>
TENON_INLINE void step(const float* const (&a)[kM], int64_t k, const float* b, int64_t second,
                       Floats (&acc)[kM][kN]) {
  const auto load_last = [](const float* p) __attribute__((always_inline)) {
    return kLast == Last::kHalf ? load_low(p) : load(p);
  };
  const auto add_last = [](Floats & sum, Floats x, Floats y) __attribute__((always_inline)) {
    kLast == Last::kHalf ? accumulate_low(sum, x, y) : add_product(sum, x, y);
  };
  if constexpr (kN == 1) {
    const Floats last = load_last(b);
#pragma GCC unroll 16
    for (int r = 0; r < kM; ++r)
      add_last(acc[r][0], kLast == Last::kHalf ? splat_low(a[r] + k) : broadcast(a[r] + k), last);
  } else {
    Floats vectors[kN - 1];
#pragma GCC unroll 4
    for (int v = 0; v < kN - 1; ++v) vectors[v] = load(b + v * second);
    const Floats last = load_last(b + (kN - 1) * second);
#pragma GCC unroll 16
    for (int r = 0; r < kM; ++r) {
      const Floats x = broadcast(a[r] + k);
#pragma GCC unroll 4
      for (int v = 0; v < kN - 1; ++v) add_product(acc[r][v], x, vectors[v]);
      add_last(acc[r][kN - 1], x, last);
    }
  }
}

// Adds a few steps of k: with one vector of columns what counts are loads and instructions, which
// fetching ahead and a loop for every step would add to.
inline constexpr int kSteps = 2;
template <int kM, Last kLast>
TENON_INLINE void few_steps(const float* const (&a)[kM], int64_t k, const float* b,
                            Floats (&acc)[kM][1]) {
  Floats vectors[kSteps];
#pragma GCC unroll 4
  for (int u = 0; u < kSteps; ++u)
    vectors[u] = kLast == Last::kHalf ? load_low(b + u * kStep) : load(b + u * kStep);
#pragma GCC unroll 16
  for (int r = 0; r < kM; ++r)
#pragma GCC unroll 4
    for (int u = 0; u < kSteps; ++u) {
      const float* const x = a[r] + k + u;
      if constexpr (kLast == Last::kHalf)
        accumulate_low(acc[r][0], splat_low(x), vectors[u]);
      else
        add_product(acc[r][0], broadcast(x), vectors[u]);
    }
}

// With few rows the time is that of reading B, fetched ahead where it is unlikely to be in L1; with
// one or two rows one panel after the other, since lines of several are often in the same banks of
// L2, or four at a time. Two sets of sums were no faster for it.
inline constexpr int kFewRows = 6;
inline constexpr int kOnePanelRows = 2;
inline constexpr int kPanelsTogether = 4;

// Few rows leave too few independent sums to hide the latency of an addition; they get kChains
// sets of them over successive k, as far as registers go.
template <int kM, int kN>
inline constexpr int kChains = kN == kPanelsTogether                  ? 1
                               : kM* kN >= (TENON_LANES == 8 ? 8 : 9) ? 1
                               : kM* kN >= 4                          ? 2
                                                                      : 4;

inline constexpr int64_t kFloatsOfL2 = 64 << 10;
inline constexpr int64_t kFetchAhead = 32 * kStep;

template <int kM, int kN, Last kLast>
TENON_INLINE void multiply(const Tile& tile, const Floats (&bias)[kN], Floats (&acc)[kM][kN]) {
  constexpr int kSets = kChains<kM, kN>;
  Floats sums[kSets][kM][kN];
#pragma GCC unroll 64
  for (int i = 0; i < kSets * kM * kN; ++i)
    sums[i / (kM * kN)][i / kN % kM][i % kN] = kBiasFirst && i < kM * kN ? bias[i % kN] : Floats{};
  const float* b = tile.b;
  const int64_t second = kLanes == kPanelColumns ? tile.second_vector : kLanes;
  const int64_t ahead = tile.ahead;
  const float* const* rows = tile.rows;
  for (int64_t t = 0; t < tile.taps; ++t, rows += kRows) {
    if (rows[0] == nullptr) {
      b += tile.run * kStep;
      continue;
    }
    const float* a[kM];
#pragma GCC unroll 16
    for (int r = 0; r < kM; ++r) a[r] = rows[r] + tile.offset;
    int64_t k = 0;
    if constexpr (kM > kFewRows && kN == 1)
      for (; k + kSteps <= tile.run; k += kSteps, b += kSteps * kStep)
        few_steps<kM, kLast>(a, k, b, sums[0]);
    // Unrolling further was slower: the compiler adds moves between accumulators.
    for (; k + kSets <= tile.run; k += kSets, b += kSets * kStep) {
      if constexpr (kM > kFewRows)
        __builtin_prefetch(b + ahead, 0, 2);
      else if (kSets != 2 && ahead != 0)
#pragma GCC unroll 8
        for (int i = 0; i < kSets * kN; ++i)
          __builtin_prefetch(b + i / kN * kStep + i % kN * second + ahead, 0, 3);
#pragma GCC unroll 4
      for (int u = 0; u < kSets; ++u) step<kM, kN, kLast>(a, k + u, b + u * kStep, second, sums[u]);
    }
    if constexpr (kSets > 1)
      for (; k < tile.run; ++k, b += kStep) step<kM, kN, kLast>(a, k, b, second, sums[0]);
  }
#pragma GCC unroll 64
  for (int i = 0; i < kM * kN; ++i) {
    Floats total = sums[0][i / kN][i % kN];
    if constexpr (kSets == 2) total += sums[1][i / kN][i % kN];
    if constexpr (kSets == 4)
      total =
          (total + sums[1][i / kN][i % kN]) + (sums[2][i / kN][i % kN] + sums[3][i / kN][i % kN]);
    acc[i / kN][i % kN] = kBiasFirst ? total : total + bias[i % kN];
  }
}

}  // namespace
}  // namespace tenon::cpu::TENON_ISA
