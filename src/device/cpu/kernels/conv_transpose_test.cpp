#include "device/cpu/kernels/conv_transpose.h"

#include "base/bytes.h"
#include "device/cpu/kernels/half.h"
#include "device/cpu/kernels/pairs.h"
#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace wide16 {
const KernelTable& pair_table();
}
namespace {

std::vector<double> reference(const ConvTransposeParams& p, const float* x, const float* filter,
                              const float* bias) {
  const int64_t gi = p.in_channels / p.groups, go = p.out_channels / p.groups;
  std::vector<double> y(
      static_cast<size_t>(p.batch * p.out[0] * p.out[1] * p.out[2] * p.out_channels));
  int64_t pixel = 0;
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t i = 0; i < p.in[0]; ++i)
      for (int64_t j = 0; j < p.in[1]; ++j)
        for (int64_t k = 0; k < p.in[2]; ++k, ++pixel) {
          int64_t tap = 0;
          for (int64_t kd = 0; kd < p.kernel[0]; ++kd)
            for (int64_t kh = 0; kh < p.kernel[1]; ++kh)
              for (int64_t kw = 0; kw < p.kernel[2]; ++kw, ++tap) {
                const int64_t at[3] = {i * p.stride[0] - p.pad_begin[0] + kd * p.dilation[0],
                                       j * p.stride[1] - p.pad_begin[1] + kh * p.dilation[1],
                                       k * p.stride[2] - p.pad_begin[2] + kw * p.dilation[2]};
                bool inside = true;
                for (int d = 0; d < 3; ++d) inside &= at[d] >= 0 && at[d] < p.out[d];
                if (!inside) continue;
                double* to =
                    y.data() + (((n * p.out[0] + at[0]) * p.out[1] + at[1]) * p.out[2] + at[2]) *
                                   p.out_channels;
                for (int64_t o = 0; o < p.out_channels; ++o)
                  for (int64_t c = 0; c < gi; ++c) {
                    const int64_t in = o / go * gi + c;
                    to[o] += double{x[pixel * p.in_channels + in]} *
                             filter[(tap * go + o % go) * p.in_channels + in];
                  }
              }
        }
  for (size_t e = 0; e < y.size(); ++e) {
    if (bias != nullptr) y[e] += bias[e % static_cast<size_t>(p.out_channels)];
    y[e] = reference_activation(p.activation, y[e]);
  }
  return y;
}

void check(const ConvTransposeParams& p, bool with_bias, int threads) {
  const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  const auto x = random_floats(p.batch * p.in[0] * p.in[1] * p.in[2] * p.in_channels);
  const auto filter = random_floats(taps * p.out_channels / p.groups * p.in_channels);
  const auto bias_values = random_floats(p.out_channels);
  const float* bias = with_bias ? bias_values.data() : nullptr;
  const auto expected = reference(p, x.data(), filter.data(), bias);
  const ConvTransposePlan plan(p);
  const auto packed = std::reinterpret_pointer_cast<float>(
      allocate_aligned(static_cast<size_t>(plan.filter_floats()) * sizeof(float)));
  plan.pack_filter(filter.data(), packed.get());
  std::string name = " channels " + std::to_string(p.in_channels) + "/" +
                     std::to_string(p.out_channels) + " groups " + std::to_string(p.groups);
  for (int d = 0; d < 3; ++d)
    name += " [in " + std::to_string(p.in[d]) + " out " + std::to_string(p.out[d]) + " kernel " +
            std::to_string(p.kernel[d]) + " stride " + std::to_string(p.stride[d]) + " dilation " +
            std::to_string(p.dilation[d]) + " pad " + std::to_string(p.pad_begin[d]) + "]";
  for (const KernelTable* table : tables_under_test()) {
    GuardedFloats y(static_cast<int64_t>(expected.size()));
    ThreadPool pool(threads);
    Scratch scratch(plan.scratch_bytes(threads, *table));
    plan.run(x.data(), packed.get(), bias, y.data(), pool, scratch.get(), *table);
    expect_near(y, expected, 2e-5, table->name + name);
  }
}

int64_t pick(std::initializer_list<int64_t> values) {
  std::uniform_int_distribution<size_t> index(0, values.size() - 1);
  return values.begin()[index(test_random())];
}

TEST(ConvTranspose, MatchesNaiveOverRandomCases) {
  for (int i = 0; i < 300; ++i) {
    ConvTransposeParams p;
    p.batch = pick({1, 1, 2});
    p.groups = pick({1, 1, 1, 2, 4});
    p.in_channels = p.groups * pick({1, 1, 3, 8, 20});
    p.out_channels = p.groups * pick({1, 2, 5, 16, 18});
    if (pick({0, 1}) != 0) p.activation = kRelu;
    for (int d = static_cast<int>(pick({0, 1, 1, 1, 2})); d < 3; ++d) {
      p.in[d] = pick({1, 2, 5, 8});
      p.kernel[d] = pick({1, 2, 3, 4, 5});
      p.stride[d] = pick({1, 2, 2, 3});
      p.dilation[d] = pick({1, 1, 2, 3});
      p.pad_begin[d] = pick({0, 0, 1, 2});
      const int64_t full = (p.in[d] - 1) * p.stride[d] + (p.kernel[d] - 1) * p.dilation[d] + 1;
      p.out[d] = std::max<int64_t>(0, full - p.pad_begin[d] - pick({0, 1, 2}) + pick({0, 1, 4}));
    }
    check(p, pick({0, 1}) != 0, static_cast<int>(pick({1, 2})));
    if (HasFatalFailure()) return;
  }
}

