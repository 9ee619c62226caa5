// Convolutions in groups of channels: a vector of output channels for several pixels of a row.
// Three taps' weights stay in registers while the columns of inputs pass.
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/simd.h"

namespace tenon::cpu::TENON_ISA {
namespace {

constexpr int kStep = GroupedRow::kColumns;
constexpr int kMostPixels = 8;
// Inputs and outputs of groups of which two are computed side by side.
constexpr int kEight = 8;
static_assert(kStep % kLanes == 0);

// Vectors of kLanes, or of 8 where those are wider.
template <int kWidth>
struct VectorOf;
template <>
struct VectorOf<kLanes> {
  using Type = Floats;
};
#if TENON_LANES == 16
template <>
struct VectorOf<8> {
  using Type = float __attribute__((vector_size(32)));
};
#endif
template <int kWidth>
using Vector = typename VectorOf<kWidth>::Type;

template <int kWidth>
TENON_INLINE Vector<kWidth> load_vector(const float* p) {
  Vector<kWidth> x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}

template <int kWidth>
TENON_INLINE Vector<kWidth> broadcast(const float* p) {
  return *p - Vector<kWidth>{};
}

TENON_INLINE Floats permuted(Floats x, Ints lanes) {
#if defined(__AVX512F__)
  return (Floats)_mm512_permutexvar_ps((__m512i)lanes, (__m512)x);
#elif TENON_LANES == 8
  return (Floats)_mm256_permutevar8x32_ps((__m256)x, (__m256i)lanes);
#else
  Floats y{};
  for (int i = 0; i < kLanes; ++i) y[i] = x[lanes[i]];
  return y;
#endif
}

// What a vector is multiplied by at a column: in groups narrower than it a permutation of the
// inputs of them all, else one input. Broadcasting that to 16 lanes takes the place of arithmetic
// on some processors unless the multiplication does it.
enum class Source { kGroups, kOne };

template <int kWidth>
TENON_INLINE void multiply_from(Vector<kWidth>& sum, Vector<kWidth> a, const float* b) {
#if defined(__AVX512F__)
  if constexpr (kWidth == 16)
    __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(a), "m"(*b));
  else
    __asm__("vfmadd231ps %2%{1to8%}, %1, %0" : "+v"(sum) : "v"(a), "m"(*b));
#else
  accumulate(sum, a, broadcast<kWidth>(b));
#endif
}

// The inputs of the groups of a vector.
struct Inputs {
  Ints first{};  // of the lanes' groups
  int count = 0;

