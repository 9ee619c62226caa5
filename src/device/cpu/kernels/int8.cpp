// Products of bytes dealt to threads: weights packed, zero points made up for.
#include "device/cpu/kernels/int8.h"

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/numbers.h"
#include "device/cpu/kernels/int8_epilogue.h"
#include "device/cpu/kernels/int8_rows.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kPanel = 16;
constexpr float kSmallResult = 1 << 30;

int64_t columns_of(const Int8Params& p) {
  return p.out_channels / p.groups;
}
int64_t panel_bytes(const Int8Weights& w) {
  return round_up(w.columns, kPanel) * int8_groups(w) * 4;
}
int64_t padded_columns(const Int8Params& p) {
  return p.is_depthwise() ? round_up(p.out_channels, kInt8ColumnUnit)
                          : round_up(columns_of(p), kInt8ColumnUnit) * p.groups;
}
int64_t group_bytes(const Int8Weights& w) {
  return panel_bytes(w) + round_up(w.columns, kPanel) * 4;
}

// y[i] = x[i] / by; `single`: x is one value for all.
void divide(const float* x, bool single, float by, int64_t n, float* y) {
  if (single)
    std::fill_n(y, n, x[0] / by);
  else
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] / by;
}

// Biases that are whole multiples of what a unit of the sums means, as those of models that arrive
// quantised, are added to the sums: exactly, so that results are rounded once.
void add_whole_biases(const Int8Params& p, int64_t channel, int64_t n, int32_t* column_add,
                      float* bias) {
  constexpr double kMost = 1 << 22;
  for (int64_t i = 0; i < n; ++i) {
    const double scale = p.scale[p.scales == 1 ? 0 : channel + i], real = p.bias[channel + i];
    const double whole = std::nearbyint(real / scale);
    if (!(std::abs(whole) <= kMost) || static_cast<float>(whole * scale) != p.bias[channel + i])
      continue;
    column_add[i] = static_cast<int32_t>(static_cast<uint32_t>(column_add[i]) +
                                         static_cast<uint32_t>(static_cast<int32_t>(whole)));
    bias[i] = 0;
  }
}

Int8Vectors vectors_by_column(const Int8Params& p, void* memory) {
  Int8Vectors v;
  const Int8Weights form = p.weight_form();
  const int64_t n = padded_columns(p);
  v.column_add = static_cast<int32_t*>(memory);
  v.weights_zero = v.column_add + n;
  v.scale = reinterpret_cast<float*>(v.weights_zero + n);
  v.bias = v.scale + n;
  std::memset(memory, 0, static_cast<size_t>(16 * n));
  const int64_t x_zero = int8_x_zero(p);
  const bool depthwise = p.is_depthwise();
  const int64_t groups = depthwise ? 1 : p.groups;
  const int64_t columns = depthwise ? p.out_channels : columns_of(p);
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t at = g * (n / groups), channel = g * columns;
    if (!depthwise) {
      const auto* sums = reinterpret_cast<const int32_t*>(
          static_cast<const char*>(p.weights) + g * group_bytes(form) + panel_bytes(form));
      const bool single = p.weights_zero == nullptr || p.weights_zeros == 1;
      for (int64_t j = 0; j < columns; j = single ? columns : j + 1) {
        const int64_t zero = int8_weights_zero(p, channel + j), end = single ? columns : j + 1;
        v.any_zero |= zero != 0;
        std::fill(v.weights_zero + at + j, v.weights_zero + at + end, static_cast<int32_t>(zero));
        // Wraps, as the sums themselves do.
        const auto first = static_cast<uint32_t>(form.k * x_zero * zero);
        const auto factor = static_cast<uint32_t>(x_zero);
        for (int64_t i = j; i < end; ++i)
          v.column_add[at + i] =
              static_cast<int32_t>(first - factor * static_cast<uint32_t>(sums[i]));
      }
    }
    if (p.scale == nullptr) continue;
    divide(p.scales == 1 ? p.scale : p.scale + channel, p.scales == 1, p.y_scale, columns,
           v.scale + at);
    if (p.bias != nullptr) divide(p.bias + channel, false, p.y_scale, columns, v.bias + at);
  }
  const int64_t terms = volume(p.kernel) * (p.in_channels / p.groups);
  const float most = static_cast<float>(std::min(terms * 255 * 255, int64_t{1} << 31));
  bool large = false;
  for (int64_t i = 0; i < n; ++i)
    large |= !(std::abs(v.scale[i]) * most + std::abs(v.bias[i]) < kSmallResult);
  v.small = !large;
  for (int64_t g = 0; p.scale != nullptr && p.bias != nullptr && g < groups; ++g)
    add_whole_biases(p, g * columns, columns, v.column_add + g * (n / groups),
                     v.bias + g * (n / groups));
  return v;
}

