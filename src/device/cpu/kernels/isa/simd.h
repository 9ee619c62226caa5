// Vectors of TENON_LANES floats over GCC's vector extensions. Included by the sources that are
// compiled once per instruction set; everything lands in that set's own namespace, so that no
// inline function compiled for a wide machine can be linked into the code of another.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define TENON_INLINE [[gnu::always_inline]] static inline

namespace tenon::cpu::TENON_ISA {

inline constexpr int kLanes = TENON_LANES;

using Floats = float __attribute__((vector_size(4 * TENON_LANES)));
using Ints = int32_t __attribute__((vector_size(4 * TENON_LANES)));
using UnalignedFloats [[gnu::vector_size(4 * TENON_LANES), gnu::aligned(4), gnu::may_alias]] =
    float;

using UnalignedHalves [[gnu::vector_size(2 * TENON_LANES), gnu::aligned(2), gnu::may_alias]] =
    uint16_t;

TENON_INLINE Floats splat(float x) {
  return x - Floats{};
}
TENON_INLINE Ints splat_int(int32_t x) {
  return x - Ints{};
}
TENON_INLINE Floats load(const float* p) {
  return *reinterpret_cast<const UnalignedFloats*>(p);
}
TENON_INLINE void store(float* p, Floats x) {
  *reinterpret_cast<UnalignedFloats*>(p) = x;
}
TENON_INLINE Ints bits(Floats x) {
  return reinterpret_cast<Ints>(x);
}
TENON_INLINE Floats from_bits(Ints x) {
  return reinterpret_cast<Floats>(x);
}
TENON_INLINE Floats select(Ints mask, Floats yes, Floats no) {
  return mask ? yes : no;
}

// The bits of x rounded to bf16, in the upper halves.
TENON_INLINE Ints rounded_bf16(Floats x) {
  const Ints b = bits(x);
  const Ints nan = (b & splat_int(INT32_MAX)) > splat_int(0x7f800000);
  return nan ? b | splat_int(0x400000) : b + splat_int(0x7fff) + ((b >> 16) & splat_int(1));
}
TENON_INLINE void store_bf16(uint16_t* p, Floats x) {
  using Halves = uint16_t __attribute__((vector_size(2 * TENON_LANES)));
  *reinterpret_cast<UnalignedHalves*>(p) = __builtin_convertvector(rounded_bf16(x) >> 16, Halves);
}

TENON_INLINE Floats load_bf16(const uint16_t* p) {
  return from_bits(__builtin_convertvector(*reinterpret_cast<const UnalignedHalves*>(p), Ints)
                   << 16);
}

#if defined(__AVX512F__) && TENON_LANES == 16
inline constexpr const char* kIsaName = "avx512";

// As the instructions define them: the second operand if either is NaN.
TENON_INLINE Floats max_second(Floats a, Floats b) {
  return (Floats)_mm512_max_ps(a, b);
}
TENON_INLINE Floats min_second(Floats a, Floats b) {
  return (Floats)_mm512_min_ps(a, b);
}
TENON_INLINE Floats round_even(Floats x) {
  return (Floats)_mm512_roundscale_ps(x, 0x08);
}
TENON_INLINE Floats round_down(Floats x) {
  return (Floats)_mm512_roundscale_ps(x, 0x09);
}
TENON_INLINE Floats round_up(Floats x) {
  return (Floats)_mm512_roundscale_ps(x, 0x0a);
}
TENON_INLINE Floats round_to_zero(Floats x) {
  return (Floats)_mm512_roundscale_ps(x, 0x0b);
}
TENON_INLINE Floats square_root(Floats x) {
  return (Floats)_mm512_sqrt_ps(x);
}
TENON_INLINE Floats fused(Floats a, Floats b, Floats c) {
  return (Floats)_mm512_fmadd_ps(a, b, c);
}
TENON_INLINE Floats load_part(const float* p, int n) {
  return (Floats)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
}
TENON_INLINE void store_part(float* p, Floats x, int n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), (__m512)x);
}

#else

