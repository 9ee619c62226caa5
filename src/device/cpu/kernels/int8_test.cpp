// Products of bytes on every instruction set against sums written out in 64 bits.
#include "device/cpu/kernels/int8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/cpu_features.h"
#include "device/cpu/kernels/int8_rows.h"
#include "device/cpu/kernels/test_support.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace int8_tiles_in_memory {
const Int8Table& int8_table();
}

namespace {

// Also the code for AMX, its tiles in memory, wherever there is AVX-512.
std::vector<const Int8Table*> all_tables() {
  const auto supported = supported_int8_tables();
  std::vector<const Int8Table*> tables(supported.begin(), supported.end());
  if (cpu_features().avx512) tables.push_back(&int8_tiles_in_memory::int8_table());
  return tables;
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Case {
  Int8Params p;
  bool extremes = false;  // only the lowest and highest bytes
};

std::vector<uint8_t> random_bytes(int64_t n, bool extremes) {
  std::vector<uint8_t> bytes(static_cast<size_t>(n));
  for (uint8_t& b : bytes) {
    const auto r = test_random()();
    constexpr uint8_t kExtremes[] = {0, 255, 127, 128};
    b = extremes ? kExtremes[r % 4] : static_cast<uint8_t>(r);
  }
  return bytes;
}

int64_t value(uint8_t byte, bool is_signed) {
  return is_signed ? static_cast<int8_t>(byte) : byte;
}

// The sums [pixels, out_channels], zero points taken off.
std::vector<int64_t> reference(const Int8Params& p, const std::vector<uint8_t>& x,
                               const std::vector<uint8_t>& w, const std::vector<uint8_t>& zeros) {
  const int64_t in = p.in_channels / p.groups, out = p.out_channels / p.groups;
  std::vector<int64_t> sums;
  for (int64_t pixel = 0; pixel < p.batch * volume(p.out); ++pixel) {
    // NOLINTNEXTLINE(clang-analyzer-core.DivideZero): there are pixels, so no size is zero
    const int64_t o[3] = {pixel / p.out[2] / p.out[1] % p.out[0], pixel / p.out[2] % p.out[1],
                          pixel % p.out[2]};
    const int64_t n = pixel / volume(p.out);
    for (int64_t c = 0; c < p.out_channels; ++c) {
      int64_t sum = 0;
      for (int64_t tap = 0; tap < volume(p.kernel); ++tap) {
        const int64_t t[3] = {tap / p.kernel[2] / p.kernel[1], tap / p.kernel[2] % p.kernel[1],
                              tap % p.kernel[2]};
        int64_t at = n;
        bool inside = true;
        for (int d = 0; d < 3; ++d) {
          const int64_t i = o[d] * p.stride[d] - p.pad_begin[d] + t[d] * p.dilation[d];
          inside &= i >= 0 && i < p.in[d];
          at = at * p.in[d] + i;
        }
        if (!inside) continue;
        for (int64_t i = 0; i < in; ++i) {
          const auto xi = static_cast<size_t>(at * p.in_channels + c / out * in + i);
          const auto wi = static_cast<size_t>((tap * in + i) * p.out_channels + c);
          const uint8_t zero =
              zeros.empty() ? 0 : zeros[zeros.size() == 1 ? 0 : static_cast<size_t>(c)];
          sum += (value(x[xi], p.x_signed) - p.x_zero) *
                 (value(w[wi], p.weights_signed) - value(zero, p.weights_signed));
        }
      }
      sums.push_back(sum);
    }
  }
  return sums;
}

// The bias of a channel in units of its sums.
float whole_bias(size_t channel) {
  return static_cast<float>(static_cast<int>(channel * 977 % 5000) - 2500);
}

// The byte that a sum becomes with whole_bias(): their sum is exact, and the product of that and
// the scale in steps of the result is rounded to f32 and to a whole number.
int64_t rounded_once(const Int8Params& p, int64_t sum, size_t channel) {
  const auto whole = static_cast<int64_t>(whole_bias(channel));
  const float real = static_cast<float>(sum + whole) * (p.scale[channel] / p.y_scale);
  const float steps = std::nearbyint(std::clamp(real, p.low / p.y_scale, p.high / p.y_scale));
  const float least = p.result == Int8Result::kI8 ? -128 : 0;
  return static_cast<int64_t>(std::clamp(steps + static_cast<float>(p.y_zero), least, least + 255));
}

void check(Int8Params p, bool extremes, size_t zero_count) {
  const int64_t pixels = p.batch * volume(p.out), n = pixels * p.out_channels;
  const auto x = random_bytes(p.batch * volume(p.in) * p.in_channels, extremes);
  const auto w =
      random_bytes(volume(p.kernel) * p.in_channels / p.groups * p.out_channels, extremes);
  auto zeros = random_bytes(static_cast<int64_t>(zero_count), extremes);
  if (zeros.empty()) zeros = {0};
  const uint8_t x_zero = random_bytes(1, extremes)[0];
  p.x_zero = p.outside_is_zero ? 0 : static_cast<int32_t>(value(x_zero, p.x_signed));
  const auto sums = reference(p, x, w, zeros);
  p.weights_zero = zeros.data();
  p.weights_zeros = static_cast<int64_t>(zeros.size());
  p.x = x.data();

  const auto scale = random_floats(p.out_channels, 0.001f, 0.01f);
  auto bias = random_floats(p.out_channels, -30, 30);
  for (size_t c = 1; c < bias.size(); c += 2) bias[c] = whole_bias(c) * scale[c];
  const Int8Weights form = p.weight_form();
  std::vector<uint8_t> packed(static_cast<size_t>(packed_int8_bytes(form)));
  pack_int8(form, w.data(), packed.data());
  p.weights = p.is_depthwise() ? static_cast<const void*>(w.data()) : packed.data();

  // Rows at a time, and pixel by pixel.
  std::vector<const int8_t*> filters{nullptr};
  std::vector<int8_t> rows;
  const std::vector<int32_t> taps =
      p.is_depthwise() ? int8_depthwise_taps(p) : std::vector<int32_t>{};
  if (p.is_depthwise()) {
    p.taps = taps;
    rows.resize(static_cast<size_t>(int8_depthwise_bytes(p)));
    ASSERT_FALSE(rows.empty());
    pack_int8_depthwise(p, rows.data());
    filters.push_back(rows.data());
  }
  for (const Int8Result result :
       {Int8Result::kI32, Int8Result::kF32, Int8Result::kU8, Int8Result::kI8})
    for (const int threads : {1, 3})
      for (size_t run = 0; run < all_tables().size() * filters.size(); ++run) {
        const Int8Table* table = all_tables()[run / filters.size()];
        p.depthwise = filters[run % filters.size()];
        p.result = result;
        const bool real = result != Int8Result::kI32, byte = real && result != Int8Result::kF32;
        p.low = result == Int8Result::kU8 ? -kInfinity : -20;
        p.high = result == Int8Result::kU8 ? kInfinity : 25;
        p.scale = real ? scale.data() : nullptr;
        p.scales = p.out_channels;
        p.bias = real ? bias.data() : nullptr;
        p.y_scale = byte ? 0.25f : 1;
        p.y_zero = result == Int8Result::kU8 ? 113 : byte ? -7 : 0;
        const int64_t bytes = byte ? n : 4 * n;
        std::vector<uint8_t> y(static_cast<size_t>(bytes + 64), 0xa5);
        p.y = y.data();
        ThreadPool pool(threads);
        Scratch scratch(int8_scratch_bytes(p, threads, *table));
        int8_product(p, pool, scratch.get(), *table);
        for (size_t i = 0; i < 64; ++i)
          ASSERT_EQ(y[static_cast<size_t>(bytes) + i], 0xa5) << table->name << " past the end";
        for (int64_t i = 0; i < n; ++i) {
          const auto u = static_cast<size_t>(i), c = static_cast<size_t>(i % p.out_channels);
          if (!real) {
            ASSERT_EQ(reinterpret_cast<const int32_t*>(y.data())[i], sums[u])
                << table->name << " element " << i;
            continue;
          }
          const double v =
              std::clamp<double>(static_cast<double>(sums[u]) * static_cast<double>(scale[c]) +
                                     static_cast<double>(bias[c]),
                                 static_cast<double>(p.low), static_cast<double>(p.high));
          if (!byte) {
            ASSERT_NEAR(static_cast<double>(reinterpret_cast<const float*>(y.data())[i]), v, 1e-3)
                << table->name;
            continue;
          }
          if (c % 2 == 1) {
            ASSERT_EQ(value(y[u], result == Int8Result::kI8), rounded_once(p, sums[u], c))
                << table->name << " element " << i;
            continue;
          }
          const double q = std::clamp(v / 0.25 + p.y_zero, result == Int8Result::kU8 ? 0.0 : -128.0,
                                      result == Int8Result::kU8 ? 255.0 : 127.0);
          ASSERT_NEAR(static_cast<double>(value(y[u], result == Int8Result::kI8)), q, 0.501)
              << table->name;
        }
      }
}

void check_signs(Int8Params p) {
  for (int signs = 0; signs < 4; ++signs)
    for (const bool extremes : {false, true})
      for (const size_t zeros : {size_t{0}, size_t{1}, static_cast<size_t>(p.out_channels)}) {
        p.x_signed = (signs & 1) != 0;
        p.weights_signed = (signs & 2) != 0;
        ASSERT_NO_FATAL_FAILURE(check(p, extremes, zeros))
            << "signs " << signs << " extremes " << extremes << " zeros " << zeros;
      }
}

Int8Params matrix(int64_t m, int64_t k, int64_t n) {
  Int8Params p;
  p.in[2] = p.out[2] = m;
  p.in_channels = k;
  p.out_channels = n;
  return p;
}

Int8Params window(int64_t size, int64_t kernel, int64_t stride, int64_t in, int64_t out,
                  int64_t groups = 1) {
  Int8Params p;
  p.batch = 2;
  for (const int d : {1, 2}) {
    p.in[d] = size + d;
    p.kernel[d] = kernel;
    p.stride[d] = stride;
    p.pad_begin[d] = kernel / 2;
    p.out[d] = (p.in[d] + 2 * (kernel / 2) - kernel) / stride + 1;
  }
  p.in_channels = in;
  p.out_channels = out;
  p.groups = groups;
  return p;
}

TEST(Int8, MatrixProducts) {
  for (const int64_t m : {1, 2, 3, 5, 12, 31})
    for (const int64_t k : {1, 4, 7, 64, 75})
      for (const int64_t n : {1, 8, 15, 16, 17, 32, 75})
        ASSERT_NO_FATAL_FAILURE(check(matrix(m, k, n), true, static_cast<size_t>(n)));
  check_signs(matrix(13, 1028, 33));
  check_signs(matrix(50, 66, 96));
}

TEST(Int8, Convolutions) {
  check_signs(window(7, 3, 1, 3, 20));
  check_signs(window(7, 3, 2, 16, 33));
  check_signs(window(9, 1, 2, 8, 16));
  check_signs(window(6, 3, 1, 8, 12, 2));
  Int8Params dilated = window(9, 3, 1, 5, 7);
  dilated.dilation[1] = dilated.dilation[2] = 2;
  check_signs(dilated);
  dilated.in_channels = 8;
  check_signs(dilated);
  // No windows that reach outside; rows of several blocks.
  for (const int64_t channels : {3, 8}) {
    Int8Params inner = window(9, 3, 2, channels, 20);
    for (const int d : {1, 2}) inner.pad_begin[d] = 0, inner.out[d] = (inner.in[d] - 3) / 2 + 1;
    check_signs(inner);
    inner.pad_begin[1] = inner.pad_begin[2] = -1;
    check_signs(inner);
    check(window(40, 3, 1, channels, 17), true, 0);
    check(window(40, 5, 2, channels, 17), false, 1);
  }
}

TEST(Int8, ConvolutionsOfVolumes) {
  for (const int64_t channels : {3, 8})
    for (const int64_t stride : {1, 2}) {
      Int8Params p = window(4, 3, stride, channels, 17);
      p.in[0] = 4, p.stride[0] = stride;
      p.out[0] = (p.in[0] - 1) / stride + 1;  // of one plane each
      p.outside_is_zero = true;
      check(p, true, 0);
      p.outside_is_zero = false;
      p.kernel[0] = 3, p.pad_begin[0] = 1;
      check_signs(p);
      p.dilation[0] = p.pad_begin[0] = 2;
      check_signs(p);
      p.dilation[1] = p.dilation[2] = p.pad_begin[1] = p.pad_begin[2] = 2;
      check_signs(p);
    }
  Int8Params large = window(60, 3, 1, 2, 5);
  large.in[0] = large.out[0] = large.kernel[0] = 3, large.pad_begin[0] = 1;
  check(large, false, 1);
}

// Taps that lie outside are left out: rows and columns of their own, corners, too few of either.
TEST(Int8, ConvolutionsWithoutWhatLiesOutside) {
  const auto all = [](Int8Params p) {
    p.outside_is_zero = true;
    for (const size_t zeros : {size_t{0}, static_cast<size_t>(p.out_channels)})
      ASSERT_NO_FATAL_FAILURE(check(p, zeros == 0, zeros))
          << p.batch << " of " << p.in[1] << " by " << p.kernel[1] << 'x' << p.kernel[2];
  };
  for (const int64_t channels : {3, 8})
    for (const int64_t batch : {1, 5})
      for (const int64_t size : {1, 3, 7}) {
        Int8Params p = window(size, 3, size == 7 ? 2 : 1, channels, 33);
        p.batch = batch;
        all(p);
        Int8Params wide = window(size, 5, 1, channels, 16);
        wide.batch = batch;
        wide.kernel[1] = 1, wide.pad_begin[1] = 0, wide.out[1] = wide.in[1];
        all(wide);
        Int8Params dilated = window(size, 3, 1, channels, 40);
        dilated.batch = batch;
        for (const int d : {1, 2}) dilated.dilation[d] = dilated.pad_begin[d] = 4 * d;
        all(dilated);
      }
  all(window(45, 3, 1, 8, 20));
  all(window(13, 9, 1, 8, 17));
  all(window(13, 25, 1, 4, 17));
}

// A group's channels of some rows are copied, each once.
TEST(Int8, Groups) {
  for (const int64_t in : {6, 16})
    for (const int64_t stride : {1, 2}) {
      Int8Params p = window(6, 3, stride, in, 34, 2);
      ASSERT_EQ(plan_int8(p, 1, int8_kernels()).source, Int8RowSource::kStrips);
      check_signs(p);
      p.outside_is_zero = true;
      check(p, true, 0);
      p.outside_is_zero = false;
      p.in[0] = p.out[0] = 2, p.kernel[0] = 3, p.pad_begin[0] = 1;
      check(p, false, 1);
      p.pad_begin[1] = p.pad_begin[2] = -1;
      for (const int d : {1, 2}) p.out[d] = (p.in[d] - 1 - 3) / stride + 1;
      check(p, true, 34);
    }
  check(window(30, 5, 2, 48, 51, 3), true, 0);
  check(window(7, 1, 1, 24, 24, 3), false, 1);
  for (const int64_t in : {10, 16}) {
    Int8Params dilated = window(7, 3, 1, in, 16, 2);
    for (const int d : {1, 2}) dilated.dilation[d] = dilated.pad_begin[d] = 2;
    check(dilated, false, 16);
    dilated.outside_is_zero = true;
    check(dilated, true, 0);
  }
}

TEST(Int8, Depthwise) {
  for (const int64_t channels : {2, 16, 21, 64}) {
    check_signs(window(7, 3, 1, channels, channels, channels));
    check_signs(window(8, 5, 2, channels, channels, channels));
  }
  for (const int64_t channels : {8, 24, 72, 160}) {
    check(window(45, 3, 1, channels, channels, channels), false, 0);
    check(window(45, 3, 2, channels, channels, channels), true, 0);
    Int8Params dilated = window(13, 3, channels == 8 ? 2 : 1, channels, channels, channels);
    dilated.dilation[1] = dilated.dilation[2] = 2;
    check(dilated, false, 0);
    Int8Params cropped = window(13, 3, channels == 8 ? 2 : 1, channels, channels, channels);
    cropped.pad_begin[1] = cropped.pad_begin[2] = -1;
    check(cropped, false, 0);
  }
}

TEST(Int8, NothingToDo) {
  check(matrix(0, 4, 4), false, 1);
  check(matrix(3, 0, 4), false, 1);
}

}  // namespace
}  // namespace tenon::cpu
