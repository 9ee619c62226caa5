#include "device/cpu/kernels/pairs.h"

#include <array>
#include <tuple>

#include "base/bytes.h"
#include "base/cpu_features.h"
#include "device/cpu/kernels/conv.h"
#include "device/cpu/kernels/gemm.h"
#include "device/cpu/kernels/half.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/test_support.h"
#include "device/cpu/kernels/winograd.h"

namespace tenon::cpu {
namespace wide16 {
const KernelTable& pair_table();
}
namespace avx512 {
const KernelTable& pair_table();
}
namespace bf16_tiles_in_memory {
const KernelTable& pair_table();
}
namespace {

// All that the processor has, the same sources doing what the instruction does by hand, and those
// for AMX with tiles in memory.
std::vector<const KernelTable*> pair_tables() {
  std::vector<const KernelTable*> tables{&wide16::pair_table()};
  if (cpu_features().avx512_bf16) tables.push_back(&avx512::pair_table());
  if (cpu_features().avx512) tables.push_back(&bf16_tiles_in_memory::pair_table());
  if (pair_kernels() != nullptr) tables.push_back(pair_kernels());
  return tables;
}

std::vector<BFloat16> random_pairs(int64_t n) {
  std::vector<BFloat16> values;
  for (const float v : random_floats(n)) values.emplace_back(v);
  return values;
}

void check(int64_t m, int64_t n, int64_t k, bool transposed, const KernelTable& table) {
  const auto a = random_pairs(m * k), b = random_pairs(k * n);
  const auto bias = random_floats(n);
  std::vector<float> packed(static_cast<size_t>(packed_b_floats(k / 2, n)));
  pack_pairs(k, n, b.data(), transposed ? k : n, transposed, packed.data());
  GuardedFloats out(m * n);
  std::vector<double> expected(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = bias[static_cast<size_t>(j)];
      for (int64_t q = 0; q < k; ++q)
        sum += static_cast<double>(static_cast<float>(a[static_cast<size_t>(i * k + q)])) *
               static_cast<double>(
                   static_cast<float>(b[static_cast<size_t>(transposed ? j * k + q : q * n + j)]));
      expected[static_cast<size_t>(i * n + j)] = sum;
    }
  GemmParams p;
  p.m = m, p.n = n, p.k = k / 2;
  p.a = as_pairs(a.data()), p.lda = k / 2;
  p.b = packed.data();
  p.c = out.data(), p.ldc = n;
  p.bias = bias.data();
  ThreadPool pool(2);
  Scratch scratch(gemm_scratch_bytes(p, 2));
  gemm(p, pool, scratch.get(), table);
  expect_near(out, expected, 2e-6 * std::sqrt(static_cast<double>(k) + 1) + 1e-6,
              std::string(table.name) + " " + std::to_string(m) + "x" + std::to_string(n) + "x" +
                  std::to_string(k));
}

// Rounded results are those of f32, rounded; a residual of bf16 counts as its numbers in f32.
void check_rounded(int64_t m, int64_t n, int64_t k, const Activation& activation, int threads,
                   const KernelTable& table) {
  const auto a = random_pairs(m * k), b = random_pairs(k * n), added = random_pairs(m * n);
  const auto bias = random_floats(n);
  std::vector<float> packed(static_cast<size_t>(packed_b_floats(k / 2, n)));
  pack_pairs(k, n, b.data(), n, false, packed.data());
  std::vector<float> residual(added.size());
  convert(added.data(), residual.data(), m * n);
  GuardedFloats wide(m * n), mixed(m * n), narrow(m * n);
  GemmParams p;
  p.m = m, p.n = n, p.k = k / 2;
  p.a = as_pairs(a.data()), p.lda = k / 2;
  p.b = packed.data(), p.bias = bias.data();
  p.ldc = p.ld_residual = n;
  p.activation = activation;
  ThreadPool pool(threads);
  const auto run = [&](GuardedFloats& y, bool narrow_c, bool narrow_residual) {
    p.c = y.data();
    p.narrow_c = narrow_c;
    p.narrow_residual = narrow_residual;
    p.residual = narrow_residual ? as_pairs(added.data()) : residual.data();
    Scratch scratch(gemm_scratch_bytes(p, threads, table));
    gemm(p, pool, scratch.get(), table);
  };
  run(wide, false, false);
  run(mixed, false, true);
  run(narrow, true, true);
  const std::string what = std::string(table.name) + " " + std::to_string(m) + "x" +
                           std::to_string(n) + "x" + std::to_string(k);
  for (int64_t i = 0; i < m * n; ++i) ASSERT_EQ(mixed[i], wide[i]) << what;
  expect_rounded(narrow, wide, what);
}

TEST(Pairs, RoundedResults) {
  for (const KernelTable* table : pair_tables())
    for (const Activation& activation : {Activation{}, kRelu, Activation{ActivationKind::kSilu}})
      for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 16, 2},
                                    {7, 50, 64},
                                    {13, 33, 130},
                                    {30, 47, 4100},
                                    {150, 70, 2300},
                                    {150, 140, 4096},
                                    {61, 32, 6},
                                    {1, 1000, 300},
                                    {2, 300, 700}})
        check_rounded(m, n, k, activation, m % 2 == 0 ? 2 : 1, *table);
}