TENON_INLINE __m256 load_part8(const float* p, int n) {
  alignas(32) static constexpr int32_t kMasks[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return _mm256_maskload_ps(p,
                            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMasks + 8 - n)));
}
// Masked stores are microcode on some processors; pieces of 4, 2 and 1 are not.
TENON_INLINE void store_part8(float* p, __m256 x, int n) {
  __m128 rest = _mm256_castps256_ps128(x);
  if ((n & 4) != 0) {
    _mm_storeu_ps(p, rest);
    rest = _mm256_extractf128_ps(x, 1);
    p += 4;
  }
  if ((n & 2) != 0) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
    rest = _mm_movehl_ps(rest, rest);
    p += 2;
  }
  if ((n & 1) != 0) _mm_store_ss(p, rest);
}

#if TENON_LANES == 8
inline constexpr const char* kIsaName = "avx2";

TENON_INLINE Floats max_second(Floats a, Floats b) {
  return (Floats)_mm256_max_ps(a, b);
}
TENON_INLINE Floats min_second(Floats a, Floats b) {
  return (Floats)_mm256_min_ps(a, b);
}
TENON_INLINE Floats round_even(Floats x) {
  return (Floats)_mm256_round_ps(x, 0x08);
}
TENON_INLINE Floats round_down(Floats x) {
  return (Floats)_mm256_round_ps(x, 0x09);
}
TENON_INLINE Floats round_up(Floats x) {
  return (Floats)_mm256_round_ps(x, 0x0a);
}
TENON_INLINE Floats round_to_zero(Floats x) {
  return (Floats)_mm256_round_ps(x, 0x0b);
}
TENON_INLINE Floats square_root(Floats x) {
  return (Floats)_mm256_sqrt_ps(x);
}
TENON_INLINE Floats fused(Floats a, Floats b, Floats c) {
  return (Floats)_mm256_fmadd_ps(a, b, c);
}
TENON_INLINE Floats load_part(const float* p, int n) {
  return (Floats)load_part8(p, n);
}
TENON_INLINE void store_part(float* p, Floats x, int n) {
  store_part8(p, (__m256)x, n);
}

#else
// Sixteen lanes as two halves: the AVX-512 sources, runnable on an AVX2 machine, for tests.
inline constexpr const char* kIsaName = "wide16";

union Halves {
  Floats whole;
  __m256 half[2];
};
template <typename Op>
TENON_INLINE Floats by_halves(Floats a, Floats b, Op op) {
  Halves x{a}, y{b}, z;
  z.half[0] = op(x.half[0], y.half[0]);
  z.half[1] = op(x.half[1], y.half[1]);
  return z.whole;
}
TENON_INLINE Floats max_second(Floats a, Floats b) {
  return by_halves(a, b, [](__m256 x, __m256 y) { return _mm256_max_ps(x, y); });
}
TENON_INLINE Floats min_second(Floats a, Floats b) {
  return by_halves(a, b, [](__m256 x, __m256 y) { return _mm256_min_ps(x, y); });
}
TENON_INLINE Floats round_even(Floats a) {
  return by_halves(a, a, [](__m256 x, __m256) { return _mm256_round_ps(x, 0x08); });
}
TENON_INLINE Floats round_down(Floats a) {
  return by_halves(a, a, [](__m256 x, __m256) { return _mm256_round_ps(x, 0x09); });
}
TENON_INLINE Floats round_up(Floats a) {
  return by_halves(a, a, [](__m256 x, __m256) { return _mm256_round_ps(x, 0x0a); });
}
TENON_INLINE Floats round_to_zero(Floats a) {
  return by_halves(a, a, [](__m256 x, __m256) { return _mm256_round_ps(x, 0x0b); });
}
TENON_INLINE Floats square_root(Floats a) {
  return by_halves(a, a, [](__m256 x, __m256) { return _mm256_sqrt_ps(x); });
}
TENON_INLINE Floats fused(Floats a, Floats b, Floats c) {
  const Halves x{a}, y{b}, z{c};
  Halves r;
  r.half[0] = _mm256_fmadd_ps(x.half[0], y.half[0], z.half[0]);
  r.half[1] = _mm256_fmadd_ps(x.half[1], y.half[1], z.half[1]);
  return r.whole;
}
TENON_INLINE Floats load_part(const float* p, int n) {
  Halves x{};
  x.half[0] = load_part8(p, n < 8 ? n : 8);
  if (n > 8) x.half[1] = load_part8(p + 8, n - 8);
  return x.whole;
}
TENON_INLINE void store_part(float* p, Floats a, int n) {
  const Halves x{a};
  if (n < 8) return store_part8(p, x.half[0], n);
  _mm256_storeu_ps(p, x.half[0]);
  store_part8(p + 8, x.half[1], n - 8);
}
#endif
#endif