// Four rows of 16 columns of a panel, and what they add to the columns' sums.
void pack_group(const uint8_t* rows, int64_t step, uint8_t flip, int8_t* to, int32_t* sums) {
  __m128i row[4];
  for (int i = 0; i < 4; ++i)
    row[i] = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + i * step)),
                           _mm_set1_epi8(static_cast<char>(flip)));
  const __m128i low[2] = {_mm_unpacklo_epi8(row[0], row[1]), _mm_unpacklo_epi8(row[2], row[3])};
  const __m128i high[2] = {_mm_unpackhi_epi8(row[0], row[1]), _mm_unpackhi_epi8(row[2], row[3])};
  const __m128i columns[4] = {
      _mm_unpacklo_epi16(low[0], low[1]), _mm_unpackhi_epi16(low[0], low[1]),
      _mm_unpacklo_epi16(high[0], high[1]), _mm_unpackhi_epi16(high[0], high[1])};
  for (int i = 0; i < 4; ++i) {
    const __m128i pairs = _mm_maddubs_epi16(_mm_set1_epi8(1), columns[i]);
    auto* const sum = reinterpret_cast<__m128i*>(sums + 4 * i);
    _mm_storeu_si128(sum,
                     _mm_add_epi32(_mm_loadu_si128(sum), _mm_madd_epi16(pairs, _mm_set1_epi16(1))));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 16 * i), columns[i]);
  }
}

void pack_part(const uint8_t* from, int64_t step, int64_t rows, int64_t columns, uint8_t flip,
               int8_t* to, int32_t* sums) {
  for (int64_t row = 0; row < rows; ++row, from += step)
    for (int64_t j = 0; j < columns; ++j) {
      to[4 * j + row] = static_cast<int8_t>(from[j] ^ flip);
      sums[j] += to[4 * j + row];
    }
}

// Columns [column, column + n) of the rows of the result.
void sum_region(const Int8Params& p, const Range& rows, int64_t column, int64_t n,
                const Int8Table& table) {
  constexpr int64_t kBlock = 64;
  const int64_t row_blocks = p.out_channels / kBlock;
  if (n == p.out_channels)
    return table.sum_bytes(*p.sum, rows.begin * row_blocks, rows.size() * row_blocks);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    table.sum_bytes(*p.sum, row * row_blocks + column / kBlock, n / kBlock);
}

void run_gemm(const Int8Params& p, const Int8Plan& plan, const Int8Vectors& vectors,
              ThreadPool& pool, char* slots, const Int8Table& table) {
  const Int8Weights form = p.weight_form();
  const int64_t blocks = plan.row_blocks * plan.column_blocks;
  const int64_t size = int8_result_bytes(p.result);
  deal_with_slots(pool, p.groups * blocks, plan.most_tasks, [&](int64_t task, int64_t slot) {
    const int64_t group = task / blocks, block = task % blocks;
    const int64_t column = block % plan.column_blocks * plan.column_block;
    const Range pixels = int8_row_range(p, plan, block / plan.column_blocks);
    char* const own = slots + slot * plan.slot_bytes;
    Int8Block b;
    b.m = pixels.size();
    b.n = std::min(plan.column_block, plan.columns - column);
    b.groups = plan.padded_k / 4;
    b.y_row_bytes = p.out_channels * size;
    set_int8_rows(p, plan, group, pixels.begin, own + round_to_lines(plan.row_block * 4), b);
    if (vectors.any_zero) {
      auto* sums = reinterpret_cast<int32_t*>(own);
      sum_int8_rows(plan, b, sums);
      b.row_sums = sums;
    }
    b.b = static_cast<const int8_t*>(p.weights) + group * group_bytes(form) +
          column / kPanel * (plan.padded_k / 4) * 64;
    b.epilogue = int8_epilogue(p, vectors, group * (padded_columns(p) / p.groups) + column);
    b.y = static_cast<char*>(p.y) + pixels.begin * b.y_row_bytes +
          (group * plan.columns + column) * size;
    table.gemm_block(b);
    if (p.sum != nullptr) sum_region(p, pixels, column, b.n, table);
  });
}

}  // namespace

int32_t int8_weights_zero(const Int8Params& p, int64_t channel) {
  if (p.weights_zero == nullptr) return p.weights_signed ? 0 : -128;
  const int64_t i = p.weights_zeros == 1 ? 0 : channel;
  return p.weights_signed ? static_cast<const int8_t*>(p.weights_zero)[i]
                          : static_cast<const uint8_t*>(p.weights_zero)[i] - 128;
}

