// The inner loops over bytes that are no products, compiled once per instruction set: TENON_INT8 is
// the namespace. No standard library templates here, see isa/isa.h.
#include "device/cpu/kernels/byte_sums.h"
#include "device/cpu/kernels/isa_int8/vectors.h"

namespace tenon::cpu::TENON_INT8 {
namespace {

constexpr int64_t kBlock = 64;
constexpr int kBytes = 4 * kLanes;  // elements of a step

// The factors and the offset of four vectors, or, where all elements have the same, of all.
template <int kTerms, bool kUniform>
struct Factors {
  static constexpr int kVectors = kUniform ? 1 : 4;
  Floats factor[kTerms][kVectors], offset[kVectors];

  TENON_INLINE Factors(const ByteSum& p, int64_t position) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      offset[j] = load_real(p.offset + position + 16 * j);
#pragma GCC unroll 4
      for (int t = 0; t < kTerms; ++t) factor[t][j] = load_real(p.factor[t] + position + 16 * j);
    }
  }
};

// kBytes elements of the operands at x and of y.
template <int kTerms, bool kUniform>
TENON_INLINE void sum_step(const ByteSum& p, const Factors<kTerms, kUniform>& f,
                           const uint8_t* const* x, uint8_t* y) {
  Floats sums[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) sums[j] = f.offset[kUniform ? 0 : j];
#pragma GCC unroll 4
  for (int t = 0; t < kTerms; ++t) {
    Ints v = load(x[t]);
    if (p.x_signed[t]) v = flipped(v);
    const Ints none = splat(0);
    const Ints low = low_bytes(v, none), high = high_bytes(v, none);
    const Ints words[4] = {low_words(low, none), high_words(low, none), low_words(high, none),
                           high_words(high, none)};
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j)
      sums[j] = fma(to_real(words[j]), f.factor[t][kUniform ? 0 : j], sums[j]);
  }
  if (!p.saturates)
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sums[j] = clip(sums[j], splat_real(p.low), splat_real(p.high));
  Ints rounded[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) rounded[j] = to_int(sums[j]);
  store_all(y, packed_bytes(rounded, p.zero, p.y_signed));
}

// The last `left` elements, fewer than a step has.
template <int kTerms, bool kUniform>
void sum_rest(const ByteSum& p, const Factors<kTerms, kUniform>& f, int64_t at, int64_t left) {
  uint8_t copies[kTerms + 1][kBytes] = {};
  const uint8_t* x[kTerms];
  for (int t = 0; t < kTerms; ++t) {
    __builtin_memcpy(copies[t], p.x[t] + at, static_cast<size_t>(left));
    x[t] = copies[t];
  }
  sum_step<kTerms>(p, f, x, copies[kTerms]);
  __builtin_memcpy(p.y + at, copies[kTerms], static_cast<size_t>(left));
}

template <int kTerms, bool kUniform>
void sum_blocks(const ByteSum& sum, int64_t first, int64_t count) {
  const ByteSum p = sum;  // which storing bytes cannot change
  int64_t block = kUniform ? 0 : first % p.blocks;
  Factors<kTerms, kUniform> f(p, 0);
  for (int64_t i = first; i < first + count; ++i) {
    for (int part = 0; part < kBlock / kBytes; ++part) {
      const int64_t at = kBlock * i + part * kBytes, left = p.n - at;
      if constexpr (!kUniform) f = {p, kBlock * block + part * kLanes};
      if (left < kBytes) {
        if (left > 0) sum_rest<kTerms>(sum, f, at, left);
        return;
      }
      const uint8_t* x[kTerms];
#pragma GCC unroll 4
      for (int t = 0; t < kTerms; ++t) x[t] = p.x[t] + at;
      sum_step<kTerms>(p, f, x, p.y + at);
    }
    if (++block == p.blocks) block = 0;
  }
}

constexpr int kWords = 2 * kLanes;  // 16-bit sums of a vector

}  // namespace

