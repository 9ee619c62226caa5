// Depthwise convolution of bf16: two rows of a window at a time, whose inputs of a channel are the
// pair that is multiplied. 32 channels are loaded from each of both rows and interleaved into two
// vectors of pairs, the low and the high half of every 128 bits.
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/isa/activation_sums.h"
#include "device/cpu/kernels/isa/dilated_rows.h"
#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/pair_product.h"
#include "device/cpu/kernels/isa/simd.h"
#include "device/cpu/kernels/pairs.h"

namespace tenon::cpu::TENON_ISA {
namespace {

static_assert(kLanes == 16 && kDepthwisePairChannels == 2 * kLanes);
constexpr int kChannels = 2 * kLanes;

// Channels of 4 * i + j for j < 4: i even in `low`, odd in `high`, as unpacking leaves them.
struct Sums {
  Floats low, high;
};

using Halves = uint16_t __attribute__((vector_size(4 * TENON_LANES)));
using AnyHalves [[gnu::vector_size(4 * TENON_LANES), gnu::aligned(2), gnu::may_alias]] = uint16_t;

TENON_INLINE Halves load_halves(const uint16_t* p) {
  return *reinterpret_cast<const AnyHalves*>(p);
}

#if defined(__AVX512F__)
TENON_INLINE __mmask32 mask_of(int n) {
  return static_cast<__mmask32>((uint64_t{1} << n) - 1);
}
TENON_INLINE Halves load_halves(const uint16_t* p, int n) {
  return (Halves)_mm512_maskz_loadu_epi16(mask_of(n), p);
}
TENON_INLINE Floats unpack_low(Halves a, Halves b) {
  return (Floats)_mm512_unpacklo_epi16((__m512i)a, (__m512i)b);
}
TENON_INLINE Floats unpack_high(Halves a, Halves b) {
  return (Floats)_mm512_unpackhi_epi16((__m512i)a, (__m512i)b);
}
TENON_INLINE Sums from_order(Floats first, Floats second) {
  return {(Floats)_mm512_shuffle_f32x4((__m512)first, (__m512)second, 0x88),
          (Floats)_mm512_shuffle_f32x4((__m512)first, (__m512)second, 0xdd)};
}
TENON_INLINE void to_order(const Sums& sums, Floats& first, Floats& second) {
  const __m512d low = (__m512d)sums.low, high = (__m512d)sums.high;
  first = (Floats)_mm512_permutex2var_pd(low, _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0), high);
  second = (Floats)_mm512_permutex2var_pd(low, _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4), high);
}
TENON_INLINE void store_rounded(uint16_t* p, const Sums& sums, int begin, int end) {
  __m512i both;
  __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(sums.low), "v"(sums.high));
  both = _mm512_permutexvar_epi64(_mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0), both);
  if (end - begin == kChannels)
    _mm512_storeu_si512(p, both);
  else
    _mm512_mask_storeu_epi16(p, mask_of(end) & ~mask_of(begin), both);
}
#else
TENON_INLINE Halves load_halves(const uint16_t* p, int n) {
  Halves x{};
  for (int i = 0; i < n; ++i) x[i] = p[i];
  return x;
}
TENON_INLINE int channel_of(int lane, bool high) {
  return lane / 4 * 8 + (high ? 4 : 0) + lane % 4;
}
TENON_INLINE Floats unpack(Halves a, Halves b, bool high) {
  Ints pairs{};
  for (int i = 0; i < kLanes; ++i) {
    const int channel = channel_of(i, high);
    pairs[i] = static_cast<int32_t>(a[channel] | static_cast<uint32_t>(b[channel]) << 16);
  }
  return from_bits(pairs);
}
TENON_INLINE Floats unpack_low(Halves a, Halves b) {
  return unpack(a, b, false);
}
TENON_INLINE Floats unpack_high(Halves a, Halves b) {
  return unpack(a, b, true);
}
TENON_INLINE Sums from_order(Floats first, Floats second) {
  Sums sums{};
  for (int i = 0; i < kLanes; ++i) {
    const int low = channel_of(i, false), high = channel_of(i, true);
    sums.low[i] = low < kLanes ? first[low] : second[low - kLanes];
    sums.high[i] = high < kLanes ? first[high] : second[high - kLanes];
  }
  return sums;
}
TENON_INLINE void to_order(const Sums& sums, Floats& first, Floats& second) {
  for (int i = 0; i < kLanes; ++i)
    for (const bool is_high : {false, true}) {
      const int channel = channel_of(i, is_high);
      const float value = is_high ? sums.high[i] : sums.low[i];
      if (channel < kLanes)
        first[channel] = value;
      else
        second[channel - kLanes] = value;
    }
}
TENON_INLINE void store_rounded(uint16_t* p, const Sums& sums, int begin, int end) {
  Floats first{}, second{};
  to_order(sums, first, second);
  uint16_t all[kChannels];
  store_bf16(all, first);
  store_bf16(all + kLanes, second);
  for (int i = begin; i < end; ++i) p[i] = all[i];
}
#endif