Int8Epilogue int8_epilogue(const Int8Params& p, const Int8Vectors& v, int64_t column) {
  Int8Epilogue e{v.column_add + column,
                 v.any_zero ? v.weights_zero + column : nullptr,
                 v.scale + column,
                 v.bias + column,
                 p.low,
                 p.high,
                 p.y_zero,
                 p.result};
  if (p.result == Int8Result::kU8 || p.result == Int8Result::kI8) {
    const float least = p.result == Int8Result::kU8 ? 0.0f : -128.0f;
    const auto zero = static_cast<float>(p.y_zero);
    e.low = std::max(p.low / p.y_scale, least - zero);
    e.high = std::max(std::min(p.high / p.y_scale, least + 255.0f - zero), e.low);
    e.saturates = v.small && std::nearbyint(e.low) <= least - zero &&
                  std::nearbyint(e.high) >= least + 255.0f - zero;
  }
  return e;
}

Int8Weights Int8Params::weight_form() const {
  Int8Weights w{volume(kernel) * (in_channels / groups), columns_of(*this), groups, weights_signed};
  if (const int64_t count = pieces(); count > 0 && w.k / count % 4 != 0) w.pieces = count;
  return w;
}

int64_t Int8Params::pieces() const {
  const int64_t run = in_channels / groups;
  if (is_depthwise() || volume(kernel) * run == 0) return 0;
  if (dilation[2] == 1) return kernel[0] * kernel[1];
  return run % 4 == 0 ? volume(kernel) : 0;
}

int64_t packed_int8_bytes(const Int8Weights& w) {
  return w.groups * group_bytes(w);
}

void pack_int8(const Int8Weights& w, const void* weights, void* packed) {
  const auto* const src = static_cast<const uint8_t*>(weights);
  const uint8_t flip = w.is_signed ? 0 : 0x80;
  const int64_t row_bytes = w.groups * w.columns, panel = int8_groups(w) * 64;
  const int64_t piece = std::max<int64_t>(w.k / w.pieces, 1);
  std::memset(packed, 0, static_cast<size_t>(packed_int8_bytes(w)));
  for (int64_t g = 0; g < w.groups; ++g) {
    auto* const to = static_cast<int8_t*>(packed) + g * group_bytes(w);
    auto* const sums = reinterpret_cast<int32_t*>(to + panel_bytes(w));
    for (int64_t term = 0, rows = 0; term < w.k; term += rows) {
      const int64_t at = term % piece;
      rows = std::min<int64_t>(4, piece - at);
      const uint8_t* from = src + term * row_bytes + g * w.columns;
      int8_t* group = to + (term / piece * round_up(piece, 4) + at) / 4 * 64;
      for (int64_t j = 0; j < w.columns; j += kPanel, group += panel)
        if (rows == 4 && w.columns - j >= kPanel)
          pack_group(from + j, row_bytes, flip, group, sums + j);
        else
          pack_part(from + j, row_bytes, rows, std::min(kPanel, w.columns - j), flip, group,
                    sums + j);
    }
  }
}

int64_t int8_vectors_bytes(const Int8Params& p) {
  const int64_t bytes = round_to_lines(16 * padded_columns(p));
  return p.is_depthwise() ? bytes + round_to_lines(int8_spread_bytes(p)) : bytes;
}

Int8Vectors int8_vectors(const Int8Params& p, void* memory) {
  const Int8Vectors v = vectors_by_column(p, memory);
  if (p.depthwise == nullptr) return v;
  return spread_int8_vectors(p, v,
                             static_cast<char*>(memory) + round_to_lines(16 * padded_columns(p)));
}

int64_t int8_scratch_bytes(const Int8Params& p, int threads, const Int8Table& table) {
  return int8_vectors_bytes(p) + (p.is_depthwise()
                                      ? int8_depthwise_scratch_bytes(p, threads, table)
                                      : threads * plan_int8(p, threads, table).slot_bytes);
}

void int8_product(const Int8Params& p, ThreadPool& pool, void* scratch, const Int8Table& table) {
  if (p.batch * volume(p.out) <= 0 || p.out_channels <= 0) return;
  const Int8Vectors vectors = p.vectors != nullptr ? *p.vectors : int8_vectors(p, scratch);
  char* const rest = static_cast<char*>(scratch) + int8_vectors_bytes(p);
  if (p.is_depthwise())
    run_int8_depthwise(p, vectors, pool, rest, table);
  else
    run_gemm(p, p.plan != nullptr ? *p.plan : plan_int8(p, pool.threads(), table), vectors, pool,
             rest, table);
}

}  // namespace tenon::cpu