  [[gnu::always_inline]] Inputs(const GroupedRow& row, int channel) {
    const int32_t* const of_lanes = row.first_inputs + channel;
    const int left = row.channels - channel, lanes = left < kLanes ? left : kLanes;
    __builtin_memcpy(&first, of_lanes, sizeof first);
    first -= splat_int(of_lanes[0]);
    count = static_cast<int>(of_lanes[lanes - 1] - of_lanes[0] + row.group_in);
  }
};

// Sums of triples for kPixels pixels from `pixel` on, of output channels from `channel` on; of the
// second of kVectors, which is the next group's, behind those of the first.
template <Source kSource, int kWidth, int kVectors, int kStride, int kPixels>
[[gnu::noinline]] void sum_triples(const GroupedRow& row, int channel, int64_t pixel, float* sums) {
  constexpr int kTaps = 3, kInputs = (kPixels - 1) * kStride + kTaps;
  constexpr bool kMemory = kSource == Source::kOne && kWidth == 16;
  using Values = Vector<kWidth>;
  const int64_t group_in = row.group_in, x_step = row.x_column, tap_step = group_in * kStep;
  const int64_t first = row.start + pixel * kStride;
  const float* const x = row.x + pixel * kStride * x_step + row.first_inputs[channel];
  const float* const filter = row.filter + channel;
  const Inputs inputs(row, channel);
  Values acc[kVectors][kPixels];
#pragma GCC unroll 16
  for (int i = 0; i < kVectors * kPixels; ++i) acc[i / kPixels][i % kPixels] = Values{};
  for (const GroupedTaps* t = row.triples; t < row.triples + row.triple_count; ++t) {
    const int64_t begin = -(first + t->column), end = row.in + begin;
    const float* weights = filter + t->filter;
    const float* from = x + t->x;
    Ints lanes = inputs.first;
    for (int64_t i = 0; i < group_in; ++i, weights += kStep) {
      Values w[kVectors][kTaps];
#pragma GCC unroll 8
      for (int j = 0; j < kVectors * kTaps; ++j)
        w[j / kTaps][j % kTaps] =
            load_vector<kWidth>(weights + j / kTaps * kWidth + j % kTaps * tap_step);
      const float* column = from;
#pragma GCC unroll 24
      for (int c = 0; c < kInputs; ++c, column += x_step) {
        if (c < kTaps - 1 && c < begin) continue;
        if (c > kInputs - kTaps && c >= end) continue;
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          Values input{};
          if constexpr (kSource == Source::kGroups)
            input = permuted(load_part(column, inputs.count), lanes);
          else if constexpr (!kMemory)
            input = broadcast<kWidth>(column + v * kEight);
#pragma GCC unroll 4
          for (int k = 0; k < kTaps; ++k) {
            const int p = (c - k) / kStride;
            if (c < k || (c - k) % kStride != 0 || p >= kPixels) continue;
            if constexpr (kMemory)
              multiply_from<kWidth>(acc[v][p], w[v][k], column);
            else
              accumulate(acc[v][p], w[v][k], input);
          }
        }
      }
      if constexpr (kSource == Source::kGroups)
        lanes += splat_int(1);
      else
        ++from;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kVectors * kPixels; ++i)
    __builtin_memcpy(sums + i * kWidth, &acc[i / kPixels][i % kPixels], sizeof(Values));
}

// Adds the products of single taps to the sums of `pixels` pixels, at most kMostPixels.
template <Source kSource, int kWidth>
[[gnu::noinline]] void add_singles(const GroupedRow& row, int channel, int64_t pixel,
                                   int64_t pixels, float* sums) {
  constexpr int kPixels = kMostPixels;
  const Inputs inputs(row, channel);
  const int64_t group_in = row.group_in;
  const int64_t step = row.stride * row.x_column;
  const int64_t first = row.start + pixel * row.stride;
  const float* const x = row.x + pixel * step + row.first_inputs[channel];
  Vector<kWidth> acc[kPixels];
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p)
    acc[p] = p < pixels ? load_vector<kWidth>(sums + p * kWidth) : Vector<kWidth>{};
  for (const GroupedTaps* t = row.singles; t < row.singles + row.single_count; ++t) {
    const float* weights = row.filter + channel + t->filter;
    const float* from = x + t->x;
    Ints lanes = inputs.first;
    // Pixels are there from `begin` to `end`.
    const int64_t at = first + t->column, stride = row.stride;
    int64_t begin = 0, end = pixels;
    while (begin < end && at + begin * stride < 0) ++begin;
    while (begin < end && at + (end - 1) * stride >= row.in) --end;
    const auto multiply_taps = [&]<bool kAll>() __attribute__((always_inline)) {
      for (int64_t i = 0; i < group_in; ++i, weights += kStep) {
        const Vector<kWidth> w = load_vector<kWidth>(weights);
        const float* column = from;
#pragma GCC unroll 8
        for (int p = 0; p < kPixels; ++p, column += step) {
          if (!kAll && (p < begin || p >= end)) continue;
          if constexpr (kSource == Source::kGroups)
            accumulate(acc[p], w, permuted(load_part(column, inputs.count), lanes));
          else
            multiply_from<kWidth>(acc[p], w, column);
        }
        if constexpr (kSource == Source::kGroups)
          lanes += splat_int(1);
        else
          ++from;
      }
    };
    if (end - begin == kPixels)
      multiply_taps.template operator()<true>();
    else
      multiply_taps.template operator()<false>();
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p)
    if (p < pixels) __builtin_memcpy(sums + p * kWidth, &acc[p], sizeof acc[p]);
}

// Stores `pixels` sums of `width` lanes that begin at `pixel`, of output channels from `channel` on
// of the row's.
[[gnu::noinline]] void finish_any(const GroupedRow& row, int channel, int width, int64_t pixel,
                                  int64_t pixels, float* sums) {
  const int left = row.channels - channel, lanes = left < width ? left : width;
  const Floats low = splat(row.low), high = splat(row.high);
  const Floats bias = row.bias == nullptr ? Floats{} : load_part(row.bias + channel, lanes);
  const int64_t add_at = pixel * row.add_pixel + channel, y_at = pixel * row.y_pixel + channel;
  const float* add = row.add == nullptr ? nullptr : row.add + add_at;
  for (int64_t p = 0; p < pixels; ++p) {
    Floats x = load_part(sums + p * width, width) + bias;
    if (add != nullptr) {
      x += load_part(add, lanes);
      add += row.add_pixel;
    }
    store_lanes(sums + p * width, clip(x, low, high), width);
  }
  if (row.post.kind != ActivationKind::kNone)
    activate(row.post, sums, sums, static_cast<size_t>(pixels * width));

  float* y = row.y + y_at;
  for (int64_t p = 0; p < pixels; ++p, y += row.y_pixel)
    store_lanes(y, load_part(sums + p * width, lanes), lanes);
}

