#include "simulate/product.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "simulate/elements.h"

namespace tenon::simulate {
namespace {

constexpr int64_t kColumns = 16;      // of a panel
constexpr int64_t kExactTerms = 256;  // products of bytes whose sum a float holds exactly
constexpr int64_t kRowBlock = 96;     // rows of a convolution that are packed at once

// c [rows][16] += a [rows][k] b [k][16]. Products of two halves are exact in f32, so that fusing
// the addition changes nothing.
template <int kRows>
void panel(const float* a, int64_t a_stride, const float* b, int64_t k, float* c,
           int64_t c_stride) {
  __m256 sum[kRows][2];
  for (int r = 0; r < kRows; ++r) {
    sum[r][0] = _mm256_loadu_ps(c + r * c_stride);
    sum[r][1] = _mm256_loadu_ps(c + r * c_stride + 8);
  }
  for (int64_t i = 0; i < k; ++i) {
    const __m256 b0 = _mm256_loadu_ps(b + i * kColumns);
    const __m256 b1 = _mm256_loadu_ps(b + i * kColumns + 8);
    for (int r = 0; r < kRows; ++r) {
      const __m256 x = _mm256_broadcast_ss(a + r * a_stride + i);
      sum[r][0] = _mm256_fmadd_ps(x, b0, sum[r][0]);
      sum[r][1] = _mm256_fmadd_ps(x, b1, sum[r][1]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    _mm256_storeu_ps(c + r * c_stride, sum[r][0]);
    _mm256_storeu_ps(c + r * c_stride + 8, sum[r][1]);
  }
}

void multiply(const float* a, int64_t a_stride, const float* b, int64_t rows, int64_t k, float* c,
              int64_t c_stride) {
  int64_t r = 0;
  for (; r + 6 <= rows; r += 6)
    panel<6>(a + r * a_stride, a_stride, b, k, c + r * c_stride, c_stride);
  a += r * a_stride;
  c += r * c_stride;
  switch (rows - r) {
    case 5:
      return panel<5>(a, a_stride, b, k, c, c_stride);
    case 4:
      return panel<4>(a, a_stride, b, k, c, c_stride);
    case 3:
      return panel<3>(a, a_stride, b, k, c, c_stride);
    case 2:
      return panel<2>(a, a_stride, b, k, c, c_stride);
    case 1:
      return panel<1>(a, a_stride, b, k, c, c_stride);
    default:
      break;
  }
}

// The buffers of one thread, kept from product to product.
struct Scratch {
  std::vector<float> a, b, sums, row;
  std::vector<int64_t> exact, loaded;

  static float* room(std::vector<float>& v, int64_t n) {
    if (std::ssize(v) < n) v.resize(static_cast<size_t>(n));
    return v.data();
  }
  static int64_t* room(std::vector<int64_t>& v, int64_t n) {
    if (std::ssize(v) < n) v.resize(static_cast<size_t>(n));
    return v.data();
  }
};

Scratch& scratch() {
  static thread_local Scratch s;
  return s;
}

int64_t step(const Operand& o, size_t axis) {
  return o.stride[axis] * o.element;
}

// Rows of a result tile, sixteen columns at a time: `place(row)` is where the columns [0, width) of
// the row are, `stride` elements apart.
template <typename Place>
void finish_panel(const float* a, int64_t a_stride, const float* b, int64_t rows, int64_t k,
                  DType from, const Operand& dst, int64_t stride, int64_t width, bool accumulate,
                  const Place& place) {
  Scratch& s = scratch();
  float* sums = Scratch::room(s.sums, rows * kColumns);
  if (!is_exact(from)) {
    for (int64_t r = 0; r < rows; ++r) {
      std::fill_n(sums + r * kColumns, kColumns, 0.0F);
      if (accumulate) load_floats(place(r), dst.dtype, stride, width, sums + r * kColumns);
    }
    multiply(a, a_stride, b, rows, k, sums, kColumns);
    for (int64_t r = 0; r < rows; ++r)
      store_floats(sums + r * kColumns, width, isa::Rounding::even, dst.dtype, stride, place(r));
    return;
  }
  int64_t* exact = Scratch::room(s.exact, rows * kColumns);
  std::fill_n(exact, rows * kColumns, 0);
  if (accumulate)
    for (int64_t r = 0; r < rows; ++r)
      load_ints(place(r), dst.dtype, stride, width, exact + r * kColumns);
  for (int64_t first = 0; first < k; first += kExactTerms) {
    std::fill_n(sums, rows * kColumns, 0.0F);
    multiply(a + first, a_stride, b + first * kColumns, rows, std::min(kExactTerms, k - first),
             sums, kColumns);
    for (int64_t i = 0; i < rows * kColumns; ++i) exact[i] += static_cast<int64_t>(sums[i]);
  }
  for (int64_t r = 0; r < rows; ++r)
    store_ints(exact + r * kColumns, width, dst.dtype, stride, place(r));
}

// b [k1, n1, n0, k0] as panels [n / 16][k][16], with zeros where there are no columns.
void pack_columns(const Operand& b, int64_t k, int64_t n, float* to) {
  const int64_t n0 = b.size[2], k0 = b.size[3];
  float* row = Scratch::room(scratch().row, k0);
  std::fill_n(to, (n + kColumns - 1) / kColumns * kColumns * k, 0.0F);
  for (int64_t column = 0; column < n; ++column) {
    const std::byte* from = b.first() + column / n0 * step(b, 1) + column % n0 * step(b, 2);
    float* panel = to + column / kColumns * (kColumns * k) + column % kColumns;
    for (int64_t first = 0; first < k; first += k0) {
      const int64_t count = std::min(k0, k - first);
      load_floats(from + first / k0 * step(b, 0), b.dtype, b.stride[3], count, row);
      for (int64_t i = 0; i < count; ++i) panel[(first + i) * kColumns] = row[i];
    }
  }
}

// a [m1, k1, m0, k0] as rows [m][k].
void pack_rows(const Operand& a, int64_t m, int64_t k, float* to) {
  const int64_t m0 = a.size[2], k0 = a.size[3];
  for (int64_t r = 0; r < m; ++r) {
    const std::byte* from = a.first() + r / m0 * step(a, 0) + r % m0 * step(a, 2);
    for (int64_t first = 0; first < k; first += k0)
      load_floats(from + first / k0 * step(a, 1), a.dtype, a.stride[3], std::min(k0, k - first),
                  to + r * k + first);
  }
}

// Whether sums can be made in place: f32 panels of 16 columns whose rows are evenly spaced.
bool is_plain(const Operand& acc) {
  return acc.dtype == DType::f32 && acc.stride[3] == 1 &&
         acc.stride[1] == acc.size[2] * acc.stride[2];
}

}  // namespace

void run_mmad(const Operand& acc, const Operand& a, const Operand& b, int64_t m, int64_t k,
              int64_t n, bool accumulate) {
  Scratch& s = scratch();
  const int64_t panels = (n + kColumns - 1) / kColumns;
  float* left = Scratch::room(s.a, m * k);
  float* right = Scratch::room(s.b, panels * kColumns * k);
  pack_rows(a, m, k, left);
  pack_columns(b, k, n, right);
  const int64_t m0 = acc.size[2];
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t first = p * kColumns, width = std::min(kColumns, n - first);
    const float* columns = right + first * k;
    if (width == kColumns && is_plain(acc) && !is_exact(a.dtype)) {
      auto* c = reinterpret_cast<float*>(acc.first() + p * step(acc, 0));
      if (!accumulate)
        for (int64_t r = 0; r < m; ++r) std::fill_n(c + r * acc.stride[2], kColumns, 0.0F);
      multiply(left, k, columns, m, k, c, acc.stride[2]);
      continue;
    }
    finish_panel(
        left, k, columns, m, k, a.dtype, acc, acc.stride[3], width, accumulate, [&](int64_t r) {
          return acc.first() + p * step(acc, 0) + r / m0 * step(acc, 1) + r % m0 * step(acc, 2);
        });
  }
}

void run_conv(const Operand& dst, const Operand& x, const Operand& filter,
              std::span<const int64_t> numbers) {
  const int64_t kernel_h = numbers[0], kernel_w = numbers[1], stride_h = numbers[2],
                stride_w = numbers[3], dilation_h = numbers[4], dilation_w = numbers[5],
                pad_top = numbers[6], pad_left = numbers[7];
  const bool accumulate = numbers[8] != 0;
  const int64_t out_w = dst.size[1], pixels = dst.size[0] * out_w, columns = dst.size[2],
                channels = x.size[2], k = kernel_h * kernel_w * channels;
  Scratch& s = scratch();
  const int64_t panels = (columns + kColumns - 1) / kColumns;
  float* right = Scratch::room(s.b, panels * kColumns * k);
  std::fill_n(right, panels * kColumns * k, 0.0F);
  float* row = Scratch::room(s.row, channels);
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t i = 0; i < kernel_h * kernel_w; ++i) {
      load_floats(filter.first() + c * step(filter, 0) + i / kernel_w * step(filter, 1) +
                      i % kernel_w * step(filter, 2),
                  filter.dtype, filter.stride[3], channels, row);
      float* panel = right + c / kColumns * (kColumns * k) + c % kColumns + i * channels * kColumns;
      for (int64_t j = 0; j < channels; ++j) panel[j * kColumns] = row[j];
    }
  float* left = Scratch::room(s.a, std::min(kRowBlock, pixels) * k);
  for (int64_t first = 0; first < pixels; first += kRowBlock) {
    const int64_t rows = std::min(kRowBlock, pixels - first);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t oy = (first + r) / out_w, ox = (first + r) % out_w;
      float* to = left + r * k;
      for (int64_t i = 0; i < kernel_h * kernel_w; ++i, to += channels) {
        const int64_t y = oy * stride_h + i / kernel_w * dilation_h - pad_top;
        const int64_t z = ox * stride_w + i % kernel_w * dilation_w - pad_left;
        if (y < 0 || y >= x.size[0] || z < 0 || z >= x.size[1])
          std::fill_n(to, channels, 0.0F);
        else
          load_floats(x.first() + y * step(x, 0) + z * step(x, 1), x.dtype, x.stride[2], channels,
                      to);
      }
    }
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t column = p * kColumns;
      finish_panel(left, k, right + column * k, rows, k, x.dtype, dst, dst.stride[2],
                   std::min(kColumns, columns - column), accumulate, [&](int64_t r) {
                     return dst.first() + (first + r) / out_w * step(dst, 0) +
                            (first + r) % out_w * step(dst, 1) + column * step(dst, 2);
                   });
    }
  }
}

}  // namespace tenon::simulate
