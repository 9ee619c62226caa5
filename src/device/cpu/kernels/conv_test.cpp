#include "device/cpu/kernels/conv.h"

#include <algorithm>

#include "base/bytes.h"
#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace {

struct ConvCase {
  ConvParams p;
  bool bias = false;
  bool residual = false;
  bool in_place = false;
  int64_t extra = 0;  // floats between pixels
  int threads = 1;
};

std::string name_of(const ConvCase& c, const ConvMethod& method, const KernelTable& table) {
  const ConvParams& p = c.p;
  std::string s = std::string(method.name) + " " + table.name + " batch " +
                  std::to_string(p.batch) + " channels " + std::to_string(p.in_channels) + "/" +
                  std::to_string(p.out_channels) + " groups " + std::to_string(p.groups) +
                  " threads " + std::to_string(c.threads);
  for (int d = 0; d < 3; ++d)
    s += " [in " + std::to_string(p.in[d]) + " out " + std::to_string(p.out[d]) + " kernel " +
         std::to_string(p.kernel[d]) + " stride " + std::to_string(p.stride[d]) + " dilation " +
         std::to_string(p.dilation[d]) + " pad " + std::to_string(p.pad_begin[d]) + "]";
  return s;
}

std::vector<double> reference(const ConvParams& p, const float* filter, const float* y_before,
                              int64_t y_floats) {
  std::vector<double> expected(y_before, y_before + y_floats);
  const int64_t gi = p.in_channels / p.groups, go = p.out_channels / p.groups;
  int64_t pixel = 0;
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t od = 0; od < p.out[0]; ++od)
      for (int64_t oh = 0; oh < p.out[1]; ++oh)
        for (int64_t ow = 0; ow < p.out[2]; ++ow, ++pixel)
          for (int64_t o = 0; o < p.out_channels; ++o) {
            double sum = p.bias != nullptr ? p.bias[o] : 0;
            if (p.residual != nullptr) sum += p.residual[pixel * p.residual_pixel_stride + o];
            int64_t tap = 0;
            for (int64_t kd = 0; kd < p.kernel[0]; ++kd)
              for (int64_t kh = 0; kh < p.kernel[1]; ++kh)
                for (int64_t kw = 0; kw < p.kernel[2]; ++kw, ++tap) {
                  const int64_t id = od * p.stride[0] - p.pad_begin[0] + kd * p.dilation[0];
                  const int64_t ih = oh * p.stride[1] - p.pad_begin[1] + kh * p.dilation[1];
                  const int64_t iw = ow * p.stride[2] - p.pad_begin[2] + kw * p.dilation[2];
                  if (id < 0 || id >= p.in[0] || ih < 0 || ih >= p.in[1] || iw < 0 || iw >= p.in[2])
                    continue;
                  const float* x =
                      p.x +
                      (((n * p.in[0] + id) * p.in[1] + ih) * p.in[2] + iw) * p.x_pixel_stride +
                      o / go * gi;
                  for (int64_t i = 0; i < gi; ++i)
                    sum += double{x[i]} * filter[(tap * gi + i) * p.out_channels + o];
                }
            expected[static_cast<size_t>(pixel * p.y_pixel_stride + o)] =
                reference_activation(p.activation, sum);
          }
  return expected;
}

