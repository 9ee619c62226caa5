// Depthwise convolutions of bf16 against those of f32.
#include "base/cpu_features.h"
#include "device/cpu/kernels/conv.h"
#include "device/cpu/kernels/half.h"
#include "device/cpu/kernels/pairs.h"
#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace wide16 {
const KernelTable& pair_table();
}
namespace avx512 {
const KernelTable& pair_table();
}
namespace {

std::vector<const KernelTable*> tables_of_pairs() {
  std::vector<const KernelTable*> tables{&wide16::pair_table()};
  if (cpu_features().avx512_bf16) tables.push_back(&avx512::pair_table());
  if (pair_kernels() != nullptr) tables.push_back(pair_kernels());
  return tables;
}

struct Window {
  int64_t side = 1, kernel = 1, stride = 1, dilation = 1, pad = 0;
};

ConvParams params_of(const Window& w, int64_t channels, int64_t depth) {
  ConvParams p;
  p.batch = 2;
  for (const int d : {1, 2}) {
    p.in[d] = w.side + d - 1;
    p.kernel[d] = w.kernel, p.stride[d] = w.stride, p.dilation[d] = w.dilation;
    p.pad_begin[d] = w.pad;
    p.out[d] = (p.in[d] + 2 * w.pad - (w.kernel - 1) * w.dilation - 1) / w.stride + 1;
  }
  if (depth > 1) p.in[0] = p.out[0] = depth, p.kernel[0] = 3, p.pad_begin[0] = 1;
  p.groups = p.in_channels = p.x_pixel_stride = p.out_channels = p.y_pixel_stride = channels;
  return p;
}

void check(const Window& window, int64_t channels, const Activation& activation, int threads,
           int64_t depth = 1) {
  ConvParams p = params_of(window, channels, depth);
  p.activation = activation;
  const ConvMethod& method = conv_method(ConvMethodId::kDepthwise);
  const auto narrowed = [](int64_t n) {
    const auto values = random_floats(n);
    return std::vector<BFloat16>(values.begin(), values.end());
  };
  const auto widened = [](const std::vector<BFloat16>& x) {
    return std::vector<float>(x.begin(), x.end());
  };
  const auto x = narrowed(p.batch * p.in[0] * p.in[1] * p.in[2] * channels);
  const auto filter = narrowed(p.kernel[0] * p.kernel[1] * p.kernel[2] * channels);
  const auto bias = random_floats(channels);
  if (channels % 3 != 0) p.bias = bias.data();
  const int64_t results = p.batch * p.out[0] * p.out[1] * p.out[2] * channels;
  const std::string what =
      std::to_string(channels) + " channels, side " + std::to_string(window.side) + ", kernel " +
      std::to_string(window.kernel) + ", stride " + std::to_string(window.stride);
  ThreadPool pool(threads);

  const auto wide_x = widened(x), wide_filter = widened(filter);
  std::vector<float> expected(static_cast<size_t>(results)), packed;
  packed.resize(static_cast<size_t>(method.filter_floats(p)));
  method.pack_filter(p, wide_filter.data(), packed.data());
  p.x = wide_x.data(), p.filter = packed.data(), p.y = expected.data();
  method.run(p, pool, nullptr, kernels());

  p.narrow_x = true;
  ASSERT_EQ(method.refusal(p), nullptr);
  packed.resize(static_cast<size_t>(method.filter_floats(p)));
  method.pack_pairs(p, filter.data(), packed.data());
  p.x = as_pairs(x.data()), p.filter = packed.data();
  for (const KernelTable* table : tables_of_pairs()) {
    GuardedFloats wide(results), narrow(results);
    p.narrow_y = false, p.y = wide.data();
    method.run(p, pool, nullptr, *table);
    expect_near(wide, {expected.begin(), expected.end()}, 1e-5, table->name + (" " + what));
    p.narrow_y = true, p.y = narrow.data();
    method.run(p, pool, nullptr, *table);
    expect_rounded(narrow, wide, table->name + (" " + what));
  }
}

TEST(DepthwisePairs, WindowsOfAllKinds) {
  for (const Window& window :
       {Window{14, 3, 1, 1, 1}, Window{15, 3, 2, 1, 1}, Window{9, 5, 1, 1, 2},
        Window{17, 5, 2, 1, 1}, Window{20, 7, 1, 1, 3}, Window{1, 3, 1, 1, 1},
        Window{12, 3, 1, 2, 2}, Window{11, 4, 3, 1, 0}, Window{8, 1, 1, 1, 0},
        Window{3, 7, 1, 1, 3}, Window{30, 3, 1, 1, 0}, Window{9, 2, 1, 1, 1}})
    for (const int64_t channels : {32, 40, 96})
      check(window, channels, {}, static_cast<int>(window.side % 2 + 1));
}

TEST(DepthwisePairs, AnyNumberOfChannels) {
  for (const int64_t channels : {2, 8, 16, 24, 31, 33, 48, 63, 150, 700})
    check({10, 3, 1, 1, 1}, channels, {ActivationKind::kClip, 0, 1}, 2);
}

TEST(DepthwisePairs, ActivationsComeBeforeTheRounding) {
  for (const Activation& activation :
       {Activation{ActivationKind::kRelu}, Activation{ActivationKind::kSilu}})
    for (const int64_t channels : {16, 72}) check({9, 3, 1, 1, 1}, channels, activation, 1);
}

TEST(DepthwisePairs, ThreeDims) {
  check({9, 3, 1, 1, 1}, 40, {}, 2, 4);
}

TEST(DepthwisePairs, RefusesWhatItCannotDo) {
  ConvParams p = params_of({9, 3, 1, 1, 1}, 32, 1);
  p.narrow_x = true;
  const auto refusal = [](const ConvParams& q) {
    return conv_method(ConvMethodId::kDepthwise).refusal(q);
  };
  EXPECT_EQ(refusal(p), nullptr);
  ConvParams q = p;
  q.out_channels = 64;
  EXPECT_NE(refusal(q), nullptr);
  p.kernel[1] = 100;
  EXPECT_NE(refusal(p), nullptr);
}

}  // namespace
}  // namespace tenon::cpu