// Pixels side by side that see one pixel of x; long lines of them are written where they belong.
TEST(ConvTranspose, StridesAsLongAsTheKernel) {
  for (const int64_t width : {5, 24, 37})
    for (const int64_t stride : {2, 3})
      for (const int64_t more_rows : {0, 1})
        for (const int64_t channels : {1, 16, 21}) {
          ConvTransposeParams p;
          p.batch = 2;
          p.in_channels = 19;
          p.out_channels = channels;
          p.activation = kRelu;
          const int64_t in[3] = {2, 3, width};
          for (int d = 0; d < 3; ++d) {
            p.in[d] = in[d];
            p.kernel[d] = p.stride[d] = d == 0 ? 1 : stride;
            p.out[d] = p.in[d] * p.stride[d];
          }
          p.out[1] += more_rows;
          for (const int threads : {1, 2}) check(p, channels != 1, threads);
          p.batch = 0;
          check(p, true, 1);
        }
}

// Against floats: products of numbers of few bits are the same.
TEST(ConvTranspose, OfPairsIsThatOfFloats) {
  const auto few_bits = [](int64_t n) {
    std::vector<float> values(static_cast<size_t>(n));
    for (float& v : values) v = static_cast<float>(pick({-3, -2, -1, 0, 1, 2, 3})) / 4;
    return values;
  };
  for (int i = 0; i < 100; ++i) {
    ConvTransposeParams p;
    p.groups = pick({1, 1, 2});
    p.in_channels = p.groups * pick({2, 8, 20, 40});
    p.out_channels = p.groups * pick({1, 3, 16, 18});
    for (const int d : {1, 2}) {
      p.in[d] = pick({1, 4, 7});
      p.kernel[d] = pick({1, 2, 3, 4});
      p.stride[d] = pick({1, 2, 2});
      p.pad_begin[d] = pick({0, 1});
      p.out[d] = std::max<int64_t>(1, (p.in[d] - 1) * p.stride[d] + p.kernel[d] - p.pad_begin[d]);
    }
    const auto x = few_bits(p.in[1] * p.in[2] * p.in_channels);
    const auto filter =
        few_bits(p.kernel[1] * p.kernel[2] * p.out_channels / p.groups * p.in_channels);
    std::vector<BFloat16> narrow(x.size());
    convert(x.data(), narrow.data(), static_cast<int64_t>(x.size()));
    const int64_t y_floats = p.out[1] * p.out[2] * p.out_channels;
    GuardedFloats want(y_floats), got(y_floats);
    ConvTransposeParams halved = p;
    halved.in_channels /= 2;
    ThreadPool pool(static_cast<int>(pick({1, 2})));
    for (const bool pairs : {false, true}) {
      const ConvTransposePlan plan(pairs ? halved : p, pairs);
      const KernelTable& table = pairs ? wide16::pair_table() : wide16::kernel_table();
      std::vector<float> packed(static_cast<size_t>(plan.filter_floats()));
      plan.pack_filter(filter.data(), packed.data());
      Scratch scratch(plan.scratch_bytes(pool.threads(), table));
      plan.run(pairs ? as_pairs(narrow.data()) : x.data(), packed.data(), nullptr,
               (pairs ? got : want).data(), pool, scratch.get(), table);
    }
    expect_near(got, {want.data(), want.data() + y_floats}, 1e-5, "case " + std::to_string(i));
    if (HasFatalFailure()) return;
  }
}

// --strict: stride 1 is a convolution, which Winograd's algorithm would take.
TEST(ConvTranspose, StrictMultipliesWhatIsMeant) {
  ConvTransposeParams p;
  p.in_channels = p.out_channels = 64;
  for (const int d : {1, 2}) p.in[d] = p.out[d] = 28, p.kernel[d] = 3, p.pad_begin[d] = 1;
  EXPECT_NE(ConvTransposePlan(p).layout_name().find("winograd"), std::string::npos);
  p.strict = true;
  EXPECT_EQ(ConvTransposePlan(p).layout_name().find("winograd"), std::string::npos);
  check(p, true, 2);
}

TEST(ConvTranspose, NothingToDo) {
  ConvTransposeParams p;
  p.in[2] = 4, p.out[2] = 8, p.kernel[2] = p.stride[2] = 2;
  p.in_channels = 0, p.out_channels = 3;
  check(p, true, 1);
  p.in_channels = 3, p.out_channels = 0;
  check(p, true, 1);
  p.out_channels = 3, p.batch = 0;
  check(p, true, 1);
}

}  // namespace
}  // namespace tenon::cpu
