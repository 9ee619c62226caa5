// The inner loops of depthwise products of bytes, compiled once per instruction set: TENON_INT8 is
// the namespace. No standard library templates here, see isa/isa.h.
#include <immintrin.h>

#include "device/cpu/kernels/isa_int8/epilogue.h"

namespace tenon::cpu::TENON_INT8 {
namespace {

TENON_INLINE __m256i widened(const uint8_t* x, __m128i flip, __m256i zero, int channels) {
  __m128i bytes;
  if (channels == 16) {
    bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  } else {
#if defined(__AVX512BW__)
    bytes = _mm_maskz_loadu_epi8(static_cast<__mmask16>((1u << channels) - 1), x);
#else
    if (channels == 8) {
      bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
    } else {
      alignas(16) uint8_t part[16] = {};
      __builtin_memcpy(part, x, static_cast<size_t>(channels));
      bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(part));
    }
#endif
  }
  return _mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm_xor_si128(bytes, flip)), zero);
}

}  // namespace

// Two taps at a time: products of 9-bit numbers, added in pairs, are exact in i32.
void depthwise_pixel(const Int8DepthwisePixel& p) {
  const __m128i flip = _mm_set1_epi8(static_cast<char>(p.flip));
  const __m256i zero = _mm256_set1_epi16(p.x_zero);
  const int16_t* filter = p.filter;
  for (int64_t c = 0; c < p.channels; c += 16) {
    const int channels = static_cast<int>(p.channels - c < 16 ? p.channels - c : 16);
    __m256i low = _mm256_setzero_si256(), high = low;
    for (int64_t t = 0; t < p.pairs; ++t, filter += 32) {
      const __m256i x = widened(p.x[2 * t] + c, flip, zero, channels);
      const __m256i y = widened(p.x[2 * t + 1] + c, flip, zero, channels);
      const auto* w = reinterpret_cast<const __m256i*>(filter);
      low = _mm256_add_epi32(low,
                             _mm256_madd_epi16(_mm256_unpacklo_epi16(x, y), _mm256_loadu_si256(w)));
      high = _mm256_add_epi32(
          high, _mm256_madd_epi16(_mm256_unpackhi_epi16(x, y), _mm256_loadu_si256(w + 1)));
    }
    alignas(64) int32_t sums[16];
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), _mm256_permute2x128_si256(low, high, 32));
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 8),
                       _mm256_permute2x128_si256(low, high, 49));
    for (int i = 0; i < channels; i += kLanes)
      finish(p.epilogue, add(load(sums + i), load(p.epilogue.column_add + c + i)), c + i, p.y,
             channels - i < kLanes ? channels - i : kLanes);
  }
}

namespace {

constexpr int kRowBytes = 4 * kLanes;  // results of a step

// A vector of sums whose place in the epilogue is `position`, with what is added to it.
TENON_INLINE Ints whole_sum(const Int8Epilogue& e, Ints sum, int64_t position) {
  return add(sum, load(e.column_add + position));
}
// The bytes of sums; `position` is that of sums[0] in the epilogue.
TENON_INLINE Ints row_bytes(const Int8Epilogue& e, const Ints (&sums)[4], int64_t position) {
  Floats real[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const int64_t at = position + 16 * j;
    real[j] = unclipped(e, whole_sum(e, sums[j], at), at);
  }
  return bytes_of(e, real);
}

// Finishes the sums of results [at, at + count), bytes that are not a whole step or no bytes.
void finish_row(const Int8DepthwiseRow& p, Ints (&sums)[4], int64_t position, int64_t at,
                int64_t count) {
  const Int8Epilogue& e = p.epilogue;
  if (gives_bytes(e)) {
    alignas(64) char part[kRowBytes];
    store_all(part, row_bytes(e, sums, position));
    __builtin_memcpy(p.y + at, part, static_cast<size_t>(count));
    return;
  }
  alignas(64) int32_t given[4][kLanes], natural[kRowBytes];
  for (int j = 0; j < 4; ++j) {
    const int64_t i = position + 16 * j;
    const Ints sum = whole_sum(e, sums[j], i);
    store_all(given[j], e.result == Int8Result::kI32 ? sum : bits(scaled(e, sum, i)));
  }
  for (int j = 0; j < 4; ++j)
    for (int lane = 0; lane < kLanes / 4; ++lane)
      __builtin_memcpy(natural + 16 * lane + 4 * j, given[j] + 4 * lane, 16);
  __builtin_memcpy(p.y + 4 * at, natural, 4 * static_cast<size_t>(count));
}

// The products of four taps with results [first, first + kRowBytes); one tap: the others are none.
template <bool kSingle>
TENON_INLINE void add_taps(const uint8_t* const* x, int64_t first, const Ints (&filter)[4],
                           Ints (&sums)[4]) {
  const Ints none = splat(0), a = load(x[0] + first);
  const Ints b = kSingle ? none : load(x[1] + first);
  const Ints low = low_bytes(a, b), high = high_bytes(a, b);
  Ints low2 = none, high2 = none;
  if constexpr (!kSingle) {
    const Ints c = load(x[2] + first), d = load(x[3] + first);
    low2 = low_bytes(c, d), high2 = high_bytes(c, d);
  }
  add_dot(sums[0], low_words(low, low2), filter[0]);
  add_dot(sums[1], high_words(low, low2), filter[1]);
  add_dot(sums[2], low_words(high, high2), filter[2]);
  add_dot(sums[3], high_words(high, high2), filter[3]);
}
TENON_INLINE void load_taps(const int8_t* from, Ints (&filter)[4]) {
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) filter[j] = load(from + 64 * j);
}