// Two rows of the windows, of which one may not be there (null); and their part of the filter.
struct RowPair {
  const uint16_t *first, *second;
  const float* filter;
};
struct RowPairs {
  static constexpr int64_t kMost = 32;
  RowPair pair[kMost];
  int64_t count = 0;
};

RowPairs pairs_of(const DepthwiseRow& row) {
  const auto* const x = reinterpret_cast<const uint16_t*>(row.x);
  RowPairs pairs;
  for (int64_t i = 0; i < row.taps[0]; ++i) {
    const auto line = [&](int64_t j) {
      return x + i * row.x_taps[0] + j * row.x_taps[1] - (j >= row.wrap ? row.x_wrap : 0);
    };
    // Rows are paired as in a whole window.
    const int64_t odd = row.first_tap % 2;
    for (int64_t j = -odd; j < row.taps[1]; j += 2) {
      RowPair& pair = pairs.pair[pairs.count++];
      pair.first = j >= 0 ? line(j) : nullptr;
      pair.second = j + 1 < row.taps[1] ? line(j + 1) : nullptr;
      pair.filter = row.filter + i * row.filter_taps[0] + (j + odd) / 2 * row.filter_taps[1];
    }
  }
  return pairs;
}

// 32 channels that are computed together, from `first` on, of which the last `count` are stored:
// the last group of a pixel reaches back where its channels are no multiple. A pixel of fewer
// channels has `count`.
struct Group {
  int64_t first;
  int count;
  int skipped;

  int loaded() const { return skipped + count; }
};
TENON_INLINE Group group_of(const DepthwiseRow& row, int64_t channel) {
  const int64_t left = row.channels - channel;
  if (left >= kChannels) return {channel, kChannels, 0};
  const int count = static_cast<int>(left);
  const int skipped = row.first_channel + row.channels < kChannels ? 0 : kChannels - count;
  return {channel - skipped, count, skipped};
}

TENON_INLINE Sums bias_of(const DepthwiseRow& row, const Group& group) {
  if (row.bias == nullptr) return {Floats{}, Floats{}};
  const float* bias = row.bias + group.first;
  const int n = group.loaded();
  if (n == kChannels) return from_order(load(bias), load(bias + kLanes));
  return from_order(load_part(bias, n < kLanes ? n : kLanes),
                    load_part(bias + kLanes, n > kLanes ? n - kLanes : 0));
}