// Runs every method that takes the case, and `also` whether it would or not; returns how many did.
int check(const ConvCase& c, const ConvMethod* also = nullptr) {
  ConvParams p = c.p;
  const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  const int64_t in_pixels = p.batch * p.in[0] * p.in[1] * p.in[2];
  const int64_t out_pixels = p.batch * p.out[0] * p.out[1] * p.out[2];
  p.x_pixel_stride = p.in_channels + c.extra;
  p.y_pixel_stride = p.out_channels + 2 * c.extra;
  p.residual_pixel_stride = c.in_place ? p.y_pixel_stride : p.out_channels + c.extra;
  const auto x = random_floats(in_pixels * p.x_pixel_stride);
  const auto filter = random_floats(taps * (p.in_channels / p.groups) * p.out_channels);
  const auto bias = random_floats(p.out_channels);
  const auto residual = random_floats(out_pixels * p.residual_pixel_stride);
  p.x = x.data();
  p.bias = c.bias ? bias.data() : nullptr;
  const int64_t terms = taps * p.in_channels / p.groups;
  const double length = static_cast<double>(terms);
  int ran = 0;
  constexpr double kWinogradError = 4, kLargeTilesError = 8;  // times that of a plain sum
  for (const ConvMethod& method : conv_methods()) {
    if (&method != also && method.refusal(p) != nullptr) continue;
    ++ran;
    const auto packed = std::reinterpret_pointer_cast<float>(
        allocate_aligned(static_cast<size_t>(method.filter_floats(p)) * sizeof(float)));
    method.pack_filter(p, filter.data(), packed.get());
    for (const KernelTable* table : tables_under_test()) {
      GuardedFloats y(out_pixels * p.y_pixel_stride);
      if (c.in_place) std::copy(residual.begin(), residual.end(), y.data());
      p.residual = !c.residual ? nullptr : c.in_place ? y.data() : residual.data();
      p.y = y.data();
      const auto expected = reference(p, filter.data(), y.data(), y.size());
      ConvParams q = p;
      q.filter = packed.get();
      ThreadPool pool(c.threads);
      const int64_t bytes = method.scratch_bytes(q, c.threads, *table);
      Scratch scratch(bytes);
      method.run(q, pool, scratch.get(), *table);
      const double slack = method.id == ConvMethodId::kWinogradF6 ? kLargeTilesError
                           : method.share < 1                     ? kWinogradError
                                                                  : 1;
      expect_near(y, expected, slack * (2e-6 * std::sqrt(length + 1) + 1e-6),
                  name_of(c, method, *table));
      if (testing::Test::HasFatalFailure()) return ran;
    }
  }
  return ran;
}

// A case with the given dims; `out` as large as the pads allow.
ConvCase make_case(std::vector<int64_t> in, std::vector<int64_t> kernel, int64_t stride,
                   int64_t dilation, int64_t pad_begin, int64_t pad_end, int64_t channels_in,
                   int64_t channels_out, int64_t groups = 1) {
  ConvCase c;
  for (size_t i = 0; i < in.size(); ++i) {
    const size_t d = 3 - in.size() + i;
    c.p.in[d] = in[i];
    c.p.kernel[d] = kernel[i];
    c.p.stride[d] = stride;
    c.p.dilation[d] = dilation;
    c.p.pad_begin[d] = pad_begin;
    c.p.out[d] = std::max<int64_t>(
        0, (in[i] + pad_begin + pad_end - (kernel[i] - 1) * dilation - 1) / stride + 1);
  }
  c.p.in_channels = channels_in;
  c.p.out_channels = channels_out;
  c.p.groups = groups;
  return c;
}

int64_t pick(std::initializer_list<int64_t> values) {
  std::uniform_int_distribution<size_t> index(0, values.size() - 1);
  return values.begin()[index(test_random())];
}

Activation pick_activation() {
  const Activation all[] = {
      {}, {}, kRelu, kRelu6, {ActivationKind::kSilu}, {ActivationKind::kTanh}};
  return all[pick({0, 1, 2, 3, 4, 5})];
}

// What any case may have besides its dims.
void vary(ConvCase& c, std::initializer_list<int64_t> threads) {
  c.p.batch = pick({1, 1, 2});
  c.bias = pick({0, 1}) != 0;
  c.residual = pick({0, 1}) != 0;
  c.in_place = c.residual && pick({0, 1}) != 0;
  c.extra = pick({0, 3});
  c.threads = static_cast<int>(pick(threads));
  c.p.activation = pick_activation();
}

TEST(Conv, MatchesNaiveOverRandomCases) {
  for (int i = 0; i < 400; ++i) {
    const int64_t groups = pick({1, 1, 1, 2, 3, 8});
    const int64_t rank = pick({1, 2, 2, 2, 3});
    std::vector<int64_t> in, kernel;
    for (int64_t d = 0; d < rank; ++d) {
      kernel.push_back(pick({1, 2, 3, 3, 5}));
      in.push_back(pick({1, 3, 7, 11, rank == 3 ? 4 : 20}));
    }
    ConvCase c = make_case(in, kernel, pick({1, 1, 2, 3}), pick({1, 1, 2}), pick({0, 1, 2}),
                           pick({0, 1, 3}), groups * pick({1, 2, 3, 8, 16, 21}),
                           groups * pick({1, 5, 8, 16, 17, 33, 40}), groups);
    vary(c, {1, 1, 2, 3});
    EXPECT_GE(check(c), 1);
    if (HasFatalFailure()) return;
  }
}