void add_byte_rows(const ByteColumns& p) {
  int64_t i = 0;
  for (; i + kWords <= p.n; i += kWords) {
    Ints sum = splat(0);
    for (int64_t r = 0; r < p.rows; ++r) sum = add_words(sum, words_of(p.x[r] + i, p.flip));
    store_all(p.sums + i, sum);
  }
  if (i == p.n) return;
  Ints sum = splat(0);
  for (int64_t r = 0; r < p.rows; ++r) {
    uint8_t rest[kWords] = {};
    __builtin_memcpy(rest, p.x[r] + i, static_cast<size_t>(p.n - i));
    sum = add_words(sum, words_of(rest, p.flip));
  }
  store_all(p.sums + i, sum);
}

void average_sums(const ByteMeans& p) {
  const bool is_real = p.result == Int8Result::kF32;
  const float least = (p.result == Int8Result::kI8 ? -128.0f : 0.0f) - static_cast<float>(p.zero);
  const Floats factor = splat_real(p.factor), offset = splat_real(p.offset);
  const Floats low = splat_real(least), high = splat_real(least + 255);
  for (int64_t i = 0; i < p.n; i += kWords) {
    Ints sum = splat(0);
    for (int64_t t = 0; t < p.taps; ++t) sum = add_words(sum, load(p.sums + t * p.step + i));
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const int64_t at = i + half * kLanes, left = p.n - at;
      if (left <= 0) return;
      const int lanes = left < kLanes ? static_cast<int>(left) : kLanes;
      const Floats real = fma(to_real(half_of_words(sum, half)), factor, offset);
      if (is_real)
        store_part(p.y + 4 * at, bits(real), lanes);
      else
        store_bytes(p.y + at, add(to_int(clip(real, low, high)), splat(p.zero)), lanes);
    }
  }
}

void sum_bytes(const ByteSum& p, int64_t first, int64_t count) {
  static_assert(ByteSum::kMaxTerms == 4);
  // Residuals, mostly.
  if (p.terms == 2 && p.uniform) return sum_blocks<2, true>(p, first, count);
  if (p.terms == 1) sum_blocks<1, false>(p, first, count);
  if (p.terms == 2) sum_blocks<2, false>(p, first, count);
  if (p.terms == 3) sum_blocks<3, false>(p, first, count);
  if (p.terms == 4) sum_blocks<4, false>(p, first, count);
}

// Divides by the scale, or multiplies by its inverse.
template <bool kInverse>
void quantize_by(const ByteQuantizer& q, const float* x, uint8_t* y, int64_t n) {
  const float least = (q.is_signed ? -128.0f : 0.0f) - static_cast<float>(q.zero);
  const Floats scale = splat_real(kInverse ? 1 / q.scale : q.scale);
  const Floats low = splat_real(least), high = splat_real(least + 255);
  const Floats none = splat_real(-static_cast<float>(q.zero));
  float rest[kBytes] = {};
  uint8_t rest_of_y[kBytes];
  for (int64_t i = 0; i < n; i += kBytes) {
    const bool whole = n - i >= kBytes;
    const float* from = whole ? x + i : rest;
    if (!whole) __builtin_memcpy(rest, x + i, 4 * static_cast<size_t>(n - i));
    Ints v[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const Floats reals = load_real(from + j * kLanes);
      const Floats real =
          number_or(kInverse ? multiplied(reals, scale) : divided(reals, scale), none);
      v[j] = to_int(clip(real, low, high));
    }
    store_all(whole ? y + i : rest_of_y, in_order(packed_bytes(v, q.zero, q.is_signed)));
    if (!whole) __builtin_memcpy(y + i, rest_of_y, static_cast<size_t>(n - i));
  }
}

void quantize_bytes(const ByteQuantizer& q, const float* x, uint8_t* y, int64_t n) {
  // By a power of two both give the same number, and division takes several times as long.
  int exponent = 0;
  const bool inverse =
      __builtin_frexpf(q.scale, &exponent) == 0.5f && exponent > -120 && exponent < 120;
  return inverse ? quantize_by<true>(q, x, y, n) : quantize_by<false>(q, x, y, n);
}

}  // namespace tenon::cpu::TENON_INT8
