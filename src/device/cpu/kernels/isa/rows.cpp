// Rows held in cache: softmax, normalisation, reductions along and across.
#include "device/cpu/kernels/rows.h"

#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/lanes.h"
#include "device/cpu/kernels/isa/math.h"

namespace tenon::cpu::TENON_ISA {
namespace {

template <ReduceKind kKind>
TENON_INLINE Floats fold(Floats sum, Floats x) {
  if constexpr (kKind == ReduceKind::kMax) return maximum(sum, x);
  if constexpr (kKind == ReduceKind::kMin) return minimum(sum, x);
  if constexpr (kKind == ReduceKind::kProd) return sum * x;
  if constexpr (kKind == ReduceKind::kSumSquares) return sum + x * x;
  if constexpr (kKind == ReduceKind::kSumAbs) return sum + absolute(x);
  return sum + x;
}
// Joins two partial results.
template <ReduceKind kKind>
TENON_INLINE Floats join(Floats a, Floats b) {
  if constexpr (kKind == ReduceKind::kSumSquares || kKind == ReduceKind::kSumAbs)
    return a + b;
  else
    return fold<kKind>(a, b);
}
template <ReduceKind kKind>
TENON_INLINE float start() {
  if constexpr (kKind == ReduceKind::kMax) return -kInfinity;
  if constexpr (kKind == ReduceKind::kMin) return kInfinity;
  if constexpr (kKind == ReduceKind::kProd) return 1.0f;
  return 0.0f;
}
template <ReduceKind kKind>
TENON_INLINE float join_lanes(Floats x) {
  return across(
      x, [](Floats a, Floats b) __attribute__((always_inline)) { return join<kKind>(a, b); })[0];
}

// Four sums at a time; long rows in halves, so that the error grows with the depth of the halving.
constexpr size_t kSumBlock = 4096;

template <ReduceKind kKind, typename T>
float reduce_block(const T* x, size_t n) {
  const Floats first = splat(start<kKind>());
  Floats sums[4] = {first, first, first, first};
  size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) sums[k] = fold<kKind>(sums[k], load_number(x + i + k * kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) sums[0] = fold<kKind>(sums[0], load_number(x + i));
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    sums[1] = fold<kKind>(sums[1], first_lanes(load_number(x + i, rest), rest, first));
  }
  return join_lanes<kKind>(
      join<kKind>(join<kKind>(sums[0], sums[1]), join<kKind>(sums[2], sums[3])));
}

template <ReduceKind kKind, typename T>
float reduce_any(const T* x, size_t n) {
  if (n <= kSumBlock) return reduce_block<kKind>(x, n);
  const size_t half = n / 2 / kLanes * kLanes;
  const float a = reduce_any<kKind>(x, half), b = reduce_any<kKind>(x + half, n - half);
  if constexpr (kKind == ReduceKind::kProd) return a * b;
  if constexpr (kKind == ReduceKind::kMax) return !(b <= a) && a == a ? b : a;
  if constexpr (kKind == ReduceKind::kMin) return !(b >= a) && a == a ? b : a;
  return a + b;
}

template <ReduceKind kKind>
float reduce_row(const float* x, size_t n) {
  const float sum = reduce_any<kKind>(x, n);
  return kKind == ReduceKind::kMean ? sum / static_cast<float>(n) : sum;
}

// One vector (or kVectors of them) of columns over a range of rows.
template <ReduceKind kKind, int kVectors, typename T>
TENON_INLINE void reduce_strip(const T* x, int64_t rows, int64_t stride, Floats* total) {
  // Partial sums of up to 64 rows keep the error of long columns low.
  constexpr int64_t kRows = 64;
  for (int v = 0; v < kVectors; ++v) total[v] = splat(start<kKind>());
  for (int64_t begin = 0; begin < rows; begin += kRows) {
    const int64_t end = begin + kRows < rows ? begin + kRows : rows;
    Floats sums[kVectors];
    for (int v = 0; v < kVectors; ++v) sums[v] = splat(start<kKind>());
    for (int64_t r = begin; r < end; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        sums[v] = fold<kKind>(sums[v], load_number(x + r * stride + v * kLanes));
    for (int v = 0; v < kVectors; ++v) total[v] = join<kKind>(total[v], sums[v]);
  }
}

template <ReduceKind kKind, typename T>
void reduce_columns(const T* x, int64_t reduce, int64_t stride, int64_t inner, float* y) {
  const float divisor = kKind == ReduceKind::kMean ? static_cast<float>(reduce) : 1.0f;
  int64_t i = 0;
  Floats sums[4];
  for (; i + 4 * kLanes <= inner; i += 4 * kLanes) {
    reduce_strip<kKind, 4>(x + i, reduce, stride, sums);
    for (int v = 0; v < 4; ++v) store(y + i + v * kLanes, sums[v] / divisor);
  }
  for (; i + kLanes <= inner; i += kLanes) {
    reduce_strip<kKind, 1>(x + i, reduce, stride, sums);
    store(y + i, sums[0] / divisor);
  }
  if (i == inner) return;
  const int rest = static_cast<int>(inner - i);
  Floats total = splat(start<kKind>());
  for (int64_t begin = 0; begin < reduce; begin += 64) {
    const int64_t end = begin + 64 < reduce ? begin + 64 : reduce;
    Floats sum = splat(start<kKind>());
    for (int64_t r = begin; r < end; ++r)
      sum = fold<kKind>(sum, load_number(x + r * stride + i, rest));
    total = join<kKind>(total, sum);
  }
  store_part(y + i, total / divisor, rest);
}

// The sum of exp(x - top) over a row, written to y where it is given.
TENON_INLINE float exp_row(const float* x, float* y, size_t n, float top) {
  Floats sums[2] = {};
  size_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
#pragma GCC unroll 2
    for (int k = 0; k < 2; ++k) {
      const Floats e = exp_not_positive(load(x + i + k * kLanes) - top);
      if (y != nullptr) store(y + i + k * kLanes, e);
      sums[k] += e;
    }
  }
  for (; i < n; i += kLanes) {
    const int rest = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    const Floats e = exp_not_positive(load_part(x + i, rest) - top);
    if (y != nullptr) store_lanes(y + i, e, rest);
    sums[0] += first_lanes(e, rest, Floats{});
  }
  return join_lanes<ReduceKind::kSum>(sums[0] + sums[1]);
}

// Rows of kN vectors, the last of which may be part of one, stay in registers.
template <int kN>
TENON_INLINE void softmax_short_row(const float* x, float* y, int n) {
  constexpr int kLast = kN - 1;
  const int rest = n - kLast * kLanes;
  const auto sum_of = [](Floats a, Floats b) __attribute__((always_inline)) {
    return a + b;
  };
  const auto larger = [](Floats a, Floats b) __attribute__((always_inline)) {
    return join<ReduceKind::kMax>(a, b);
  };
  Floats v[kN];
  for (int i = 0; i < kLast; ++i) v[i] = load(x + i * kLanes);
  v[kLast] = first_lanes(load_part(x + kLast * kLanes, rest), rest, splat(-kInfinity));
  Floats top = v[0];
  for (int i = 1; i < kN; ++i) top = larger(top, v[i]);
  top = across(top, larger);
  for (int i = 0; i < kN; ++i) v[i] = exp_not_positive(v[i] - top);
  Floats sum = first_lanes(v[kLast], rest, Floats{});
  for (int i = 0; i < kLast; ++i) sum += v[i];
  const Floats factor = splat(1.0f) / across(sum, sum_of);
  for (int i = 0; i < kLast; ++i) store(y + i * kLanes, v[i] * factor);
  store_lanes(y + kLast * kLanes, v[kLast] * factor, rest);
}

void softmax_row(const float* x, float* y, size_t n, bool log) {
  if (n == 0) return;
  if (!log && n <= kLanes) return softmax_short_row<1>(x, y, static_cast<int>(n));
  if (!log && n <= 2 * kLanes) return softmax_short_row<2>(x, y, static_cast<int>(n));
  if (!log && n <= 3 * kLanes) return softmax_short_row<3>(x, y, static_cast<int>(n));
  if (!log && n <= 4 * kLanes) return softmax_short_row<4>(x, y, static_cast<int>(n));
  const float top = reduce_any<ReduceKind::kMax>(x, n);
  // With an infinite largest value the differences are NaN, as they are in NumPy.
  if (log) {
    const float sum = exp_row(x, nullptr, n, top);
    const Floats shift = logarithm(splat(sum));
    for (size_t i = 0; i < n; i += kLanes) {
      const int rest = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
      const Floats v = load_part(x + i, rest) - top - shift;
      store_lanes(y + i, v, rest);
    }
    return;
  }
  const Floats factor = splat(1.0f / exp_row(x, y, n, top));
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load(y + i) * factor);
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    store_part(y + i, load_part(y + i, rest) * factor, rest);
  }
}

