// Vectors of bytes, integers and floats in the words of the instruction set that is compiled for,
// and products of bytes in them. No standard library templates here, see isa/isa.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define TENON_INLINE inline __attribute__((always_inline))

namespace tenon::cpu::TENON_INT8 {
namespace {

#if defined(__AVX512BW__)
using Ints = __m512i;
using Floats = __m512;
inline constexpr int kLanes = 16;
#else
using Ints = __m256i;
using Floats = __m256;
inline constexpr int kLanes = 8;
#endif
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
inline constexpr bool kVnni = true;
#else
inline constexpr bool kVnni = false;
#endif

#if defined(__AVX512BW__)
TENON_INLINE Ints load(const void* p) {
  return _mm512_loadu_si512(p);
}
TENON_INLINE Ints splat(int32_t v) {
  return _mm512_set1_epi32(v);
}
TENON_INLINE Ints add(Ints a, Ints b) {
  return _mm512_add_epi32(a, b);
}
TENON_INLINE Ints sub(Ints a, Ints b) {
  return _mm512_sub_epi32(a, b);
}
TENON_INLINE Ints mul(Ints a, Ints b) {
  return _mm512_mullo_epi32(a, b);
}
TENON_INLINE Ints madd(Ints a, Ints b) {
  return _mm512_madd_epi16(a, b);
}
TENON_INLINE Ints even_signed(Ints v) {
  return _mm512_srai_epi16(_mm512_slli_epi16(v, 8), 8);
}
TENON_INLINE Ints odd_signed(Ints v) {
  return _mm512_srai_epi16(v, 8);
}
TENON_INLINE Ints even_unsigned(Ints v) {
  return _mm512_and_si512(v, _mm512_set1_epi16(0xff));
}
TENON_INLINE Ints odd_unsigned(Ints v) {
  return _mm512_srli_epi16(v, 8);
}
TENON_INLINE Floats to_real(Ints v) {
  return _mm512_cvtepi32_ps(v);
}
TENON_INLINE Ints to_int(Floats v) {
  return _mm512_cvtps_epi32(v);
}
TENON_INLINE Floats load_real(const float* p) {
  return _mm512_loadu_ps(p);
}
TENON_INLINE Floats splat_real(float v) {
  return _mm512_set1_ps(v);
}
TENON_INLINE Floats fma(Floats a, Floats b, Floats c) {
  return _mm512_fmadd_ps(a, b, c);
}
TENON_INLINE Floats clip(Floats v, Floats low, Floats high) {
  return _mm512_min_ps(_mm512_max_ps(v, low), high);
}
TENON_INLINE void store_part(char* y, Ints v, int lanes) {
  _mm512_mask_storeu_epi32(y, static_cast<__mmask16>((1u << lanes) - 1), v);
}
TENON_INLINE Ints bits(Floats v) {
  return _mm512_castps_si512(v);
}
TENON_INLINE Floats divided(Floats a, Floats b) {
  return _mm512_div_ps(a, b);
}
TENON_INLINE Floats multiplied(Floats a, Floats b) {
  return _mm512_mul_ps(a, b);
}
// `other` where v is NaN.
TENON_INLINE Floats number_or(Floats v, Floats other) {
  return _mm512_mask_mov_ps(v, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), other);
}
TENON_INLINE void store_bytes(char* y, Ints v, int lanes) {
  const __m128i bytes = _mm512_cvtepi32_epi8(v);
  if (lanes == kLanes)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), bytes);
  else
    _mm_mask_storeu_epi8(y, static_cast<__mmask16>((1u << lanes) - 1), bytes);
}
#else
TENON_INLINE Ints load(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
TENON_INLINE Ints splat(int32_t v) {
  return _mm256_set1_epi32(v);
}
TENON_INLINE Ints add(Ints a, Ints b) {
  return _mm256_add_epi32(a, b);
}
TENON_INLINE Ints sub(Ints a, Ints b) {
  return _mm256_sub_epi32(a, b);
}
TENON_INLINE Ints mul(Ints a, Ints b) {
  return _mm256_mullo_epi32(a, b);
}
TENON_INLINE Ints madd(Ints a, Ints b) {
  return _mm256_madd_epi16(a, b);
}
TENON_INLINE Ints even_signed(Ints v) {
  return _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8);
}
TENON_INLINE Ints odd_signed(Ints v) {
  return _mm256_srai_epi16(v, 8);
}
TENON_INLINE Ints even_unsigned(Ints v) {
  return _mm256_and_si256(v, _mm256_set1_epi16(0xff));
}
TENON_INLINE Ints odd_unsigned(Ints v) {
  return _mm256_srli_epi16(v, 8);
}
TENON_INLINE Floats to_real(Ints v) {
  return _mm256_cvtepi32_ps(v);
}
TENON_INLINE Ints to_int(Floats v) {
  return _mm256_cvtps_epi32(v);
}
TENON_INLINE Floats load_real(const float* p) {
  return _mm256_loadu_ps(p);
}
TENON_INLINE Floats splat_real(float v) {
  return _mm256_set1_ps(v);
}
TENON_INLINE Floats fma(Floats a, Floats b, Floats c) {
  return _mm256_fmadd_ps(a, b, c);
}
TENON_INLINE Floats clip(Floats v, Floats low, Floats high) {
  return _mm256_min_ps(_mm256_max_ps(v, low), high);
}
TENON_INLINE void store_part(char* y, Ints v, int lanes) {
  if (lanes == kLanes) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), v);
    return;
  }
  alignas(32) char lanes_of_v[32];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes_of_v), v);
  __builtin_memcpy(y, lanes_of_v, 4 * static_cast<size_t>(lanes));
}
TENON_INLINE Ints bits(Floats v) {
  return _mm256_castps_si256(v);
}
TENON_INLINE Floats divided(Floats a, Floats b) {
  return _mm256_div_ps(a, b);
}
TENON_INLINE Floats multiplied(Floats a, Floats b) {
  return _mm256_mul_ps(a, b);
}
TENON_INLINE Floats number_or(Floats v, Floats other) {
  return _mm256_blendv_ps(v, other, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
}
TENON_INLINE void store_bytes(char* y, Ints v, int lanes) {
  const Ints low =
      _mm256_shuffle_epi8(v, _mm256_set_epi32(-1, -1, -1, 0x0c080400, -1, -1, -1, 0x0c080400));
  const __m128i bytes =
      _mm_unpacklo_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  if (lanes == kLanes) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(y), bytes);
    return;
  }
  char all[8];
  _mm_storel_epi64(reinterpret_cast<__m128i*>(all), bytes);
  __builtin_memcpy(y, all, static_cast<size_t>(lanes));
}
#endif