// kGroups: of four taps, the last one of a single tap; 0: any number of whole groups. kHeld: how
// many of their filters stay in registers.
template <int kGroups, int kHeld>
TENON_INLINE void sum_taps(const Int8DepthwiseRow& p, const int8_t* filter,
                           const Ints (&held)[kHeld + 1][4], int64_t first, Ints (&sums)[4]) {
  const int64_t groups = kGroups > 0 ? kGroups : p.groups;
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) sums[j] = splat(0);
#pragma GCC unroll 8
  for (int64_t g = 0; g < groups; ++g) {
    Ints taps[4];
    if constexpr (kHeld == 0) load_taps(filter + 256 * g, taps);
    const Ints(&used)[4] = kHeld == 0 ? taps : held[kHeld == 0 ? 0 : g];
    if (kGroups > 0 && g == kGroups - 1)
      add_taps<true>(p.x + 4 * g, first, used, sums);
    else
      add_taps<false>(p.x + 4 * g, first, used, sums);
  }
}

template <int kGroups>
void depthwise_row_of(const Int8DepthwiseRow& p) {
  constexpr int kHeld = kLanes == 16 && kGroups > 0 && kGroups <= 3 ? kGroups : 0;
  const Int8Epilogue e = p.epilogue;
  char* const y = p.y;
  const int64_t n = p.n, step = 64 * p.blocks;
  for (int64_t block = 0; block < p.blocks; ++block)
    for (int part = 0; part < 64 / kRowBytes; ++part) {
      const int8_t* filter = p.filter + block * p.groups * 256 + part * kRowBytes;
      const int64_t position = 64 * block + part * kLanes;
      Ints held[kHeld + 1][4], sums[4];
#pragma GCC unroll 4
      for (int g = 0; g < kHeld; ++g) load_taps(filter + 256 * g, held[g]);
      int64_t first = 64 * block + part * kRowBytes;
      // Nothing is called here: what is held in registers stays there.
      for (const int64_t end = gives_bytes(e) ? n - kRowBytes : -1; first <= end; first += step) {
        sum_taps<kGroups, kHeld>(p, filter, held, first, sums);
        store_all(y + first, row_bytes(e, sums, position));
      }
      for (; first < n; first += step) {
        sum_taps<kGroups, 0>(p, filter, {}, first, sums);
        finish_row(p, sums, position, first, n - first < kRowBytes ? n - first : kRowBytes);
      }
    }
}

}  // namespace

// Windows of 3 by 3 and 5 by 5 on their own.
void depthwise_row(const Int8DepthwiseRow& p) {
  if (p.taps == 9)
    depthwise_row_of<3>(p);
  else if (p.taps == 25)
    depthwise_row_of<7>(p);
  else
    depthwise_row_of<0>(p);
}

}  // namespace tenon::cpu::TENON_INT8