// NaN propagating, for any operand order.
TENON_INLINE Floats maximum(Floats a, Floats b) {
  return select(a != a, a, max_second(a, b));
}
TENON_INLINE Floats minimum(Floats a, Floats b) {
  return select(a != a, a, min_second(a, b));
}
// NaN in x stays.
TENON_INLINE Floats clip(Floats x, Floats low, Floats high) {
  return min_second(high, max_second(low, x));
}
TENON_INLINE Floats absolute(Floats x) {
  return from_bits(bits(x) & splat_int(0x7fffffff));
}

// The first n numbers alone. Out of line where there are no masks for them: such machines store
// halves but never multiply them.
#if defined(__AVX512F__) && TENON_LANES == 16
TENON_INLINE Floats load_bf16_part(const uint16_t* p, int n) {
  const __m256i x = _mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << n) - 1), p);
  return from_bits((Ints)_mm512_cvtepu16_epi32(x) << 16);
}
TENON_INLINE void store_bf16_part(uint16_t* p, Floats x, int n) {
  _mm256_mask_storeu_epi16(p, static_cast<__mmask16>((1u << n) - 1),
                           _mm512_cvtepi32_epi16((__m512i)(rounded_bf16(x) >> 16)));
}
#else
[[gnu::noinline, maybe_unused]] static Floats load_bf16_part(const uint16_t* p, int n) {
  Ints x{};
  for (int i = 0; i < n; ++i) x[i] = p[i] << 16;
  return from_bits(x);
}
[[gnu::noinline, maybe_unused]] static void store_bf16_part(uint16_t* p, Floats x, int n) {
  const Ints high = rounded_bf16(x) >> 16;
  for (int i = 0; i < n; ++i) p[i] = static_cast<uint16_t>(high[i]);
}
#endif

// Numbers of either type, kLanes or the first n of them.
TENON_INLINE Floats load_number(const float* p) {
  return load(p);
}
TENON_INLINE Floats load_number(const uint16_t* p) {
  return load_bf16(p);
}
TENON_INLINE Floats load_number(const float* p, int n) {
  return load_part(p, n);
}
TENON_INLINE Floats load_number(const uint16_t* p, int n) {
  return load_bf16_part(p, n);
}

// With n lanes, of all a whole load or store.
TENON_INLINE Floats load_lanes(const float* p, int n) {
  return n == kLanes ? load(p) : load_part(p, n);
}
TENON_INLINE void store_lanes(float* p, Floats x, int n) {
  if (n == kLanes)
    store(p, x);
  else
    store_part(p, x, n);
}

// sum += a * b, with sum kept in its register. Left to itself the compiler picks other forms of the
// instruction and pays with moves and spills.
template <typename Vector>
TENON_INLINE void accumulate(Vector& sum, Vector a, Vector b) {
#if TENON_LANES == 8 || defined(__AVX512F__)
  __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#else
  sum += a * b;
#endif
}

// The same of the lower halves alone, where there are such; what is above them is not looked at.
TENON_INLINE void accumulate_low(Floats& sum, Floats a, Floats b) {
#if defined(__AVX512F__)
  __asm__("vfmadd231ps %t2, %t1, %t0" : "+v"(sum) : "v"(a), "v"(b));
#else
  accumulate(sum, a, b);
#endif
}
TENON_INLINE Floats load_low(const float* p) {
#if defined(__AVX512F__)
  return (Floats)_mm512_castps256_ps512(_mm256_loadu_ps(p));
#else
  return load(p);
#endif
}
TENON_INLINE Floats splat_low(const float* p) {
#if defined(__AVX512F__)
  return (Floats)_mm512_castps256_ps512(_mm256_broadcast_ss(p));
#else
  return splat(*p);
#endif
}

}  // namespace tenon::cpu::TENON_ISA