TEST(Conv, DepthwiseMatchesNaiveOverRandomCases) {
  for (int i = 0; i < 300; ++i) {
    const int64_t rank = pick({1, 2, 2, 2, 3});
    std::vector<int64_t> in, kernel;
    for (int64_t d = 0; d < rank; ++d) {
      kernel.push_back(pick({1, 2, 3, 3, 5, 7}));
      in.push_back(pick({1, 4, 7, 10, rank == 3 ? 5 : 23}));
    }
    const int64_t channels = pick({2, 3, 8, 15, 16, 31, 64, 70}),
                  multiplier = pick({1, 1, 1, 2, 3});
    ConvCase c = make_case(in, kernel, pick({1, 1, 2, 3}), pick({1, 1, 2}), pick({0, 1, 2, 6}),
                           pick({0, 1, 3}), channels, channels * multiplier, channels);
    vary(c, {1, 1, 2, 3});
    EXPECT_GE(check(c), 2);
    if (HasFatalFailure()) return;
  }
}

// Neighbouring pixels that fill vectors together.
TEST(Conv, DepthwiseOfHalfVectorsMatchesNaive) {
  for (const int64_t channels : {4, 8, 12, 24, 40, 72})
    for (const int64_t taps : {1, 3, 5, 7})
      for (const int64_t width : {7, 8, 9, 13, 26, 47}) {
        ConvCase c = make_case({5, width}, {3, taps}, 1, pick({1, 1, 1, 2}), pick({0, 1, 2, 3}),
                               pick({0, 1, 2, 3}), channels, channels, channels);
        vary(c, {1, 2});
        c.extra = pick({0, 0, 0, 3});
        EXPECT_GE(check(c), 2);
        if (HasFatalFailure()) return;
      }
}

// A convolution of groups with windows of all kinds, and rows of few and of many pixels.
ConvCase pick_grouped(int64_t group_in, int64_t group_out, int64_t groups) {
  const int64_t rank = pick({1, 2, 2, 2, 3});
  std::vector<int64_t> in, kernel;
  for (int64_t d = 0; d < rank; ++d) {
    kernel.push_back(pick({1, 2, 3, 3, 3, 5, 7}));
    in.push_back(pick({1, 4, 7, 10, rank == 3 ? 5 : 23, rank == 3 ? 6 : 14}));
  }
  ConvCase c = make_case(in, kernel, pick({1, 1, 2, 3}), pick({1, 1, 2}), pick({-1, 0, 1, 1, 2, 6}),
                         pick({0, 1, 3}), group_in * groups, group_out * groups, groups);
  vary(c, {1, 1, 2, 3});
  return c;
}

TEST(Conv, NarrowGroupsMatchNaiveOverRandomCases) {
  const ConvMethod& grouped = conv_method(ConvMethodId::kGrouped);
  for (int i = 0; i < 400; ++i) {
    const int64_t out = pick({2, 4, 8});
    const int64_t in = pick({1, out / 2, out, out, out});
    const ConvCase c = pick_grouped(in, out, pick({2, 3, 7, 12}));
    EXPECT_EQ(grouped.refusal(c.p), nullptr);
    EXPECT_GE(check(c), 2);
    if (HasFatalFailure()) return;
  }
  const auto refused = [&](int64_t in, int64_t out, int64_t groups) {
    return grouped.refusal(make_case({7}, {3}, 1, 1, 1, 1, in, out, groups).p) != nullptr;
  };
  EXPECT_TRUE(refused(16, 16, 1));
  EXPECT_TRUE(refused(16, 16, 16));
  EXPECT_TRUE(refused(16, 8, 2));   // more inputs than outputs
  EXPECT_TRUE(refused(24, 24, 4));  // of six
  EXPECT_TRUE(refused(32, 32, 2));
}