// Assembly, because GCC copies the accumulator around its own built-in and spills.
TENON_INLINE void dot([[maybe_unused]] Ints& sum, [[maybe_unused]] Ints a,
                      [[maybe_unused]] Ints b) {
#if defined(__AVX512VNNI__)
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#elif defined(__AVXVNNI__)
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
#endif
}

#if defined(__AVX512BW__)
TENON_INLINE Ints low_bytes(Ints a, Ints b) {
  return _mm512_unpacklo_epi8(a, b);
}
TENON_INLINE Ints high_bytes(Ints a, Ints b) {
  return _mm512_unpackhi_epi8(a, b);
}
TENON_INLINE Ints low_words(Ints a, Ints b) {
  return _mm512_unpacklo_epi16(a, b);
}
TENON_INLINE Ints high_words(Ints a, Ints b) {
  return _mm512_unpackhi_epi16(a, b);
}
// v + zero, saturated, in the order that interleaving bytes and words would undo.
TENON_INLINE Ints packed_bytes(const Ints (&v)[4], int32_t zero, bool is_signed) {
  const Ints more = _mm512_set1_epi16(static_cast<int16_t>(zero));
  const Ints low = _mm512_adds_epi16(_mm512_packs_epi32(v[0], v[1]), more);
  const Ints high = _mm512_adds_epi16(_mm512_packs_epi32(v[2], v[3]), more);
  return is_signed ? _mm512_packs_epi16(low, high) : _mm512_packus_epi16(low, high);
}
TENON_INLINE void store_all(void* y, Ints v) {
  _mm512_storeu_si512(y, v);
}
// packed_bytes() in the order of the vectors, and the two halves of that apart.
TENON_INLINE Ints in_order(Ints v) {
  return _mm512_permutexvar_epi32(
      _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), v);
}
TENON_INLINE void store_halves(void* y, void* next, Ints v) {
  _mm256_storeu_si256(static_cast<__m256i*>(y), _mm512_castsi512_si256(v));
  _mm256_storeu_si256(static_cast<__m256i*>(next), _mm512_extracti64x4_epi64(v, 1));
}
TENON_INLINE Ints flipped(Ints v) {
  return _mm512_xor_si512(v, _mm512_set1_epi8(-128));
}
// Bytes, each ^ flip, as unsigned words; and one half of those as integers.
TENON_INLINE Ints words_of(const uint8_t* p, uint8_t flip) {
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_cvtepu8_epi16(_mm256_xor_si256(bytes, _mm256_set1_epi8(static_cast<char>(flip))));
}
TENON_INLINE Ints add_words(Ints a, Ints b) {
  return _mm512_add_epi16(a, b);
}
TENON_INLINE Ints half_of_words(Ints v, int half) {
  return _mm512_cvtepu16_epi32(half == 0 ? _mm512_castsi512_si256(v)
                                         : _mm512_extracti64x4_epi64(v, 1));
}
#else
TENON_INLINE Ints low_bytes(Ints a, Ints b) {
  return _mm256_unpacklo_epi8(a, b);
}
TENON_INLINE Ints high_bytes(Ints a, Ints b) {
  return _mm256_unpackhi_epi8(a, b);
}
TENON_INLINE Ints low_words(Ints a, Ints b) {
  return _mm256_unpacklo_epi16(a, b);
}
TENON_INLINE Ints high_words(Ints a, Ints b) {
  return _mm256_unpackhi_epi16(a, b);
}
TENON_INLINE Ints packed_bytes(const Ints (&v)[4], int32_t zero, bool is_signed) {
  const Ints more = _mm256_set1_epi16(static_cast<int16_t>(zero));
  const Ints low = _mm256_adds_epi16(_mm256_packs_epi32(v[0], v[1]), more);
  const Ints high = _mm256_adds_epi16(_mm256_packs_epi32(v[2], v[3]), more);
  return is_signed ? _mm256_packs_epi16(low, high) : _mm256_packus_epi16(low, high);
}
TENON_INLINE void store_all(void* y, Ints v) {
  _mm256_storeu_si256(static_cast<__m256i*>(y), v);
}
TENON_INLINE Ints in_order(Ints v) {
  return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
TENON_INLINE void store_halves(void* y, void* next, Ints v) {
  _mm_storeu_si128(static_cast<__m128i*>(y), _mm256_castsi256_si128(v));
  _mm_storeu_si128(static_cast<__m128i*>(next), _mm256_extracti128_si256(v, 1));
}
TENON_INLINE Ints flipped(Ints v) {
  return _mm256_xor_si256(v, _mm256_set1_epi8(-128));
}
TENON_INLINE Ints words_of(const uint8_t* p, uint8_t flip) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_cvtepu8_epi16(_mm_xor_si128(bytes, _mm_set1_epi8(static_cast<char>(flip))));
}
TENON_INLINE Ints add_words(Ints a, Ints b) {
  return _mm256_add_epi16(a, b);
}
TENON_INLINE Ints half_of_words(Ints v, int half) {
  return _mm256_cvtepu16_epi32(half == 0 ? _mm256_castsi256_si128(v)
                                         : _mm256_extracti128_si256(v, 1));
}
#endif

// sum += the products of four bytes each.
TENON_INLINE void add_dot(Ints& sum, Ints x, Ints w) {
  if constexpr (kVnni)
    dot(sum, x, w);
  else
    sum =
        add(sum, add(madd(even_unsigned(x), even_signed(w)), madd(odd_unsigned(x), odd_signed(w))));
}

}  // namespace
}  // namespace tenon::cpu::TENON_INT8
