// Products and windows against plain loops.
#include <fmt/format.h>

#include "simulate/simulate_test.h"

namespace tenon::simulate {
namespace {

// Data of an element type as f32 values.
template <typename T>
std::vector<T> as(const std::vector<float>& values) {
  std::vector<T> out;
  out.reserve(values.size());
  for (const float v : values) out.push_back(static_cast<T>(v));
  return out;
}

// A program that multiplies fractals of type `type` (k0 of them in 32 bytes) twice over.
std::string product_text(const std::string& type, const std::string& sum, int64_t m, int64_t k,
                         int64_t n, int64_t k0) {
  const int64_t m1 = (m + 15) / 16, k1 = (k + k0 - 1) / k0, n1 = (n + 15) / 16, fractal = 16 * k0;
  const std::string a =
      fmt::format("({}:{}, {}:{}, 16:{}, {}:1)", m1, k1 * fractal, k1, fractal, k0, k0);
  const std::string b =
      fmt::format("({}:{}, {}:{}, 16:{}, {}:1)", k1, n1 * fractal, n1, fractal, k0, k0);
  const std::string c = fmt::format("({}:{}, {}:256, 16:16, 16:1)", n1, m1 * 256, m1);
  std::string text = fmt::format(
      "a: input {0} [{1}]\nb: constant {0} [{2}]\ny: output {3} [{4}]\n"
      "mte2: copy l1[0] {0} ({1}:1) <- gm a[0] {0} ({1}:1)\n"
      "mte2: copy l1[131072] {0} ({2}:1) <- gm b[0] {0} ({2}:1)\nsync mte2\n"
      "mte1: copy l0a[0] {0} ({1}:1) <- l1[0] {0} ({1}:1)\n"
      "mte1: copy l0b[0] {0} ({2}:1) <- l1[131072] {0} ({2}:1)\nsync mte1\n",
      type, m1 * k1 * fractal, k1 * n1 * fractal, sum, m1 * n1 * 256);
  for (int64_t i = 0; i < 2; ++i)
    text += fmt::format(
        "m: mmad l0c[0] {0} {1} <- l0a[0] {2} {3}, l0b[0] {2} {4} {{m = {5}, k = {6}, n = {7}, "
        "accumulate = {8}}}\n",
        sum, c, type, a, b, m, k, n, i);
  // What the product does not count is not written: only that is stored.
  return text + fmt::format(
                    "sync m\nfor i0 in {1} {{\n"
                    "v: copy ub[i0 * {2}] {0} ({3}:16, min(16, {4} - i0 * 16):1) <- "
                    "l0c[i0 * {2}] {0} ({3}:16, min(16, {4} - i0 * 16):1)\n}}\nsync v\n"
                    "for i1 in {1} {{\n"
                    "mte3: copy gm y[i1 * {2}] {0} ({3}:16, min(16, {4} - i1 * 16):1) <- "
                    "ub[i1 * {2}] {0} ({3}:16, min(16, {4} - i1 * 16):1)\n}}\n",
                    sum, n1, m1 * 1024, m, n);
}

template <typename T, typename Sum>
void check_product(const std::string& type, const std::string& sum, int64_t m, int64_t k,
                   int64_t n) {
  const int64_t k0 = 32 / static_cast<int64_t>(sizeof(T));
  const int64_t m1 = (m + 15) / 16, k1 = (k + k0 - 1) / k0, n1 = (n + 15) / 16;
  std::vector<float> av = random_values(static_cast<size_t>(m1 * k1 * 16 * k0), 1);
  std::vector<float> bv = random_values(static_cast<size_t>(k1 * n1 * 16 * k0), 2);
  if (sizeof(T) == 1)
    for (auto* v : {&av, &bv})
      for (float& x : *v) x *= 31;  // to -124 … 124
  std::vector<Bytes> data{bytes_of(as<T>(av)), bytes_of(as<T>(bv))};
  const Status status = run_text("ascend310p3", product_text(type, sum, m, k, n, k0), data);
  ASSERT_TRUE(status.ok()) << status.error().to_string();
  const auto a = as<T>(av), b = as<T>(bv);
  const auto y = values_of<Sum>(data[2]);
  for (int64_t r = 0; r < m; ++r)
    for (int64_t c = 0; c < n; ++c) {
      double expected = 0;
      for (int64_t i = 0; i < k; ++i) {
        const int64_t in_a = ((r / 16 * k1 + i / k0) * 16 + r % 16) * k0 + i % k0;
        const int64_t in_b = ((i / k0 * n1 + c / 16) * 16 + c % 16) * k0 + i % k0;
        expected += 2 * static_cast<double>(static_cast<float>(a[static_cast<size_t>(in_a)])) *
                    static_cast<double>(static_cast<float>(b[static_cast<size_t>(in_b)]));
      }
      const Sum got = y[static_cast<size_t>((c / 16 * m1 + r / 16) * 256 + r % 16 * 16 + c % 16)];
      ASSERT_EQ(static_cast<double>(got), expected) << r << " " << c;
    }
}

TEST(SimulateProduct, FractalsAreMultiplied) {
  check_product<Half, float>("f16", "f32", 64, 48, 32);
  check_product<Half, float>("f16", "f32", 37, 19, 21);
  check_product<Half, float>("f16", "f32", 1, 1, 1);
  check_product<int8_t, int32_t>("i8", "i32", 32, 640, 32);
  check_product<int8_t, int32_t>("i8", "i32", 5, 300, 17);
}

struct Windows {
  int64_t h, w, c, kh, kw, sh, sw, dh, dw, pt, pl, oh, ow;
};

float window_value(const Windows& s, const std::vector<float>& x, int64_t row, int64_t tap,
                   int64_t channel) {
  const int64_t y = row / s.ow * s.sh + tap / s.kw * s.dh - s.pt;
  const int64_t z = row % s.ow * s.sw + tap % s.kw * s.dw - s.pl;
  if (y < 0 || y >= s.h || z < 0 || z >= s.w) return 0;
  return x[static_cast<size_t>((y * s.w + z) * s.c + channel)];
}

// Nothing goes back from L0A: the product with a unit matrix shows what img2col made.
TEST(SimulateProduct, WindowsBecomeRowsOfFractals) {
  const Windows s{6, 5, 32, 3, 2, 2, 1, 1, 2, 1, 1, 3, 5};
  const int64_t first_m = 4, first_k = 16, blocks = 11, k = blocks * 16;
  const auto image = random_values(6 * 5 * 32, 5);  // [h, w, c]
  std::vector<float> x(image.size()), unit(static_cast<size_t>(k * k));
  for (size_t i = 0; i < image.size(); ++i) x[(i % 32 / 16 * 30 + i / 32) * 16 + i % 16] = image[i];
  for (int64_t i = 0; i < k; ++i)
    unit[static_cast<size_t>((i / 16 * blocks + i / 16) * 256 + i % 16 * 17)] = 1;
  std::vector<Bytes> data{bytes_of(halves(x)), bytes_of(halves(unit))};
  const Status status = run_text("ascend310p3", R"(
    x: input f16 [960]
    u: constant f16 [30976]
    y: output f32 [2816]
    mte2: copy l1[0] f16 (960:1) <- gm x[0] f16 (960:1)
    mte2: copy l1[2048] f16 (30976:1) <- gm u[0] f16 (30976:1)
    sync mte2
    mte1: copy l0b[0] f16 (30976:1) <- l1[2048] f16 (30976:1)
    mte1: img2col l0a[0] f16 (1:2816, 11:256, 16:16, 16:1) <- l1[0] f16 (2:480, 6:80, 5:16, 16:1) {kernel_h = 3, kernel_w = 2, stride_h = 2, stride_w = 1, dilation_h = 1, dilation_w = 2, pad_top = 1, pad_left = 1, out_w = 5, first_m = 4, first_k = 16}
    sync mte1
    m: mmad l0c[0] f32 (11:256, 1:256, 16:16, 16:1) <- l0a[0] f16 (1:2816, 11:256, 16:16, 16:1), l0b[0] f16 (11:2816, 11:256, 16:16, 16:1) {m = 16, k = 176, n = 176, accumulate = 0}
    sync m
    v: copy ub[0] f32 (2816:1) <- l0c[0] f32 (2816:1)
    sync v
    mte3: copy gm y[0] f32 (2816:1) <- ub[0] f32 (2816:1)
)",
                                 data);
  ASSERT_TRUE(status.ok()) << status.error().to_string();
  const auto y = values_of<float>(data[2]);
  for (int64_t m = 0; m < 16; ++m)
    for (int64_t c = 0; c < k; ++c) {
      const int64_t column = first_k + c, tap = column / 16 % 6;
      const int64_t channel = column / 16 / 6 * 16 + column % 16;
      ASSERT_EQ(y[static_cast<size_t>(c / 16 * 256 + m * 16 + c % 16)],
                window_value(s, image, first_m + m, tap, channel))
          << m << " " << c;
    }
}

TEST(SimulateProduct, ConvolutionsOfTheComputeQueue) {
  const Windows s{7, 6, 5, 3, 2, 2, 1, 1, 2, 1, 1, 3, 6};
  const int64_t co = 21, k = s.kh * s.kw * s.c;
  const auto x = random_values(static_cast<size_t>(s.h * s.w * s.c), 6);
  const auto w = random_values(static_cast<size_t>(co * k), 7);
  std::vector<Bytes> data{bytes_of(halves(x)), bytes_of(halves(w))};
  const std::string views = fmt::format(
      "nram[0] f32 ({}:{}, {}:{}, {}:1) <- nram[65536] f16 ({}:{}, {}:{}, {}:1), wram[0] f16 "
      "({}:{}, {}:{}, {}:{}, {}:1)",
      s.oh, s.ow * co, s.ow, co, co, s.h, s.w * s.c, s.w, s.c, s.c, co, k, s.kh, s.kw * s.c, s.kw,
      s.c, s.c);
  const std::string numbers = fmt::format(
      "kernel_h = {}, kernel_w = {}, stride_h = {}, stride_w = {}, dilation_h = {}, dilation_w = "
      "{}, pad_top = {}, pad_left = {}",
      s.kh, s.kw, s.sh, s.sw, s.dh, s.dw, s.pt, s.pl);
  const Status status =
      run_text("mlu370-s4",
               fmt::format("x: input f16 [{0}]\nw: constant f16 [{1}]\ny: output f32 [{2}]\n"
                           "io: copy nram[65536] f16 ({0}:1) <- gdram x[0] f16 ({0}:1)\n"
                           "io: copy wram[0] f16 ({1}:1) <- gdram w[0] f16 ({1}:1)\nsync io\n"
                           "compute: conv {3} {{{4}, accumulate = 0}}\n"
                           "compute: conv {3} {{{4}, accumulate = 1}}\nsync compute\n"
                           "io: copy gdram y[0] f32 ({2}:1) <- nram[0] f32 ({2}:1)",
                           x.size(), w.size(), s.oh * s.ow * co, views, numbers),
               data);
  ASSERT_TRUE(status.ok()) << status.error().to_string();
  const auto y = values_of<float>(data[2]);
  for (int64_t row = 0; row < s.oh * s.ow; ++row)
    for (int64_t c = 0; c < co; ++c) {
      float expected = 0;
      for (int64_t i = 0; i < k; ++i)
        expected +=
            2 * window_value(s, x, row, i / s.c, i % s.c) * w[static_cast<size_t>(c * k + i)];
      ASSERT_EQ(y[static_cast<size_t>(row * co + c)], expected) << row << " " << c;
    }
}

}  // namespace
}  // namespace tenon::simulate