TEST(Conv, WideGroupsMatchNaiveOverRandomCases) {
  const ConvMethod& grouped = conv_method(ConvMethodId::kGroupedWide);
  int taken = 0;
  for (int i = 0; i < 60; ++i) {
    const int64_t out = pick({16, 17, 24, 32, 40, 48}), in = pick({1, 3, 16, out});
    ConvCase c = pick_grouped(in, out, 2);
    if (i % 3 == 0) {
      c = make_case({5, pick({7, 9, 15, 20})}, {3, 3}, pick({1, 2}), 1, 1, 1, 2 * in, 2 * out, 2);
      vary(c, {1, 2});
    }
    taken += grouped.refusal(c.p) == nullptr ? 1 : 0;
    EXPECT_GE(check(c), 1);
    if (HasFatalFailure()) return;
    check(c, &grouped);  // of single taps
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(taken, 10);
  // Pixels that are a multiple of a page apart, whose taps are taken one by one.
  const ConvCase apart = make_case({3, 15}, {3, 3}, 2, 1, 1, 1, 1024, 768, 16);
  EXPECT_EQ(grouped.refusal(apart.p), nullptr);
  check(apart);
  EXPECT_NE(grouped.refusal(make_case({7}, {1}, 1, 1, 0, 0, 64, 64, 2).p), nullptr);
  EXPECT_NE(grouped.refusal(make_case({20}, {3}, 1, 1, 1, 1, 16, 16, 2).p), nullptr);
}

TEST(Conv, DeepAndWide) {
  for (const int threads : {1, 2}) {
    ConvCase c = make_case({7, 7}, {3, 3}, 1, 1, 1, 1, 300, 70);
    c.bias = c.residual = true;
    c.threads = threads;
    c.p.activation = kRelu;
    check(c);
    c = make_case({3, 3}, {2, 2}, 1, 1, 0, 0, 1100, 40);  // more channels than one pass takes
    c.bias = c.residual = true;
    c.threads = threads;
    check(c);
    c = make_case({64, 61}, {3, 3}, 2, 1, 0, 1, 24, 33);  // more pixels than one list holds
    c.threads = threads;
    check(c);
    c = make_case({900}, {25}, 4, 1, 12, 12, 1, 20);
    c.threads = threads;
    check(c);
    c = make_case({50, 53}, {7, 7}, 2, 1, 3, 3, 3, 64);
    c.threads = threads;
    check(c);
    c = make_case({30, 31}, {3, 3}, 1, 14, 14, 14, 20, 36);  // taps outside for whole tiles
    c.bias = true;
    c.threads = threads;
    check(c);
  }
}

TEST(Conv, FewFiltersMatchNaive) {
  const ConvMethod& shift = conv_method(ConvMethodId::kShift);
  int taken = 0;
  for (int i = 0; i < 200; ++i) {
    ConvCase c = make_case({pick({1, 3, 9, 40}), pick({1, 4, 13, 60})},
                           {pick({1, 2, 3, 3, 5}), pick({1, 3, 3, 4, 7})}, 1, pick({1, 1, 2, 3}),
                           pick({-1, 0, 1, 2, 4}), pick({0, 1, 3}), pick({16, 24, 33, 64}),
                           pick({1, 2, 3, 4, 5, 8, 11}));
    vary(c, {1, 2, 3});
    taken += shift.refusal(c.p) == nullptr ? 1 : 0;
    EXPECT_GE(check(c), 1);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(taken, 50);
  EXPECT_NE(shift.refusal(make_case({28, 28}, {3, 3}, 1, 1, 1, 1, 64, 16).p), nullptr);
  EXPECT_NE(shift.refusal(make_case({28, 28}, {3, 3}, 2, 1, 1, 1, 64, 3).p), nullptr);
  EXPECT_NE(shift.refusal(make_case({28, 28}, {1, 1}, 1, 1, 0, 0, 64, 3).p), nullptr);
}

// What the taps of one plane give is added to that of another.
TEST(Conv, FewFiltersOfVolumesMatchNaive) {
  const ConvMethod& shift = conv_method(ConvMethodId::kShift);
  int taken = 0;
  for (int i = 0; i < 100; ++i) {
    ConvCase c = make_case({pick({2, 5, 8}), pick({3, 9, 17}), pick({4, 13, 21})},
                           {pick({1, 2, 3}), pick({2, 3, 5}), 3}, 1, pick({1, 1, 2}),
                           pick({0, 1, 2}), pick({0, 1}), pick({16, 24, 33}), pick({1, 2, 5, 8}));
    c.p.stride[0] = pick({1, 2});
    c.p.out[0] = (c.p.out[0] - 1) / c.p.stride[0] + 1;
    vary(c, {1, 2});
    taken += shift.refusal(c.p) == nullptr ? 1 : 0;
    EXPECT_GE(check(c), 1);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(taken, 30);
}

TEST(Conv, WinogradMatchesNaive) {
  const ConvMethod& winograd = conv_method(ConvMethodId::kWinograd);
  int taken = 0;
  for (int i = 0; i < 60; ++i) {
    ConvCase c =
        make_case({pick({12, 13, 22, 31}), pick({12, 15, 29})}, {3, 3}, 1, 1, pick({-1, 0, 1, 2}),
                  pick({0, 1, 3}), pick({32, 40, 64, 77}), pick({16, 17, 32, 40, 96, 101}));
    vary(c, {1, 2, 3});
    taken += winograd.refusal(c.p) == nullptr ? 1 : 0;
    EXPECT_GE(check(c), 1);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(taken, 10);
  // Worth it only for 3x3 with enough of everything.
  EXPECT_NE(winograd.refusal(make_case({28, 28}, {3, 3}, 2, 1, 1, 1, 64, 64).p), nullptr);
  EXPECT_NE(winograd.refusal(make_case({28, 28}, {3, 3}, 1, 13, 13, 13, 64, 64).p), nullptr);
  EXPECT_NE(winograd.refusal(make_case({7, 7}, {3, 3}, 1, 1, 1, 1, 512, 512).p), nullptr);
  EXPECT_NE(winograd.refusal(make_case({28, 28}, {3, 3}, 1, 1, 1, 1, 64, 64, 2).p), nullptr);
}

TEST(Conv, WinogradOfSixOutputsMatchesNaive) {
  const ConvMethod& method = conv_method(ConvMethodId::kWinogradF6);
  for (int i = 0; i < 20; ++i) {
    ConvCase c = make_case({pick({6, 17, 24, 31}), pick({12, 18, 25})}, {3, 3}, 1, pick({1, 1, 2}),
                           pick({0, 1, 2}), pick({0, 1, 3}), pick({32, 40, 77}),
                           pick({16, 17, 40, 96, 101}));
    vary(c, {1, 2, 3});
    check(c, &method);
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(method.refusal(make_case({60, 60}, {3, 3}, 1, 1, 1, 1, 64, 64).p), nullptr);
  // Maps that tiles fit badly, other kernels, large filters.
  EXPECT_NE(method.refusal(make_case({14, 14}, {3, 3}, 1, 1, 1, 1, 64, 64).p), nullptr);
  EXPECT_NE(method.refusal(make_case({60, 60}, {5, 5}, 1, 1, 2, 2, 64, 64).p), nullptr);
  EXPECT_NE(method.refusal(make_case({60, 60}, {1, 3}, 1, 1, 0, 0, 64, 64).p), nullptr);
  EXPECT_NE(method.refusal(make_case({60, 60}, {3, 3}, 1, 1, 1, 1, 256, 256).p), nullptr);
}

TEST(Conv, WinogradOfFiltersTransformedByTheRunMatchesNaive) {
  const ConvMethod& method = conv_method(ConvMethodId::kWinogradPanels);
  for (int i = 0; i < 6; ++i) {
    ConvCase c = make_case({pick({12, 13, 22}), pick({12, 15})}, {3, 3}, 1, pick({1, 2}),
                           pick({0, 1, 2}), pick({1, 3}), pick({32, 77, 300}), pick({16, 48, 144}));
    vary(c, {1, 2, 3});
    check(c, &method);
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(method.refusal(make_case({16, 16}, {3, 3}, 1, 1, 1, 1, 512, 512).p), nullptr);
  EXPECT_NE(method.refusal(make_case({64, 64}, {3, 3}, 1, 1, 1, 1, 512, 512).p), nullptr);
  EXPECT_NE(method.refusal(make_case({16, 16}, {3, 3}, 1, 1, 1, 1, 256, 256).p), nullptr);
  EXPECT_NE(method.refusal(make_case({16, 16}, {3, 3}, 1, 1, 1, 1, 512, 520).p), nullptr);
}

TEST(Conv, WinogradOfLinesDepthAndDilationMatchesNaive) {
  const ConvMethod& winograd = conv_method(ConvMethodId::kWinograd);
  int taken = 0;
  for (int i = 0; i < 60; ++i) {
    const int64_t dilation = pick({1, 1, 2, 3});
    std::vector<int64_t> kernel{3, 3, 3};
    const int64_t line = pick({0, 1, 2, 3, 4});
    for (size_t d = 0; line < 3 && d < 3; ++d) kernel[d] = static_cast<int64_t>(d) == line ? 3 : 1;
    if (line == 4) kernel[0] = pick({1, 2, 5});
    ConvCase c = make_case({pick({1, 5, 11}), pick({8, 12, 15}), pick({7, 13, 24})}, kernel, 1,
                           dilation, pick({0, 1, 2}), pick({0, 1, 4}), pick({32, 40, 77}),
                           pick({16, 17, 32, 40, 101}));
    for (int d = 0; d < 3; ++d)
      if (c.p.kernel[d] == 1) c.p.pad_begin[d] = 0, c.p.out[d] = c.p.in[d];
    if (line == 3 && pick({0, 1}) == 1) {
      c.p.stride[0] = 2;
      c.p.out[0] = (c.p.out[0] + 1) / 2;
    }
    vary(c, {1, 2, 3});
    taken += winograd.refusal(c.p) == nullptr ? 1 : 0;
    EXPECT_GE(check(c), 1);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(taken, 10);
}

// Of more than three taps, or of two: groups of three.
TEST(Conv, WinogradOfLongKernelsMatchesNaive) {
  const ConvMethod& winograd = conv_method(ConvMethodId::kWinograd);
  int taken = 0;
  for (int i = 0; i < 40; ++i) {
    std::vector<int64_t> kernel{pick({1, 1, 2}), pick({2, 4, 5, 7}), pick({2, 3, 5, 6})};
    const int64_t line = pick({0, 1, 2, 3, 4});
    for (size_t d = 0; line < 3 && d < 3; ++d)
      kernel[d] = static_cast<int64_t>(d) == line ? pick({2, 4, 5, 7, 9}) : 1;
    ConvCase c =
        make_case({pick({1, 9}), pick({12, 15}), pick({14, 24})}, kernel, 1, pick({1, 1, 2}),
                  pick({0, 1, 3}), pick({0, 2, 4}), pick({32, 40}), pick({32, 40}));
    for (int d = 0; d < 3; ++d)
      if (c.p.kernel[d] == 1) c.p.pad_begin[d] = 0, c.p.out[d] = c.p.in[d];
    vary(c, {1, 2, 3});
    taken += winograd.refusal(c.p) == nullptr ? 1 : 0;
    EXPECT_GE(check(c), 1);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(taken, 5);
}

TEST(Conv, NothingToDo) {
  check(make_case({0, 5}, {3, 3}, 1, 1, 0, 0, 4, 8));
  check(make_case({5, 5}, {3, 3}, 1, 1, 1, 1, 0, 8));
  check(make_case({5, 5}, {3, 3}, 1, 1, 1, 1, 4, 0));
  check(make_case({5, 5}, {1, 1}, 1, 1, 0, 0, 0, 3));
  check(make_case({5, 5}, {3, 3}, 1, 1, 9, 9, 4, 8));  // windows without an input pixel
  check(make_case({5, 5}, {3, 3}, 1, 1, -1, -1, 4, 8));
  check(make_case({5, 5}, {3, 3}, 1, 1, -1, -1, 4, 4, 4));
  ConvCase c = make_case({5, 5}, {3, 3}, 1, 1, 1, 1, 4, 8);
  c.p.batch = 0;
  check(c);
}

}  // namespace
}  // namespace tenon::cpu