// What becomes of `pixels` sums that are not just rounded.
[[gnu::noinline]] void finish_sums(const DepthwiseRow& row, const Sums* sums, int64_t pixel,
                                   int64_t pixels, const Group& group) {
  const bool is_own = is_of_sums(row.post.kind);
  alignas(64) float order[kChannels];
  for (int64_t p = 0; p < pixels; ++p) {
    Sums x = sums[p];
    if (is_own) x = {activated_sums(row.post.kind, x.low), activated_sums(row.post.kind, x.high)};
    const int64_t at = (pixel + p) * row.y_pixel + group.first;
    auto* const rounded = reinterpret_cast<uint16_t*>(row.y) + at;
    if (is_own && row.narrow_y) {
      store_rounded(rounded, x, group.skipped, group.loaded());
      continue;
    }
    Floats first{}, second{};
    to_order(x, first, second);
    if ((is_own || row.post.kind == ActivationKind::kNone) && group.count == kChannels) {
      store(row.y + at, first);
      store(row.y + at + kLanes, second);
      continue;
    }
    store(order, first);
    store(order + kLanes, second);
    if (!is_own) activate(row.post, order, order, kChannels);
    for (int i = group.skipped; i < group.loaded(); i += kLanes) {
      const int n = group.loaded() - i < kLanes ? group.loaded() - i : kLanes;
      const Floats part = load_part(order + i, n);
      if (row.narrow_y)
        store_bf16_part(rounded + i, part, n);
      else if (n == kLanes)
        store(row.y + at + i, part);
      else
        store_part(row.y + at + i, part, n);
    }
  }
}

// `pixels` of the sums exist.
template <int kPixels>
TENON_INLINE void store_sums(const DepthwiseRow& row, Sums (&acc)[kPixels], int64_t pixel,
                             int64_t pixels, const Group& group) {
  const Floats low = splat(row.low), high = splat(row.high);
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p)
    acc[p] = {clip(acc[p].low, low, high), clip(acc[p].high, low, high)};
  if (!row.narrow_y || row.post.kind != ActivationKind::kNone) {
    Sums sums[kPixels];
#pragma GCC unroll 8
    for (int p = 0; p < kPixels; ++p) sums[p] = acc[p];
    finish_sums(row, sums, pixel, pixels, group);
    return;
  }
  auto* y = reinterpret_cast<uint16_t*>(row.y) + pixel * row.y_pixel + group.first;
  const int64_t step = row.y_pixel;
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p, y += step) {
    if (p >= pixels) break;
    store_rounded(y, acc[p], group.skipped, group.loaded());
  }
}

// 32 channels of the columns that a row of windows reads.
struct Columns {
  const uint16_t* x;
  int64_t step;
};
alignas(64) constexpr uint16_t kZeros[kChannels] = {};

TENON_INLINE Columns columns_at(const uint16_t* row, int64_t at, int64_t step) {
  return row == nullptr ? Columns{kZeros, 0} : Columns{row + at, step};
}
// `pixels` <= kPixels of them from `pixel` on; kTaps taps wide, neighbours kStride apart. Every
// input is loaded once for all the pixels that need it. kEdge: some columns may be outside.
template <int kPixels, int kTaps, int kStride, bool kEdge>
[[gnu::noinline]] void columns_of(const DepthwiseRow& row, const RowPairs& pairs, int64_t pixel,
                                  int64_t pixels) {
  constexpr int kInputs = (kPixels - 1) * kStride + kTaps;
  const int64_t x_step = row.x_taps[2], filter_step = row.filter_taps[2];
  const int64_t first = row.start + pixel * kStride, begin = -first, end = row.in - first;
  for (int64_t channel = 0; channel < row.channels; channel += kChannels) {
    const Group group = group_of(row, channel);
    Sums acc[kPixels];
    const Sums offset = bias_of(row, group);
#pragma GCC unroll 8
    for (int p = 0; p < kPixels; ++p) acc[p] = offset;
    for (int64_t i = 0; i < pairs.count; ++i) {
      const RowPair& pair = pairs.pair[i];
      const int64_t at = pixel * row.x_pixel + group.first;
      Columns a = columns_at(pair.first, at, x_step), b = columns_at(pair.second, at, x_step);
      const float* filter = pair.filter + channel;
      Sums w[kTaps];
#pragma GCC unroll 8
      for (int k = 0; k < kTaps; ++k)
        w[k] = {load(filter + k * filter_step), load(filter + k * filter_step + kLanes)};
#pragma GCC unroll 24
      for (int c = 0; c < kInputs; ++c, a.x += a.step, b.x += b.step) {
        if (kEdge && (c < begin || c >= end)) continue;
        const Halves x = load_halves(a.x), y = load_halves(b.x);
        const Floats low = unpack_low(x, y), high = unpack_high(x, y);
#pragma GCC unroll 8
        for (int k = 0; k < kTaps; ++k) {
          const int p = (c - k) / kStride;
          if (c < k || (c - k) % kStride != 0 || p >= kPixels) continue;
          add_product(acc[p].low, low, w[k].low);
          add_product(acc[p].high, high, w[k].high);
        }
      }
    }
    store_sums<kPixels>(row, acc, pixel, pixels, group);
  }
}