template <typename T>
void norm_row(const LayerNormRow& row, const T* x) {
  const size_t n = static_cast<size_t>(row.cols);
  const float count = static_cast<float>(row.cols);
  float mean = 0, square;
  if (row.rms) {
    square = reduce_any<ReduceKind::kSumSquares>(x, n) / count;
  } else {
    mean = reduce_any<ReduceKind::kSum>(x, n) / count;
    Floats sums[2] = {};
    size_t i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
#pragma GCC unroll 2
      for (int k = 0; k < 2; ++k) {
        const Floats d = load_number(x + i + k * kLanes) - mean;
        sums[k] += d * d;
      }
    }
    for (; i < n; i += kLanes) {
      const int rest = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
      const Floats d = first_lanes(load_number(x + i, rest) - mean, rest, Floats{});
      sums[0] += d * d;
    }
    square = join_lanes<ReduceKind::kSum>(sums[0] + sums[1]) / count;
  }
  const float scale = 1.0f / __builtin_sqrtf(square + row.epsilon);
  auto* const narrow_y = reinterpret_cast<uint16_t*>(row.y);
  for (size_t i = 0; i < n; i += kLanes) {
    const int rest = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    if (rest == kLanes) {
      Floats v = (load_number(x + i) - mean) * scale;
      if (row.gamma != nullptr) v *= load(row.gamma + i);
      if (row.beta != nullptr) v += load(row.beta + i);
      if (row.narrow_y)
        store_bf16(narrow_y + i, v);
      else
        store(row.y + i, v);
    } else {
      Floats v = (load_number(x + i, rest) - mean) * scale;
      if (row.gamma != nullptr) v *= load_part(row.gamma + i, rest);
      if (row.beta != nullptr) v += load_part(row.beta + i, rest);
      if (row.narrow_y)
        store_bf16_part(narrow_y + i, v, rest);
      else
        store_part(row.y + i, v, rest);
    }
  }
}

