// Averages of bytes on every instruction set against averages in double.
#include "device/cpu/kernels/byte_averages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "device/cpu/kernels/test_support.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

PoolParams window(int64_t in, int64_t kernel, int64_t stride, int64_t pad, int64_t channels) {
  PoolParams p;
  p.kind = PoolKind::kAverage;
  p.batch = 2;
  p.channels = channels;
  for (const int d : {1, 2}) {
    p.in[d] = in + d;
    p.kernel[d] = kernel;
    p.stride[d] = stride;
    p.pad_begin[d] = p.pad_end[d] = pad;
    p.out[d] = (p.in[d] + 2 * pad - kernel) / stride + 1;
  }
  return p;
}

// The mean of the bytes in a window, less their zero point.
double mean_of(const ByteAverages& p, const std::vector<uint8_t>& x, int64_t pixel, int64_t c) {
  const PoolParams& w = p.pool;
  const WindowDim height = window_dim(w, 1), width = window_dim(w, 2);
  const int64_t ow = pixel % w.out[2], oh = pixel / w.out[2] % w.out[1];
  const int64_t n = pixel / w.out[2] / w.out[1];
  double sum = 0;
  int64_t taps = 0;
  for (int64_t i = 0; i < w.kernel[1]; ++i)
    for (int64_t j = 0; j < w.kernel[2]; ++j) {
      const int64_t h = height.start(oh) + i, v = width.start(ow) + j;
      if (h < 0 || h >= w.in[1] || v < 0 || v >= w.in[2]) continue;
      const uint8_t byte =
          x[static_cast<size_t>(((n * w.in[1] + h) * w.in[2] + v) * w.channels + c)];
      sum += (p.x_signed ? static_cast<int8_t>(byte) : byte) - p.x_zero;
      ++taps;
    }
  return taps == 0 ? 0 : sum / static_cast<double>(taps);
}

void check(const PoolParams& windows, bool is_signed) {
  ByteAverages p;
  p.pool = windows;
  std::vector<uint8_t> x(
      static_cast<size_t>(windows.batch * windows.in[1] * windows.in[2] * windows.channels));
  for (uint8_t& byte : x) byte = static_cast<uint8_t>(test_random()());
  p.x = x.data();
  p.x_signed = is_signed;
  p.x_zero = is_signed ? -5 : 100;
  p.x_scale = 0.02f;
  p.y_scale = 0.015f;
  p.y_zero = is_signed ? 7 : 120;
  const int64_t n = windows.batch * windows.out[1] * windows.out[2] * windows.channels;
  for (const Int8Result result :
       {Int8Result::kF32, is_signed ? Int8Result::kI8 : Int8Result::kU8}) {
    p.result = result;
    const size_t bytes = static_cast<size_t>(result == Int8Result::kF32 ? 4 * n : n);
    std::vector<uint8_t> first;
    for (const Int8Table* table : supported_int8_tables())
      for (const int threads : {1, 3}) {
        std::vector<uint8_t> y(bytes + 64, 0xa5);
        p.y = y.data();
        ThreadPool pool(threads);
        Scratch scratch(byte_averages_scratch_bytes(p, threads));
        average_bytes(p, pool, scratch.get(), *table);
        for (size_t i = 0; i < 64; ++i) ASSERT_EQ(y[bytes + i], 0xa5) << table->name;
        for (int64_t i = 0; i < n; ++i) {
          const double real = mean_of(p, x, i / windows.channels, i % windows.channels) * 0.02;
          const auto at = static_cast<size_t>(i);
          if (result == Int8Result::kF32) {
            ASSERT_NEAR(static_cast<double>(reinterpret_cast<const float*>(y.data())[i]), real,
                        1e-4)
                << table->name;
            continue;
          }
          const double low = is_signed ? -128 : 0;
          ASSERT_NEAR(is_signed ? static_cast<int8_t>(y[at]) : y[at],
                      std::clamp(real / 0.015 + p.y_zero, low, low + 255), 0.501)
              << table->name << " element " << i;
        }
        if (first.empty()) first = y;
        ASSERT_EQ(first, y) << table->name;
      }
  }
}

TEST(ByteAverages, AllInstructionSetsAgree) {
  for (const int64_t channels : {1, 3, 16, 40, 192})
    for (const bool is_signed : {false, true}) {
      ASSERT_NO_FATAL_FAILURE(check(window(9, 3, 1, 1, channels), is_signed));
      ASSERT_NO_FATAL_FAILURE(check(window(9, 3, 2, 1, channels), is_signed));
      ASSERT_NO_FATAL_FAILURE(check(window(12, 5, 1, 0, channels), is_signed));
      ASSERT_NO_FATAL_FAILURE(check(window(2, 5, 1, 2, channels), is_signed));
      ASSERT_NO_FATAL_FAILURE(check(window(40, 3, 1, 1, channels), is_signed));
    }
}

}  // namespace
}  // namespace tenon::cpu