template <int kPixels, int kTaps, int kStride>
void depthwise_columns(const DepthwiseRow& row, const RowPairs& pairs) {
  for (int64_t pixel = 0; pixel < row.pixels; pixel += kPixels) {
    const int64_t first = row.start + pixel * kStride, left = row.pixels - pixel;
    if (left >= kPixels && first >= 0 && first + (kPixels - 1) * kStride + kTaps <= row.in)
      columns_of<kPixels, kTaps, kStride, false>(row, pairs, pixel, kPixels);
    else
      columns_of<kPixels, kTaps, kStride, true>(row, pairs, pixel, left < kPixels ? left : kPixels);
  }
}

// Any window.
void depthwise_any(const DepthwiseRow& row, const RowPairs& pairs) {
  constexpr int kPixels = 4;
  for (int64_t pixel = 0; pixel < row.pixels; pixel += kPixels) {
    const int64_t pixels = row.pixels - pixel < kPixels ? row.pixels - pixel : kPixels;
    for (int64_t channel = 0; channel < row.channels; channel += kChannels) {
      const Group group = group_of(row, channel);
      const int n = group.loaded();
      const Sums offset = bias_of(row, group);
      Sums acc[kPixels] = {offset, offset, offset, offset};
      for (int64_t i = 0; i < pairs.count; ++i) {
        const RowPair& pair = pairs.pair[i];
        const Columns a = columns_at(pair.first, group.first, 1);
        const Columns b = columns_at(pair.second, group.first, 1);
        const float* filter = pair.filter + channel;
        for (int64_t k = 0; k < row.taps[2]; ++k, filter += row.filter_taps[2]) {
          const Sums w{load(filter), load(filter + kLanes)};
#pragma GCC unroll 4
          for (int p = 0; p < kPixels; ++p) {
            const int64_t column = row.start + (pixel + p) * row.stride + k * row.dilation;
            if (p >= pixels || column < 0 || column >= row.in) continue;
            const int64_t at = (pixel + p) * row.x_pixel + k * row.x_taps[2];
            const Halves x = load_halves(a.x + at * a.step, n);
            const Halves y = load_halves(b.x + at * b.step, n);
            add_product(acc[p].low, unpack_low(x, y), w.low);
            add_product(acc[p].high, unpack_high(x, y), w.high);
          }
        }
      }
      store_sums<kPixels>(row, acc, pixel, pixels, group);
    }
  }
}

void depthwise_row(const DepthwiseRow& row) {
  if (has_gaps(row)) return for_remainders<true>(row, depthwise_row);
  const RowPairs pairs = pairs_of(row);
  const bool dense = row.dilation == 1 && row.first_channel + row.channels >= kChannels;
  if (dense && row.taps[2] == 3 && row.stride == 1) return depthwise_columns<8, 3, 1>(row, pairs);
  if (dense && row.taps[2] == 3 && row.stride == 2) return depthwise_columns<8, 3, 2>(row, pairs);
  if (dense && row.taps[2] == 5 && row.stride == 1) return depthwise_columns<8, 5, 1>(row, pairs);
  if (dense && row.taps[2] == 5 && row.stride == 2) return depthwise_columns<8, 5, 2>(row, pairs);
  if (dense && row.taps[2] == 7 && row.stride == 1) return depthwise_columns<6, 7, 1>(row, pairs);
  depthwise_any(row, pairs);
}

}  // namespace

void fill_depthwise_pairs(KernelTable& table) {
  table.depthwise_row = depthwise_row;
}

}  // namespace tenon::cpu::TENON_ISA