// Whole vectors, to which nothing is done but to clip them.
template <int kWidth>
TENON_INLINE void finish_whole(const GroupedRow& row, int channel, int64_t pixel, int64_t pixels,
                               const float* sums) {
  using Values = Vector<kWidth>;
  const auto splatted = [](float x) { return x - Values{}; };
  const Values low = splatted(row.low), high = splatted(row.high);
  const Values bias = row.bias == nullptr ? Values{} : load_vector<kWidth>(row.bias + channel);
  const int64_t step = row.y_pixel;
  float* y = row.y + pixel * step + channel;
  for (int64_t p = 0; p < pixels; ++p, y += step) {
    Values x = load_vector<kWidth>(sums + p * kWidth) + bias;
    x = low > x ? low : x;  // NaN stays
    x = high < x ? high : x;
    __builtin_memcpy(y, &x, sizeof x);
  }
}

void finish(const GroupedRow& row, int width, int channel, int64_t pixel, int64_t pixels,
            float* sums) {
  const bool is_plain = row.add == nullptr && row.post.kind == ActivationKind::kNone;
  if (!is_plain || channel + width > row.channels)
    finish_any(row, channel, width, pixel, pixels, sums);
  else if (width == kLanes)
    finish_whole<kLanes>(row, channel, pixel, pixels, sums);
  else
    finish_whole<8>(row, channel, pixel, pixels, sums);
}

// What computes vectors of one kind, all of a row's.
struct Functions {
  using Sum = void (*)(const GroupedRow&, int, int64_t, float*);
  int width = 0;
  int vectors = 1;     // side by side
  Sum sum[2][2] = {};  // triples of 7 or 8 pixels, by strides of 1 or 2
  void (*add)(const GroupedRow&, int, int64_t, int64_t, float*) = nullptr;
};

template <Source kSource, int kWidth, int kVectors>
constexpr Functions kFunctions = {
    kWidth,
    kVectors,
    {{sum_triples<kSource, kWidth, kVectors, 1, 7>, sum_triples<kSource, kWidth, kVectors, 1, 8>},
     {sum_triples<kSource, kWidth, kVectors, 2, 7>, sum_triples<kSource, kWidth, kVectors, 2, 8>}},
    add_singles<kSource, kWidth>};

void multiply_row(const GroupedRow& row, const Functions& functions) {
  alignas(64) float sums[2 * kMostPixels * kLanes];
  const int width = functions.width;
  for (int channel = 0; channel < row.channels; channel += functions.vectors * width)
    for (int64_t pixel = 0; pixel < row.pixels;) {
      // Fewer than 7 pixels that are left are computed with some before them.
      const int64_t left = row.pixels - pixel;
      const int together = left < 8 || (left > 8 && left <= 14) ? 7 : 8;
      const int64_t count = together < left ? together : left;
      const int64_t again = row.triple_count > 0 ? together - count : 0;
      if (row.triple_count > 0)
        functions.sum[row.stride == 2][together - 7](row, channel, pixel - again, sums);
      else
        __builtin_memset(sums, 0, sizeof sums);
      for (int v = 0; v < functions.vectors; ++v) {
        float* const own = sums + (v * together + again) * width;
        const int at = channel + v * width;
        if (row.single_count > 0) functions.add(row, at, pixel, count, own);
        finish(row, width, at, pixel, count, own);
      }
      pixel += count;
    }
}

// Groups of 8 are 8 lanes to each: permuting 16 takes more of the arithmetic's time than most
// processors save by vectors of 16.
const Functions& functions_for(const GroupedRow& row) {
  if (row.group_out < 8) return kFunctions<Source::kGroups, kLanes, 1>;
#if TENON_LANES == 16
  if (row.group_out > 8 && row.channels > 8) return kFunctions<Source::kOne, 16, 1>;
  if (row.channels > 8 && row.group_in == kEight) return kFunctions<Source::kOne, 8, 2>;
#endif
  return kFunctions<Source::kOne, 8, 1>;
}

void grouped_row(const GroupedRow& row) {
  multiply_row(row, functions_for(row));
}

}  // namespace

void fill_grouped(KernelTable& table) {
  table.grouped_row = grouped_row;
}

}  // namespace tenon::cpu::TENON_ISA