TEST(Pairs, MatchNaiveOverShapes) {
  for (const KernelTable* table : pair_tables())
    for (const int64_t m : {1, 2, 3, 7, 12, 13, 30})
      for (const int64_t n : {1, 15, 16, 17, 32, 50})
        for (const int64_t k : {2, 6, 64, 130, 4100})
          if (m * n * k < 400'000) check(m, n, k, (m + n) % 2 == 0, *table);
}

// Windows by pieces, whose rows the tiles gather.
TEST(Pairs, Convolutions) {
  for (const KernelTable* table : pair_tables())
    for (const auto& [channels, out, groups, kernel, id] :
         {std::tuple<int64_t, int64_t, int64_t, int64_t, ConvMethodId>{16, 20, 1, 3,
                                                                       ConvMethodId::kIndirect},
          {64, 40, 1, 3, ConvMethodId::kIndirect},
          {24, 36, 2, 3, ConvMethodId::kIndirect},
          {4, 33, 1, 5, ConvMethodId::kStrip},
          {32, 3, 1, 3, ConvMethodId::kShift},
          {300, 20, 1, 3, ConvMethodId::kIndirect},
          {40, 17, 1, 1, ConvMethodId::kIndirect}}) {
      ConvParams p;
      p.batch = 2;
      for (const int d : {1, 2}) {
        p.in[d] = 7 + d, p.kernel[d] = kernel, p.pad_begin[d] = kernel / 2;
        p.out[d] = p.in[d];
      }
      p.groups = groups;
      p.in_channels = p.x_pixel_stride = channels / 2;
      p.out_channels = p.y_pixel_stride = out;
      const auto x = random_pairs(2 * p.in[1] * p.in[2] * channels);
      const auto w = random_pairs(kernel * kernel * channels / groups * out);
      const ConvMethod& method = conv_method(id);
      ASSERT_EQ(method.refusal(p), nullptr);
      std::vector<float> packed(static_cast<size_t>(method.filter_floats(p)));
      method.pack_pairs(p, w.data(), packed.data());
      const int64_t pixels = 2 * p.out[1] * p.out[2];
      GuardedFloats y(pixels * out);
      std::vector<double> expected(static_cast<size_t>(pixels * out));
      for (int64_t i = 0; i < pixels * out; ++i) {
        const int64_t o = i % out, ow = i / out % p.out[2], oh = i / out / p.out[2] % p.out[1];
        const int64_t n = i / out / p.out[2] / p.out[1], g = o / (out / groups);
        double sum = 0;
        for (int64_t kh = 0; kh < kernel; ++kh)
          for (int64_t kw = 0; kw < kernel; ++kw)
            for (int64_t c = 0; c < channels / groups; ++c) {
              const int64_t ih = oh + kh - kernel / 2, iw = ow + kw - kernel / 2;
              if (ih < 0 || ih >= p.in[1] || iw < 0 || iw >= p.in[2]) continue;
              const auto at = static_cast<size_t>(((n * p.in[1] + ih) * p.in[2] + iw) * channels +
                                                  g * (channels / groups) + c);
              const auto wt =
                  static_cast<size_t>(((kh * kernel + kw) * (channels / groups) + c) * out + o);
              sum += static_cast<double>(static_cast<float>(x[at])) *
                     static_cast<double>(static_cast<float>(w[wt]));
            }
        expected[static_cast<size_t>(i)] = sum;
      }
      p.x = as_pairs(x.data()), p.filter = packed.data(), p.y = y.data();
      ThreadPool pool(2);
      Scratch scratch(method.scratch_bytes(p, 2, *table));
      method.run(p, pool, scratch.get(), *table);
      expect_near(y, expected, 1e-4, std::string(table->name) + " " + std::to_string(channels));
      if (!method.can_round) continue;
      GuardedFloats rounded(pixels * out);
      p.y = rounded.data();
      p.narrow_y = true;
      Scratch larger(method.scratch_bytes(p, 2, *table));
      method.run(p, pool, larger.get(), *table);
      expect_rounded(rounded, y, std::string(table->name) + " " + std::to_string(channels));
    }
}

// Rows of a window of an odd number of elements are filled up.
TEST(Pairs, StripsOfOddChannels) {
  const ConvMethod& method = conv_method(ConvMethodId::kStrip);
  for (const KernelTable* table : pair_tables())
    for (const auto& [channels, out, kernel, stride, side] :
         {std::array<int64_t, 5>{3, 32, 3, 2, 31},
          {3, 40, 7, 2, 20},
          {1, 8, 5, 1, 9},
          {5, 17, 2, 1, 12},
          {7, 16, 3, 3, 10}})
      for (const int threads : {1, 2}) {
        ConvParams p;
        p.batch = 2;
        for (const int d : {1, 2}) {
          p.in[d] = side + d, p.kernel[d] = kernel, p.pad_begin[d] = kernel / 2;
          p.stride[d] = stride;
          p.out[d] = (p.in[d] + 2 * (kernel / 2) - kernel) / stride + 1;
        }
        p.in_channels = p.x_pixel_stride = channels;
        p.out_channels = p.y_pixel_stride = out;
        ASSERT_EQ(method.refusal(p), nullptr);
        const auto x = random_pairs(2 * p.in[1] * p.in[2] * channels);
        const auto w = random_pairs(kernel * kernel * channels * out);
        const std::vector<float> wide_x(x.begin(), x.end()), wide_w(w.begin(), w.end());
        const int64_t results = 2 * p.out[1] * p.out[2] * out;
        std::vector<float> packed(static_cast<size_t>(method.filter_floats(p)));
        std::vector<float> expected(static_cast<size_t>(results));
        method.pack_filter(p, wide_w.data(), packed.data());
        ThreadPool pool(threads);
        const auto run = [&](float* y, bool narrow_y, const KernelTable& by) {
          p.filter = packed.data(), p.y = y, p.narrow_y = narrow_y;
          Scratch scratch(method.scratch_bytes(p, threads, by));
          method.run(p, pool, scratch.get(), by);
        };
        p.x = wide_x.data();
        run(expected.data(), false, kernels());
        p.narrow_x = true;
        p.x = as_pairs(x.data());
        packed.assign(static_cast<size_t>(method.filter_floats(p)), 0);
        method.pack_pairs(p, w.data(), packed.data());
        GuardedFloats y(results), rounded(results);
        run(y.data(), false, *table);
        run(rounded.data(), true, *table);
        const std::string what = std::string(table->name) + " " + std::to_string(channels);
        expect_near(y, {expected.begin(), expected.end()}, 1e-4, what);
        expect_rounded(rounded, y, what);
      }
}

// Relative to the norm of what is right: the transformed inputs and filters are rounded.
double winograd_error(int64_t side, int64_t channels, int64_t out, int pad, bool residual,
                      int threads, const KernelTable& table) {
  ConvParams p;
  for (const int d : {1, 2}) {
    p.in[d] = side + d, p.kernel[d] = 3, p.pad_begin[d] = pad;
    p.out[d] = p.in[d] + 2 * pad - 2;
  }
  p.in_channels = p.x_pixel_stride = channels / 2;
  p.out_channels = p.y_pixel_stride = p.residual_pixel_stride = out;
  EXPECT_EQ(winograd_pairs_refusal(p), nullptr);
  auto x = random_pairs(p.in[1] * p.in[2] * channels);
  for (BFloat16& v : x) v = BFloat16(std::max(0.0f, static_cast<float>(v)));
  const auto w = random_floats(9 * channels * out), bias = random_floats(out);
  const auto added = random_floats(p.out[1] * p.out[2] * out);
  const auto packed = std::reinterpret_pointer_cast<float>(
      allocate_aligned(static_cast<size_t>(winograd_filter_floats(p)) * sizeof(float)));
  pack_winograd_pairs(p, w.data(), packed.get());
  GuardedFloats y(p.out[1] * p.out[2] * out);
  p.x = as_pairs(x.data()), p.filter = packed.get(), p.bias = bias.data(), p.y = y.data();
  if (residual) p.residual = added.data();
  ThreadPool pool(threads);
  Scratch scratch(winograd_scratch_bytes(p, threads, table));
  run_winograd(p, pool, scratch.get(), table);
  for (const Activation& activation : {Activation{}, Activation{ActivationKind::kSilu}}) {
    GuardedFloats wide(y.size()), narrow(y.size());
    ConvParams q = p;
    q.activation = activation;
    std::vector<BFloat16> halves(added.size());
    convert(added.data(), halves.data(), static_cast<int64_t>(added.size()));
    std::vector<float> same(added.size());
    convert(halves.data(), same.data(), static_cast<int64_t>(added.size()));
    if (residual) q.residual = same.data();
    q.y = wide.data();
    run_winograd(q, pool, scratch.get(), table);
    if (residual) q.residual = as_pairs(halves.data());
    q.y = narrow.data();
    q.narrow_y = q.narrow_residual = true;
    run_winograd(q, pool, scratch.get(), table);
    expect_rounded(narrow, wide, table.name);
  }
  double wrong = 0, right = 0;
  for (int64_t i = 0; i < p.out[1] * p.out[2] * out; ++i) {
    const int64_t o = i % out, ow = i / out % p.out[2], oh = i / out / p.out[2];
    double sum = 0;
    for (int64_t tap = 0; tap < 9; ++tap) {
      const int64_t ih = oh + tap / 3 - pad, iw = ow + tap % 3 - pad;
      if (ih < 0 || ih >= p.in[1] || iw < 0 || iw >= p.in[2]) continue;
      for (int64_t c = 0; c < channels; ++c)
        sum += static_cast<double>(
                   static_cast<float>(x[static_cast<size_t>((ih * p.in[2] + iw) * channels + c)])) *
               static_cast<double>(w[static_cast<size_t>((tap * channels + c) * out + o)]);
    }
    const auto at = static_cast<size_t>(i);
    const double finish = static_cast<double>(bias[static_cast<size_t>(o)]) +
                          (residual ? static_cast<double>(added[at]) : 0.0);
    right += sum * sum;
    wrong += std::pow(static_cast<double>(y.data()[at]) - finish - sum, 2);
  }
  return std::sqrt(wrong / right);
}

// Channels that lie apart, in two parts and in one.
TEST(Pairs, WinogradReadsPartsOfItsInput) {
  std::vector<const KernelTable*> tables{&wide16::pair_table()};
  if (cpu_features().avx512_bf16) tables.push_back(&avx512::pair_table());
  constexpr int64_t kChannels = 64, kFirst = 16, kOut = 40;
  ConvParams p;
  for (const int d : {1, 2}) p.in[d] = p.out[d] = 22 + d, p.kernel[d] = 3, p.pad_begin[d] = 1;
  p.in_channels = p.x_pixel_stride = kChannels / 2;
  p.out_channels = p.y_pixel_stride = kOut;
  const int64_t pixels = p.in[1] * p.in[2];
  const auto x = random_pairs(pixels * kChannels);
  std::vector<BFloat16> first, second;
  for (int64_t i = 0; i < pixels * kChannels; ++i)
    (i % kChannels < kFirst ? first : second).push_back(x[static_cast<size_t>(i)]);
  const auto w = random_floats(9 * kChannels * kOut);
  const auto packed = std::reinterpret_pointer_cast<float>(
      allocate_aligned(static_cast<size_t>(winograd_filter_floats(p)) * sizeof(float)));
  pack_winograd_pairs(p, w.data(), packed.get());
  p.filter = packed.get();
  for (const KernelTable* table : tables) {
    ThreadPool pool(2);
    Scratch scratch(winograd_scratch_bytes(p, 2, *table));
    GuardedFloats whole(pixels * kOut), parts(pixels * kOut);
    ConvParams q = p;
    q.x = as_pairs(x.data()), q.y = whole.data();
    run_winograd(q, pool, scratch.get(), *table);
    const ChannelPart list[] = {
        {as_pairs(first.data()), kFirst / 2, kFirst / 2},
        {as_pairs(second.data()), (kChannels - kFirst) / 2, (kChannels - kFirst) / 2}};
    q = p;
    q.parts = list, q.y = parts.data();
    run_winograd(q, pool, scratch.get(), *table);
    for (int64_t i = 0; i < whole.size(); ++i)
      ASSERT_EQ(whole.data()[i], parts.data()[i]) << table->name << " " << i;
  }
}

TEST(Pairs, WinogradStaysNearTheSumsOfProducts) {
  std::vector<const KernelTable*> tables{&wide16::pair_table()};
  if (cpu_features().avx512_bf16) tables.push_back(&avx512::pair_table());
  for (const KernelTable* table : tables)
    for (const auto& [side, channels, out] :
         {std::array<int64_t, 3>{22, 64, 40}, {25, 48, 32}, {40, 32, 17}, {16, 144, 96}})
      for (const int threads : {1, 2}) {
        const double error =
            winograd_error(side, channels, out, threads % 2, side % 2 == 0, threads, *table);
        EXPECT_LT(error, 1.4e-2) << table->name << " " << channels;
        EXPECT_GT(error, 1e-4) << table->name << ": are they rounded?";
      }
}

TEST(Pairs, WinogradOnlyWhereItPays) {
  ConvParams p;
  for (const int d : {1, 2}) p.in[d] = p.out[d] = 28, p.kernel[d] = 3, p.pad_begin[d] = 1;
  p.in_channels = p.out_channels = 64;
  EXPECT_EQ(winograd_pairs_refusal(p), nullptr);
  ConvParams odd = p;
  odd.in_channels = 20;
  EXPECT_NE(winograd_pairs_refusal(odd), nullptr);
  ConvParams small = p;
  small.in[1] = small.in[2] = small.out[1] = small.out[2] = 4;
  EXPECT_NE(winograd_pairs_refusal(small), nullptr);
}

TEST(Pairs, HalvesThatLookLikeOddFloatsStayAsTheyAre) {
  // Pairs whose bits are a denormal float and a signalling NaN: only the low half counts here.
  const std::vector<BFloat16> b{BFloat16(3.0f), BFloat16(0.0f)};
  std::vector<float> packed(16);
  pack_pairs(2, 1, b.data(), 1, false, packed.data());
  const std::vector<BFloat16> a{BFloat16(2.0f), BFloat16(0.0f)};
  for (const KernelTable* table : pair_tables()) {
    float y = 0;
    GemmParams p;
    p.m = p.n = p.k = p.lda = p.ldc = 1;
    p.a = as_pairs(a.data()), p.b = packed.data(), p.c = &y;
    ThreadPool pool(1);
    gemm(p, pool, nullptr, *table);
    EXPECT_EQ(y, 6.0f) << table->name;
  }
}

TEST(Pairs, RoundingIsToNearestEven) {
  std::vector<float> x{1.0f,      1.00390625f, 1.01171875f, -1.00390625f, 1e-40f,   3.4e38f,
                       INFINITY,  -INFINITY,   NAN,         0.0f,         -0.0f,    65504.0f,
                       3.389e38f, 1.5f,        2.7182817f,  -3.1415927f,  1.0e-38f, 7.0f};
  for (const float v : random_floats(200, -1e6f, 1e6f)) x.push_back(v);
  std::vector<BFloat16> y(x.size());
  convert(x.data(), y.data(), static_cast<int64_t>(x.size()));
  std::vector<float> back(x.size());
  convert(y.data(), back.data(), static_cast<int64_t>(x.size()));
  for (const KernelTable* table : tables_under_test()) {
    std::vector<uint16_t> bits(x.size());
    table->round_bf16(x.data(), bits.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(bits[i], BFloat16(x[i]).bits) << x[i];
  }
  for (size_t i = 0; i < x.size(); ++i) {
    const BFloat16 expected(x[i]);
    EXPECT_EQ(y[i].bits, expected.bits) << x[i];
    if (!std::isnan(x[i])) {
      EXPECT_EQ(back[i], static_cast<float>(expected)) << x[i];
    }
  }
}

}  // namespace
}  // namespace tenon::cpu
