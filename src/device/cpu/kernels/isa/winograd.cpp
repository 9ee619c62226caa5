// The transforms of Winograd convolutions F(4x4, 3x3), F(3x3, 4x4), F(4, 3) and F(3, 4) at the
// points 0, ±3/4, ±3/2 and infinity: their coefficients are exact, and the error is about a third
// of that of 0, ±1, ±2. Of F(6x6, 3x3) at 0, ±1/2, ±1, ±2 and infinity, the best of the points in
// eighths but for one that is no better by more than a fiftieth. With TENON_PAIRS inputs and what
// is multiplied are bf16, in pairs that stand for floats (kernels/pairs.h).
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/simd.h"
#include "device/cpu/kernels/pack.h"

namespace tenon::cpu::TENON_ISA {
namespace {

// Inputs of a tile; of a large one 8.
constexpr int kSide = 6;
constexpr float kA = 0.75f, kB = 1.5f;
constexpr float kA2 = kA * kA, kB2 = kB * kB;

TENON_INLINE void transform_input(const Floats (&d)[kSide], Floats (&r)[kSide]) {
  const Floats even_a = d[4] - kB2 * d[2], odd_a = kA * d[3] - kA * kB2 * d[1];
  const Floats even_b = d[4] - kA2 * d[2], odd_b = kB * d[3] - kB * kA2 * d[1];
  r[0] = kA2 * kB2 * d[0] - (kA2 + kB2) * d[2] + d[4];
  r[1] = even_a + odd_a;
  r[2] = even_a - odd_a;
  r[3] = even_b + odd_b;
  r[4] = even_b - odd_b;
  r[5] = kA2 * kB2 * d[1] - (kA2 + kB2) * d[3] + d[5];
}

TENON_INLINE void transform_input(const Floats (&d)[8], Floats (&r)[8]) {
  const Floats even_a = d[6] - 5.0f * d[4] + 4.0f * d[2];
  const Floats odd_a = 0.5f * d[5] - 2.5f * d[3] + 2.0f * d[1];
  const Floats even_b = d[6] - 4.25f * d[4] + d[2], odd_b = d[5] - 4.25f * d[3] + d[1];
  const Floats even_c = d[6] - 1.25f * d[4] + 0.25f * d[2];
  const Floats odd_c = 2.0f * d[5] - 2.5f * d[3] + 0.5f * d[1];
  r[0] = d[6] - d[0] + 5.25f * (d[2] - d[4]);
  r[1] = even_a + odd_a;
  r[2] = even_a - odd_a;
  r[3] = even_b + odd_b;
  r[4] = even_b - odd_b;
  r[5] = even_c + odd_c;
  r[6] = even_c - odd_c;
  r[7] = d[7] - d[1] + 5.25f * (d[3] - d[5]);
}

#if defined(TENON_PAIRS)
// Half a vector of pairs, whole vectors of channels only.
constexpr int kStep = kLanes / 2;

TENON_INLINE Floats load_input(const float* p) {
  return load_bf16(reinterpret_cast<const uint16_t*>(p));
}
TENON_INLINE void store_frequency(float* p, Floats x) {
#if defined(__AVX512F__)
  using Halves = uint16_t __attribute__((vector_size(2 * TENON_LANES)));
  Halves rounded;
  __asm__("vcvtneps2bf16 %1, %0" : "=v"(rounded) : "v"(x));
  *reinterpret_cast<UnalignedHalves*>(p) = rounded;
#else
  store_bf16(reinterpret_cast<uint16_t*>(p), x);
#endif
}
TENON_INLINE Floats load_inputs(const float* p, int) {
  return load_input(p);
}
TENON_INLINE void store_frequency_lanes(float* p, Floats x, int) {
  store_frequency(p, x);
}
#else
constexpr int kStep = kLanes;

TENON_INLINE Floats load_input(const float* p) {
  return load(p);
}
TENON_INLINE void store_frequency(float* p, Floats x) {
  store(p, x);
}
TENON_INLINE Floats load_inputs(const float* p, int lanes) {
  return load_lanes(p, lanes);
}
TENON_INLINE void store_frequency_lanes(float* p, Floats x, int lanes) {
  store_lanes(p, x, lanes);
}
#endif

// The values of a line, `apart` floats from one to the next.
template <int kN>
TENON_INLINE void store_frequencies(const Floats (&r)[kN], float* v, int64_t apart) {
#pragma GCC unroll 8
  for (int j = 0; j < kN; ++j, v += apart) store_frequency(v, r[j]);
}

// All inputs are there and all lanes are used.
template <int kN>
TENON_INLINE void input_lanes(const WinogradInput& w, int64_t c) {
  Floats t[kN][kN];
#pragma GCC unroll 6
  for (int j = 0; j < kN; ++j) {
    Floats d[kN], r[kN];
#pragma GCC unroll 8
    for (int i = 0; i < kN; ++i) d[i] = load_input(w.x + i * w.x_row + j * w.x_pixel + c);
    transform_input(d, r);
#pragma GCC unroll 8
    for (int i = 0; i < kN; ++i) t[i][j] = r[i];
  }
  float* v = w.v + c;
#pragma GCC unroll 6
  for (int i = 0; i < kN; ++i) {
    Floats r[kN];
    transform_input(t[i], r);
    store_frequencies(r, v + i * kN * w.v_frequency, w.v_frequency);
  }
}

TENON_INLINE void input_line(const WinogradInput& w, int64_t c) {
  Floats d[kSide], r[kSide];
#pragma GCC unroll 6
  for (int j = 0; j < kSide; ++j) d[j] = load_input(w.x + j * w.x_pixel + c);
  transform_input(d, r);
  store_frequencies(r, w.v + c, w.v_frequency);
}

// The same where inputs may be missing or only some lanes are used, by lines of the tile: all of it
// unrolled would be six times the code.
template <int kN>
[[gnu::noinline]] void input_edge(const WinogradInput& w, int64_t c, int lanes) {
  const int lines = w.is_line ? 1 : kN;
  Floats t[kN][kN];
#pragma GCC unroll 1
  for (int i = 0; i < lines; ++i) {
    const bool has_line = w.is_line || (i >= w.row_begin && i < w.row_end);
    const float* x = w.x + i * w.x_row + c;
#pragma GCC unroll 8
    for (int j = 0; j < kN; ++j, x += w.x_pixel) {
      const bool inside = has_line && j >= w.column_begin && j < w.column_end;
      t[i][j] = inside ? load_inputs(x, lanes) : Floats{};
    }
  }
#pragma GCC unroll 1
  for (int j = 0; j < kN && !w.is_line; ++j) {
    Floats d[kN], r[kN];
#pragma GCC unroll 8
    for (int i = 0; i < kN; ++i) d[i] = t[i][j];
    transform_input(d, r);
#pragma GCC unroll 8
    for (int i = 0; i < kN; ++i) t[i][j] = r[i];
  }
  float* v = w.v + c;
#pragma GCC unroll 1
  for (int i = 0; i < lines; ++i) {
    Floats r[kN];
    transform_input(t[i], r);
#pragma GCC unroll 8
    for (int j = 0; j < kN; ++j, v += w.v_frequency) store_frequency_lanes(v, r[j], lanes);
  }
}

template <int kN>
TENON_INLINE void transform_tile(const WinogradInput& w) {
  const bool inside = w.column_begin == 0 && w.column_end == kN &&
                      (w.is_line || (w.row_begin == 0 && w.row_end == kN));
  int64_t c = 0;
  if (inside && w.is_line && kN == kSide)
    for (; c + kStep <= w.channels; c += kStep) input_line(w, c);
  else if (inside)
    for (; c + kStep <= w.channels; c += kStep) input_lanes<kN>(w, c);
  for (; c < w.channels; c += kStep)
    input_edge<kN>(w, c, static_cast<int>(w.channels - c < kLanes ? w.channels - c : kLanes));
}

void winograd_input(const WinogradInput& w) {
#if !defined(TENON_PAIRS)
  if (w.side == 8) {
    transform_tile<8>(w);
    return;
  }
#endif
  transform_tile<kSide>(w);
}

#if defined(TENON_PAIRS)
}  // namespace

void fill_winograd_pairs(KernelTable& table) {
  table.winograd_input = winograd_input;
}
#else
constexpr int kOut = 4, kLargeOut = WinogradOutput::kMostOut;

// Of three outputs the last is not used; infinity's part is one of the highest.
TENON_INLINE void transform_output(const Floats (&m)[kSide], int outputs, Floats (&y)[kOut]) {
  const Floats sum_a = m[1] + m[2], difference_a = m[1] - m[2];
  const Floats sum_b = m[3] + m[4], difference_b = m[3] - m[4];
  y[0] = m[0] + sum_a + sum_b;
  y[1] = kA * difference_a + kB * difference_b;
  y[2] = kA2 * sum_a + kB2 * sum_b;
  y[3] = kA * kA2 * difference_a + kB * kB2 * difference_b + m[5];
  if (outputs == 3) y[2] += m[5];
}

TENON_INLINE void transform_output(const Floats (&m)[8], int, Floats (&y)[kLargeOut]) {
  const Floats sum_a = m[1] + m[2], difference_a = m[1] - m[2];
  const Floats sum_b = m[3] + m[4], difference_b = m[3] - m[4];
  const Floats sum_c = m[5] + m[6], difference_c = m[5] - m[6];
  y[0] = m[0] + sum_a + sum_b + sum_c;
  y[1] = 0.5f * difference_a + difference_b + 2.0f * difference_c;
  y[2] = 0.25f * sum_a + sum_b + 4.0f * sum_c;
  y[3] = 0.125f * difference_a + difference_b + 8.0f * difference_c;
  y[4] = 0.0625f * sum_a + sum_b + 16.0f * sum_c;
  y[5] = 0.03125f * difference_a + difference_b + 32.0f * difference_c + m[7];
}

// Element `index` and those behind it of floats or, narrow, of bf16.
template <bool kWhole>
TENON_INLINE Floats load_any(const float* base, int64_t index, bool narrow, int lanes) {
  const auto* const halves = reinterpret_cast<const uint16_t*>(base) + index;
  if (narrow) return kWhole ? load_bf16(halves) : load_bf16_part(halves, lanes);
  return kWhole ? load(base + index) : load_part(base + index, lanes);
}
template <bool kWhole>
TENON_INLINE void store_any(float* base, int64_t index, bool narrow, Floats x, int lanes) {
  auto* const halves = reinterpret_cast<uint16_t*>(base) + index;
  if (narrow && kWhole)
    store_bf16(halves, x);
  else if (narrow)
    store_bf16_part(halves, x, lanes);
  else if (kWhole)
    store(base + index, x);
  else
    store_part(base + index, x, lanes);
}

// Finishes and stores a row of outputs, in y.
template <bool kWhole, int kCount>
TENON_INLINE void store_row(const WinogradOutput& w, int row, const Floats (&y)[kCount], int64_t c,
                            Floats bias, int lanes) {
  const Floats low = splat(w.low), high = splat(w.high);
#pragma GCC unroll 6
  for (int j = 0; j < kCount; ++j) {
    if (j >= w.columns) break;
    Floats x = y[j] + bias;
    if (w.add != nullptr)
      x += load_any<kWhole>(w.add, row * w.add_row + j * w.add_pixel + c, w.narrow_add, lanes);
    store_any<kWhole>(w.y, row * w.y_row + j * w.y_pixel + c, w.narrow_y, clip(x, low, high),
                      lanes);
  }
}

template <bool kWhole>
TENON_INLINE void output_line(const WinogradOutput& w, int64_t c, Floats bias, int lanes) {
  Floats m[kSide], y[kOut];
#pragma GCC unroll 6
  for (int j = 0; j < kSide; ++j) m[j] = load(w.m + j * w.m_frequency + c);
  transform_output(m, w.outputs, y);
  store_row<kWhole>(w, 0, y, c, bias, lanes);
}

template <bool kWhole, int kN, int kCount>
TENON_INLINE void output_lanes(const WinogradOutput& w, int64_t c, int lanes) {
  Floats bias{};
  if (w.bias != nullptr) bias = kWhole ? load(w.bias + c) : load_part(w.bias + c, lanes);
  if (w.is_line) {
    output_line<kWhole>(w, c, bias, lanes);
    return;
  }
  Floats t[kCount][kN];
#pragma GCC unroll 8
  for (int j = 0; j < kN; ++j) {
    Floats m[kN], y[kCount];
#pragma GCC unroll 8
    for (int i = 0; i < kN; ++i) m[i] = load(w.m + (i * kN + j) * w.m_frequency + c);
    transform_output(m, w.outputs, y);
#pragma GCC unroll 6
    for (int i = 0; i < kCount; ++i) t[i][j] = y[i];
  }
  for (int i = 0; i < w.rows; ++i) {
    Floats y[kCount];
    transform_output(t[i], w.outputs, y);
    store_row<kWhole>(w, i, y, c, bias, lanes);
  }
}

template <int kN, int kCount>
TENON_INLINE void finish_tile(const WinogradOutput& w) {
  int64_t c = 0;
  for (; c + kLanes <= w.channels; c += kLanes) output_lanes<true, kN, kCount>(w, c, kLanes);
  if (c < w.channels) output_lanes<false, kN, kCount>(w, c, static_cast<int>(w.channels - c));
}

void winograd_output(const WinogradOutput& w) {
  if (w.side == 8)
    finish_tile<8, kLargeOut>(w);
  else
    finish_tile<kSide, kOut>(w);
}

// G of the same points.
TENON_INLINE void transform_taps(const Floats (&g)[3], Floats (&r)[kSide]) {
  constexpr float kNormA = 1 / (2 * kA2 * (kA2 - kB2)), kNormB = 1 / (2 * kB2 * (kB2 - kA2));
  const Floats even_a = kNormA * g[0] + kNormA * kA2 * g[2], odd_a = kNormA * kA * g[1];
  const Floats even_b = kNormB * g[0] + kNormB * kB2 * g[2], odd_b = kNormB * kB * g[1];
  r[0] = 1 / (kA2 * kB2) * g[0];
  r[1] = even_a + odd_a;
  r[2] = even_a - odd_a;
  r[3] = even_b + odd_b;
  r[4] = even_b - odd_b;
  r[5] = g[2];
}

// What comes from memory is fetched by so many channels ahead.
constexpr int64_t kFilterAhead = 8;
void winograd_filter(const WinogradFilter& w) {
  for (int64_t c = 0; c < w.channels; ++c) {
    const float* const filter = w.filter + c * kPanelColumns;
    for (int64_t o = 0; o < kPanelColumns; o += kLanes) {
      Floats columns[kSide][3];
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) {
        Floats taps[3], r[kSide];
#pragma GCC unroll 3
        for (int i = 0; i < 3; ++i) {
          const float* const tap = filter + (3 * i + j) * w.tap + o;
          if (o == 0) __builtin_prefetch(tap + kFilterAhead * kPanelColumns, 0, 3);
          taps[i] = load(tap);
        }
        transform_taps(taps, r);
#pragma GCC unroll 6
        for (int i = 0; i < kSide; ++i) columns[i][j] = r[i];
      }
      float* to = w.values + c * kPanelColumns + o;
#pragma GCC unroll 6
      for (int i = 0; i < kSide; ++i) {
        Floats r[kSide];
        transform_taps(columns[i], r);
#pragma GCC unroll 6
        for (int j = 0; j < kSide; ++j, to += w.frequency) store(to, r[j]);
      }
    }
  }
}

}  // namespace

void fill_winograd(KernelTable& table) {
  table.winograd_filter = winograd_filter;
  table.winograd_input = winograd_input;
  table.winograd_output = winograd_output;
}
#endif

}  // namespace tenon::cpu::TENON_ISA