void layer_norm_row(const LayerNormRow& row) {
  const size_t n = static_cast<size_t>(row.cols);
  if (n == 0) return;
  if (row.narrow_x) return norm_row(row, reinterpret_cast<const uint16_t*>(row.x));
  if (row.residual == nullptr) return norm_row(row, row.x);
  for (size_t i = 0; i < n; i += kLanes) {
    const int rest = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    const Floats v = load_part(row.x + i, rest) + load_part(row.residual + i, rest);
    store_lanes(row.y + i, v, rest);
  }
  norm_row(row, row.y);
}

template <size_t... kKinds>
void fill_reductions(KernelTable& table, Indices<kKinds...>) {
  ((table.reduce_row[kKinds] = reduce_row<static_cast<ReduceKind>(kKinds)>), ...);
  ((table.reduce_columns[kKinds] = reduce_columns<static_cast<ReduceKind>(kKinds), float>), ...);
}

}  // namespace

void fill_rows(KernelTable& table) {
  static_assert(static_cast<size_t>(ReduceKind::kCount) == kReduceKinds);
  table.softmax_row = softmax_row;
  table.layer_norm_row = layer_norm_row;
  fill_reductions(table, MakeIndices<kReduceKinds>{});
  table.average_columns_bf16 = reduce_columns<ReduceKind::kMean, uint16_t>;
}

}  // namespace tenon::cpu::TENON_ISA
