// What the kernels of this folder call beside the vendor's own functions: the same functions for
// rows that do not begin at a block of 32 bytes, and moves of rows and fractals in elements. All of
// it is made of Ascend C's basic API; where that has nothing, the scalar unit does it, slowly.
// @STATUS@
#pragma once

#include "tile_vector.h"

// TENON_LAUNCH(kernel, blocks, stream)(arguments…);
#ifdef TENON_HOST_SHIM
#define TENON_LAUNCH(kernel, blocks, stream) shim::Launcher(blocks, kernel)
#else
#define TENON_LAUNCH(kernel, blocks, stream) kernel<<<blocks, nullptr, stream>>>
#endif

namespace tile {

// ---- Between the global memory and UB: rows of n elements, so many elements apart ---------------

// One by one, where no instruction takes the rows.
template <typename D, typename S>
__aicore__ inline void CopyElements(const D& dst, int64_t dstStride, const S& src,
                                    int64_t srcStride, int32_t rows, int32_t n) {
  PipeBarrier<PIPE_ALL>();
  for (int32_t r = 0; r < rows; ++r)
    for (int32_t i = 0; i < n; ++i)
      dst.SetValue(r * dstStride + i, src.GetValue(r * srcStride + i));
  PipeBarrier<PIPE_ALL>();
}

template <typename T>
__aicore__ inline void Load(const LocalTensor<T>& dst, int32_t dstStride,
                            const GlobalTensor<T>& src, int64_t srcStride, int32_t rows,
                            int32_t n) {
  constexpr int32_t kMost = 4095;  // rows of one call
  constexpr int32_t kSize = sizeof(T);
  if (rows <= 0 || n <= 0) return;
  if (rows > 1 && dstStride == n && srcStride == n) {
    n *= rows;
    rows = 1;
  }
  const bool fits = rows == 1 || (dstStride % kRow<T> == 0 && dstStride >= n && srcStride >= n);
  if (TENON_HAS_DATA_COPY_PAD && fits && IsAligned(dst)) {
    for (int32_t r = 0; r < rows; r += kMost) {
      const int32_t count = Min(kMost, rows - r);
      const DataCopyExtParams params(count, n * kSize, count == 1 ? 0 : (srcStride - n) * kSize,
                                     count == 1 ? 0 : dstStride / kRow<T> - Blocks(n * kSize), 0);
      const DataCopyPadExtParams<T> padding(false, 0, 0, 0);
      DataCopyPad(dst[r * dstStride], src[r * srcStride], params, padding);
    }
    return;
  }
  if (!TENON_HAS_DATA_COPY_PAD && fits && n % kRow<T> == 0 && IsAligned(dst)) {
    for (int32_t r = 0; r < rows; ++r) DataCopy(dst[r * dstStride], src[r * srcStride], n);
    return;
  }
  CopyElements(dst, dstStride, src, srcStride, rows, n);
}

template <typename T>
__aicore__ inline void Store(const GlobalTensor<T>& dst, int64_t dstStride,
                             const LocalTensor<T>& src, int32_t srcStride, int32_t rows,
                             int32_t n) {
  constexpr int32_t kMost = 4095;
  constexpr int32_t kSize = sizeof(T);
  if (rows <= 0 || n <= 0) return;
  if (rows > 1 && dstStride == n && srcStride == n) {
    n *= rows;
    rows = 1;
  }
  const bool fits = rows == 1 || (srcStride % kRow<T> == 0 && srcStride >= n && dstStride >= n);
  if (TENON_HAS_DATA_COPY_PAD && fits && IsAligned(src)) {
    for (int32_t r = 0; r < rows; r += kMost) {
      const int32_t count = Min(kMost, rows - r);
      const DataCopyExtParams params(count, n * kSize,
                                     count == 1 ? 0 : srcStride / kRow<T> - Blocks(n * kSize),
                                     count == 1 ? 0 : (dstStride - n) * kSize, 0);
      DataCopyPad(dst[r * dstStride], src[r * srcStride], params);
    }
    return;
  }
  if (!TENON_HAS_DATA_COPY_PAD && fits && n % kRow<T> == 0 && IsAligned(src)) {
    for (int32_t r = 0; r < rows; ++r) DataCopy(dst[r * dstStride], src[r * srcStride], n);
    return;
  }
  CopyElements(dst, dstStride, src, srcStride, rows, n);
}

// The row of a table that an index in UB says; zeros where there is none.
template <typename T, typename I>
__aicore__ inline void GatherRow(const LocalTensor<T>& dst, const GlobalTensor<T>& table,
                                 int64_t stride, int64_t size, const LocalTensor<I>& index,
                                 int32_t n) {
  PipeBarrier<PIPE_ALL>();
  const int64_t row = index.GetValue(0);
  if (row >= 0 && row < size) {
    Load(dst, 0, table[row * stride], 0, 1, n);
    return;
  }
  for (int32_t i = 0; i < n; ++i) dst.SetValue(i, static_cast<T>(0));
  PipeBarrier<PIPE_ALL>();
}

// Into the row of a table that an index in UB says, less `first`; nothing where there is none.
template <typename T, typename I>
__aicore__ inline void ScatterRow(const GlobalTensor<T>& table, int64_t stride, int64_t size,
                                  int64_t first, const LocalTensor<I>& index,
                                  const LocalTensor<T>& src, int32_t n, bool accumulate) {
  PipeBarrier<PIPE_ALL>();
  const int64_t row = index.GetValue(0) - first;
  if (row < 0 || row >= size) return;
  if (!accumulate) {
    Store(table[row * stride], 0, src, 0, 1, n);
    PipeBarrier<PIPE_ALL>();
    return;
  }
  using Wide = typename Number<T>::Wide;
  for (int64_t i = 0; i < n; ++i)
    table.SetValue(row * stride + i, Narrow<T>(static_cast<Wide>(table.GetValue(row * stride + i)) +
                                               static_cast<Wide>(src.GetValue(i))));
  PipeBarrier<PIPE_ALL>();
}

// ---- L1 and the cube ----------------------------------------------------------------------------

// Rows into L1. Rows of up to C0 elements, C0 apart, are a matrix in NZ form: zeros follow them.
template <typename T>
__aicore__ inline void LoadL1(const LocalTensor<T>& dst, int32_t dstStride,
                              const GlobalTensor<T>& src, int64_t srcStride, int32_t rows,
                              int32_t n) {
  if (rows <= 0 || n <= 0) return;
  if (rows > 1 && n <= kRow<T> && dstStride == kRow<T>) {
    constexpr int32_t kMost = 16384;
    for (int32_t r = 0; r < rows; r += kMost) {
      const int32_t count = Min(kMost, rows - r);
      const Nd2NzParams params(1, count, n, 0, srcStride, Max(count, 1), 1, 0);
      DataCopy(dst[r * dstStride], src[r * srcStride], params);
    }
    return;
  }
  for (int32_t r = 0; r < rows; ++r) {
    const int32_t whole = n / kRow<T> * kRow<T>;
    if (whole > 0) DataCopy(dst[r * dstStride], src[r * srcStride], whole);
    // What is left of a row: one row of a matrix.
    const Nd2NzParams rest(1, 1, Max(n - whole, 1), 0, Max(n - whole, 1), 1, 1, 0);
    if (whole < n) DataCopy(dst[r * dstStride + whole], src[r * srcStride + whole], rest);
  }
}

template <typename T>
__aicore__ inline void FillL1(const LocalTensor<T>& dst, int32_t n, T value) {
  if (n <= 0) return;
  const InitConstValueParams<T> params(1, static_cast<uint16_t>(Blocks(n * sizeof(T))), 0, value);
  InitConstValue(dst, params);
}

// Rows between L1 and UB, of whole blocks.
template <typename T>
__aicore__ inline void Move(const LocalTensor<T>& dst, int32_t dstStride, const LocalTensor<T>& src,
                            int32_t srcStride, int32_t rows, int32_t n) {
  for (int32_t r = 0; r < rows; ++r) DataCopy(dst[r * dstStride], src[r * srcStride], n);
}

// n1 x n0 fractals of 16 x C0 from L1 to L0; strides of both axes in elements.
template <typename T>
__aicore__ inline void LoadFractals(const LocalTensor<T>& dst, int32_t d1, int32_t d0,
                                    const LocalTensor<T>& src, int32_t s1, int32_t s0, int32_t n1,
                                    int32_t n0) {
  constexpr int32_t kFractal = 16 * kRow<T>, kMost = 255;
  for (int32_t i = 0; i < n1; ++i)
    for (int32_t j = 0; j < n0; j += kMost) {
      const LoadData2DParams params(0, Min(kMost, n0 - j), s0 / kFractal, 0, d0 / kFractal - 1,
                                    false, 0);
      LoadData(dst[i * d1 + j * d0], src[i * s1 + j * s0], params);
    }
}
// The same, each fractal turned: columns of 16 in L1 are rows in L0.
template <typename T>
__aicore__ inline void LoadTurned(const LocalTensor<T>& dst, int32_t d1, int32_t d0,
                                  const LocalTensor<T>& src, int32_t s1, int32_t s0, int32_t n1,
                                  int32_t n0) {
  for (int32_t i = 0; i < n1; ++i)
    for (int32_t j = 0; j < n0; ++j) {
      if constexpr (sizeof(T) == 2) {
        const LoadData2DParams params(0, 1, 1, 0, 0, true, 0);
        LoadData(dst[i * d1 + j * d0], src[i * s1 + j * s0], params);
      } else {
#ifdef TENON_HOST_SHIM
        shim::LoadTurned(dst[i * d1 + j * d0], src[i * s1 + j * s0], 16, kRow<T>);
#else
        static_assert(sizeof(T) == 2, "no documented call turns fractals of 4 bytes like this one");
#endif
      }
    }
}

struct Image {
  int32_t c1, h, w;
};
struct Window {
  int32_t kernelH, kernelW, strideH, strideW, dilationH, dilationW, top, left, outW;
};
// Rows [firstM, firstM + m) and columns [firstK, firstK + k) of the windows of an image in L1 as
// fractals in L0A; columns are (c1, kernel row, kernel column, c0).
template <typename T>
__aicore__ inline void Img2Col(const LocalTensor<T>& dst, int32_t dstStride,
                               const LocalTensor<T>& src, int32_t srcStride, Image image, Window w,
                               int32_t firstM, int32_t m, int32_t firstK, int32_t k, T outside) {
  if (m <= 0 || k <= 0) return;
  constexpr int32_t kC0 = kRow<T>;
  const int32_t lastRow = (firstM + m - 1) / w.outW;
  const int32_t right =
      (w.outW - 1) * w.strideW + (w.kernelW - 1) * w.dilationW + 1 - image.w - w.left;
  const int32_t bottom = lastRow * w.strideH + (w.kernelH - 1) * w.dilationH + 1 - image.h - w.top;
  const uint8_t pads[4] = {static_cast<uint8_t>(w.left), static_cast<uint8_t>(Max(right, 0)),
                           static_cast<uint8_t>(w.top), static_cast<uint8_t>(Max(bottom, 0))};
  const auto load = [&](int32_t to, int32_t from, int32_t channels, int32_t columns, int32_t rows,
                        int32_t column, int32_t row) {
    const LoadData3DParamsV2<T> params(pads, image.h, image.w, channels, columns, rows, column, row,
                                       w.strideW, w.strideH, w.kernelW, w.kernelH, w.dilationW,
                                       w.dilationH, false, false, outside);
    LoadData(dst[to], src[from], params);
  };
  const bool isDense =
      (image.c1 == 1 || srcStride == image.h * image.w * kC0) && (m <= 16 || dstStride == 16 * k);
  if (isDense) {
    load(0, 0, image.c1 * kC0, k, m, firstK, firstM);
    return;
  }
  // 16 rows and one c1 at a time.
  const int32_t perC1 = w.kernelH * w.kernelW * kC0;
  for (int32_t row = 0; row < m; row += 16)
    for (int32_t column = firstK; column < firstK + k;) {
      const int32_t c1 = column / perC1;
      const int32_t count = Min((c1 + 1) * perC1, firstK + k) - column;
      load(row / 16 * dstStride + (column - firstK) * 16, c1 * srcStride, kC0, count, 16,
           column % perC1, firstM + row);
      column += count;
    }
}

// acc [n1, m1, 16, 16] (+)= a [m1, k1, 16, C0] b [k1, n1, 16, C0]; strides of the outermost axes.
template <typename C, typename T>
__aicore__ inline void Multiply(const LocalTensor<C>& acc, int32_t accStride,
                                const LocalTensor<T>& a, int32_t aStride, const LocalTensor<T>& b,
                                int32_t bStride, int32_t m, int32_t k, int32_t n, bool accumulate) {
  if (m <= 0 || n <= 0 || k <= 0) return;
  constexpr int32_t kC0 = kRow<T>, kFractal = 16 * kC0;
  const int32_t m1 = (m + 15) / 16, n1 = (n + 15) / 16, k1 = (k + kC0 - 1) / kC0;
  MmadParams params;
  params.cmatrixInitVal = !accumulate;
  const bool isDense = (n1 == 1 || accStride == m1 * 256) &&
                       (m1 == 1 || aStride == k1 * kFractal) &&
                       (k1 == 1 || bStride == n1 * kFractal);
  if (isDense) {
    params.m = m == 1 ? 16 : m;  // one row alone would be read as a vector
    params.n = n;
    params.k = k;
    Mmad(acc, a, b, params);
    return;
  }
  // Fractal by fractal.
  for (int32_t j = 0; j < n1; ++j)
    for (int32_t i = 0; i < m1; ++i)
      for (int32_t l = 0; l < k1; ++l) {
        params.m = 16;
        params.n = Min(16, n - j * 16);
        params.k = Min(kC0, k - l * kC0);
        params.cmatrixInitVal = !accumulate && l == 0;
        Mmad(acc[j * accStride + i * 256], a[i * aStride + l * kFractal],
             b[l * bStride + j * kFractal], params);
        PipeBarrier<PIPE_M>();
      }
}

// Accumulators [n1, m, 16] to UB: fractals of 16 x 16, then rows of 16.
template <typename D, typename C>
__aicore__ inline void FromAcc(const LocalTensor<D>& dst, const LocalTensor<C>& src, int32_t n) {
  const int32_t fractals = n / 256, rows = (n % 256 + 15) / 16;
  DataCopyEnhancedParams mode;
  if (fractals > 0) {
    const DataCopyParams params(1, static_cast<uint16_t>(fractals), 0, 0);
    mode.blockMode = BlockMode::BLOCK_MODE_MATRIX;
    DataCopy(dst, src, params, mode);
  }
  if (rows > 0) {
    const DataCopyParams params(1, static_cast<uint16_t>(rows), 0, 0);
    mode.blockMode = BlockMode::BLOCK_MODE_VECTOR;
    DataCopy(dst[fractals * 256], src[fractals * 256], params, mode);
  }
}

template <typename D>
constexpr QuantMode_t kToHalf = QuantMode_t::F322F16;
template <>
constexpr QuantMode_t kToHalf<bfloat16_t> = QuantMode_t::F322BF16;

// Accumulators [n1, m, 16] as m rows of n elements in the global memory.
template <typename D, typename C>
__aicore__ inline void StoreAcc(const GlobalTensor<D>& dst, int64_t dstStride,
                                const LocalTensor<C>& src, int32_t srcStride, int32_t m,
                                int32_t n) {
  if (m <= 0 || n <= 0) return;
  FixpipeParamsV220 params;
  params.nSize = n;
  params.mSize = m;
  params.srcStride = n <= 16 ? m : srcStride / 16;
  params.dstStride = dstStride;
  if constexpr (sizeof(D) == 2 && sizeof(C) == 4) params.quantPre = kToHalf<D>;
  Fixpipe<D, C, CFG_ROW_MAJOR>(dst, src, params);
}

}  // namespace tile
