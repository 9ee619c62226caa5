// The part of Ascend C that the kernels of this folder use, with its meaning on a host: so that any
// C++17 compiler can build and run them. Blocks run on threads, each with memories of its own; a
// block does what it is given in order, and a wait for a flag that nobody has set ends the program.
// Not the vendor's header, and it does not say how long anything takes.
#pragma once

#include "vector_unit.h"

namespace AscendC {

// ---- Movement
// -------------------------------------------------------------------------------------

struct DataCopyParams {
  uint16_t blockCount, blockLen, srcStride, dstStride;  // lengths in blocks of 32 bytes
  DataCopyParams(int64_t count, int64_t length, int64_t src, int64_t dst)
      : blockCount(static_cast<uint16_t>(count)),
        blockLen(static_cast<uint16_t>(length)),
        srcStride(static_cast<uint16_t>(src)),
        dstStride(static_cast<uint16_t>(dst)) {}
};
struct DataCopyEnhancedParams {
  BlockMode blockMode = BlockMode::BLOCK_MODE_NORMAL;
};
struct DataCopyExtParams {
  uint16_t blockCount;
  uint32_t blockLen;             // bytes
  int64_t srcStride, dstStride;  // gaps: bytes in the global memory, blocks in a core's
  DataCopyExtParams(int64_t count, int64_t length, int64_t src, int64_t dst, uint32_t)
      : blockCount(static_cast<uint16_t>(count)),
        blockLen(static_cast<uint32_t>(length)),
        srcStride(src),
        dstStride(dst) {}
};
template <typename T>
struct DataCopyPadExtParams {
  DataCopyPadExtParams(bool, uint8_t, uint8_t, T) {}
};
struct Nd2NzParams {
  int64_t ndNum, nValue, dValue, srcNdMatrixStride, srcDValue, dstNzC0Stride, dstNzNStride,
      dstNzMatrixStride;
  Nd2NzParams(int64_t nd, int64_t n, int64_t d, int64_t matrix, int64_t src, int64_t c0,
              int64_t row, int64_t to)
      : ndNum(nd),
        nValue(n),
        dValue(d),
        srcNdMatrixStride(matrix),
        srcDValue(src),
        dstNzC0Stride(c0),
        dstNzNStride(row),
        dstNzMatrixStride(to) {}
};
template <typename T>
struct InitConstValueParams {
  InitConstValueParams(uint16_t times, uint16_t blocks, uint16_t gap, T v)
      : repeatTimes(times), blockNum(blocks), dstGap(gap), initValue(v) {}
  uint16_t repeatTimes, blockNum, dstGap;
  T initValue;
};

namespace detail {
template <typename T>
constexpr int64_t row = 32 / static_cast<int64_t>(sizeof(T));
template <typename T>
void whole_blocks(int64_t n) {
  if (n * static_cast<int64_t>(sizeof(T)) % 32 != 0)
    shim::fail("DataCopy moves whole blocks of 32 bytes");
}
}  // namespace detail

template <typename T>
void DataCopy(const LocalTensor<T>& d, const GlobalTensor<T>& s, int64_t n) {
  detail::whole_blocks<T>(n), detail::aligned(d);
  std::copy_n(s.at(0), n, d.at(0, n));
}
template <typename T>
void DataCopy(const GlobalTensor<T>& d, const LocalTensor<T>& s, int64_t n) {
  detail::whole_blocks<T>(n), detail::aligned(s);
  std::copy_n(s.at(0, n), n, d.at(0));
}
template <typename T>
void DataCopy(const LocalTensor<T>& d, const LocalTensor<T>& s, int64_t n) {
  detail::whole_blocks<T>(n), detail::aligned(d), detail::aligned(s);
  std::copy_n(s.at(0, n), n, d.at(0, n));
}
template <typename T>
void DataCopy(const LocalTensor<T>& d, const GlobalTensor<T>& s, const Nd2NzParams& p) {
  for (int64_t r = 0; r < p.nValue; ++r)
    for (int64_t c = 0; c < (p.dValue + detail::row<T> - 1) / detail::row<T> * detail::row<T>;
         ++c) {
      const int64_t to = c / detail::row<T> * p.dstNzC0Stride * detail::row<T> +
                         r * p.dstNzNStride * detail::row<T> + c % detail::row<T>;
      d.SetValue(to, c < p.dValue ? s.GetValue(r * p.srcDValue + c) : static_cast<T>(0));
    }
}
// From L0C to UB: whole fractals, or rows of them.
template <typename D, typename S>
void DataCopy(const LocalTensor<D>& d, const LocalTensor<S>& s, const DataCopyParams& p,
              const DataCopyEnhancedParams& mode) {
  if (mode.blockMode == BlockMode::BLOCK_MODE_NORMAL) shim::fail("only matrices leave L0C");
  const int64_t unit = mode.blockMode == BlockMode::BLOCK_MODE_MATRIX ? 256 : 16;
  const int64_t n = int64_t{p.blockCount} * p.blockLen * unit;
  D* to = d.at(0, n);
  const S* from = s.at(0, n);
  for (int64_t i = 0; i < n; ++i) to[i] = detail::narrow<D>(static_cast<detail::Wide<S>>(from[i]));
}
template <typename T>
void DataCopyPad(const LocalTensor<T>& d, const GlobalTensor<T>& s, const DataCopyExtParams& p,
                 const DataCopyPadExtParams<T>&) {
  detail::aligned(d);
  const int64_t n = p.blockLen / sizeof(T), blocks = (p.blockLen + 31) / 32;
  for (int64_t r = 0; r < p.blockCount; ++r) {
    const int64_t from = r * (n + p.srcStride / static_cast<int64_t>(sizeof(T)));
    std::copy_n(s.at(from), n, d.at(r * (blocks + p.dstStride) * detail::row<T>, n));
  }
}
template <typename T>
void DataCopyPad(const GlobalTensor<T>& d, const LocalTensor<T>& s, const DataCopyExtParams& p) {
  detail::aligned(s);
  const int64_t n = p.blockLen / sizeof(T), blocks = (p.blockLen + 31) / 32;
  for (int64_t r = 0; r < p.blockCount; ++r) {
    const int64_t to = r * (n + p.dstStride / static_cast<int64_t>(sizeof(T)));
    std::copy_n(s.at(r * (blocks + p.srcStride) * detail::row<T>, n), n, d.at(to));
  }
}
template <typename T>
void InitConstValue(const LocalTensor<T>& d, const InitConstValueParams<T>& p) {
  const int64_t n = int64_t{p.repeatTimes} * p.blockNum * detail::row<T>;
  std::fill_n(d.at(0, n), n, p.initValue);
}

// ---- The cube
// -------------------------------------------------------------------------------------

struct LoadData2DParams {
  int64_t startIndex, repeatTimes, srcStride, dstGap;
  bool ifTranspose;
  LoadData2DParams(int64_t start, int64_t times, int64_t src, int64_t, int64_t gap, bool turned,
                   int)
      : startIndex(start), repeatTimes(times), srcStride(src), dstGap(gap), ifTranspose(turned) {}
};
template <typename T>
struct LoadData3DParamsV2 {
  int64_t pads[4], h, w, channels, k, m, firstK, firstM, strideW, strideH, kernelW, kernelH,
      dilationW, dilationH;
  T padValue;
  LoadData3DParamsV2(const uint8_t padList[4], int64_t l1H, int64_t l1W, int64_t channelSize,
                     int64_t kExtension, int64_t mExtension, int64_t kStartPt, int64_t mStartPt,
                     int64_t strideW_, int64_t strideH_, int64_t filterW, int64_t filterH,
                     int64_t dilationFilterW, int64_t dilationFilterH, bool, bool, T padValue_)
      : h(l1H),
        w(l1W),
        channels(channelSize),
        k(kExtension),
        m(mExtension),
        firstK(kStartPt),
        firstM(mStartPt),
        strideW(strideW_),
        strideH(strideH_),
        kernelW(filterW),
        kernelH(filterH),
        dilationW(dilationFilterW),
        dilationH(dilationFilterH),
        padValue(padValue_) {
    for (int i = 0; i < 4; ++i) pads[i] = padList[i];
  }
};
struct MmadParams {
  int64_t m = 0, n = 0, k = 0;
  bool cmatrixInitVal = true;
};
struct FixpipeParamsV220 {
  int64_t nSize = 0, mSize = 0, srcStride = 0, dstStride = 0;
  bool reluEn = false;
  QuantMode_t quantPre = QuantMode_t::NoQuant;
};

template <typename T>
void LoadData(const LocalTensor<T>& d, const LocalTensor<T>& s, const LoadData2DParams& p) {
  constexpr int64_t c0 = detail::row<T>, fractal = 16 * c0;
  for (int64_t i = 0; i < p.repeatTimes; ++i) {
    const T* from = s.at((p.startIndex + i * p.srcStride) * fractal, fractal);
    T* to = d.at(i * (p.dstGap + 1) * fractal, fractal);
    for (int64_t e = 0; e < fractal; ++e)
      to[e] = p.ifTranspose ? from[e % c0 * 16 + e / c0] : from[e];
  }
}
template <typename T>
void LoadData(const LocalTensor<T>& d, const LocalTensor<T>& s, const LoadData3DParamsV2<T>& p) {
  constexpr int64_t c0 = detail::row<T>;
  const int64_t out_w =
      (p.w + p.pads[0] + p.pads[1] - (p.kernelW - 1) * p.dilationW - 1) / p.strideW + 1;
  const int64_t taps = p.kernelH * p.kernelW, k1 = (p.k + c0 - 1) / c0;
  for (int64_t r = 0; r < p.m; ++r) {
    const int64_t oy = (p.firstM + r) / out_w, ox = (p.firstM + r) % out_w;
    for (int64_t block = 0; block < k1; ++block) {
      T* to = d.at((r / 16 * k1 + block) * 16 * c0 + r % 16 * c0, c0);
      const int64_t column = p.firstK / c0 + block, tap = column % taps, c1 = column / taps;
      const int64_t y = oy * p.strideH + tap / p.kernelW * p.dilationH - p.pads[2];
      const int64_t x = ox * p.strideW + tap % p.kernelW * p.dilationW - p.pads[0];
      const bool inside = c1 * c0 < p.channels && y >= 0 && y < p.h && x >= 0 && x < p.w;
      if (inside)
        std::copy_n(s.at(((c1 * p.h + y) * p.w + x) * c0, c0), c0, to);
      else
        std::fill_n(to, c0, p.padValue);
    }
  }
}

// Products are summed in float, those of bytes in integers.
template <typename C, typename T>
void Mmad(const LocalTensor<C>& acc, const LocalTensor<T>& a, const LocalTensor<T>& b,
          const MmadParams& p) {
  using Sum = typename std::conditional<detail::is_real<T>, float, int64_t>::type;
  constexpr int64_t c0 = detail::row<T>;
  const int64_t m1 = (p.m + 15) / 16, k1 = (p.k + c0 - 1) / c0, n1 = (p.n + 15) / 16;
  const T *left = a.at(0, m1 * k1 * 16 * c0), *right = b.at(0, k1 * n1 * 16 * c0);
  std::vector<Sum> columns(static_cast<size_t>(p.k * 16)), row(static_cast<size_t>(p.k));
  const auto wide = [](T x) {
    if constexpr (std::is_same<T, half>::value)
      return shim::half_table()[x.bits];
    else
      return static_cast<Sum>(x);
  };
  for (int64_t j = 0; j < n1; ++j) {
    for (int64_t l = 0; l < p.k; ++l)
      for (int64_t c = 0; c < 16; ++c)
        columns[static_cast<size_t>(l * 16 + c)] =
            wide(right[(l / c0 * n1 + j) * 16 * c0 + c * c0 + l % c0]);
    for (int64_t i = 0; i < p.m; ++i) {
      C* to = acc.at(((j * m1 + i / 16) * 16 + i % 16) * 16, 16);
      for (int64_t l = 0; l < p.k; ++l)
        row[static_cast<size_t>(l)] =
            wide(left[(i / 16 * k1 + l / c0) * 16 * c0 + i % 16 * c0 + l % c0]);
      Sum sums[16];
      for (int64_t c = 0; c < 16; ++c)
        sums[c] = p.cmatrixInitVal ? Sum{0} : static_cast<Sum>(to[c]);
      for (int64_t l = 0; l < p.k; ++l) {
        const Sum x = row[static_cast<size_t>(l)];
        const Sum* y = &columns[static_cast<size_t>(l * 16)];
        for (int64_t c = 0; c < 16; ++c) sums[c] += x * y[c];
      }
      for (int64_t c = 0; c < 16; ++c) to[c] = detail::narrow<C>(sums[c]);
    }
  }
}

// [n1, m, 16] as rows of a matrix.
template <typename D, typename C, const FixpipeConfig& kConfig>
void Fixpipe(const GlobalTensor<D>& d, const LocalTensor<C>& s, const FixpipeParamsV220& p) {
  for (int64_t r = 0; r < p.mSize; ++r)
    for (int64_t c = 0; c < p.nSize; ++c) {
      const C x = s.GetValue(c / 16 * p.srcStride * 16 + r * 16 + c % 16);
      d.SetValue(r * p.dstStride + c, detail::narrow<D>(static_cast<detail::Wide<C>>(x)));
    }
}

}  // namespace AscendC

namespace shim {

// A fractal whose columns lie one beside the other in L1.
template <typename T>
void LoadTurned(const AscendC::LocalTensor<T>& d, const AscendC::LocalTensor<T>& s, int64_t rows,
                int64_t columns) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) d.SetValue(r * columns + c, s.GetValue(r + c * 16));
}

}  // namespace shim
