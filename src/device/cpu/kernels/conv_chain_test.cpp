// Chains of convolutions against the convolutions one after the other.
#include "device/cpu/kernels/conv_chain.h"

#include <cstring>

#include "device/cpu/kernels/half.h"
#include "device/cpu/kernels/pairs.h"
#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace wide16 {
const KernelTable& pair_table();
}
namespace {

int64_t pick(std::initializer_list<int64_t> values) {
  std::uniform_int_distribution<size_t> index(0, values.size() - 1);
  return values.begin()[index(test_random())];
}

Activation pick_activation() {
  const Activation all[] = {{}, {ActivationKind::kRelu}, {ActivationKind::kSilu}};
  return all[pick({0, 1, 2})];
}

// Its filter and bias live as long as it does.
struct Part {
  ConvParams p;
  std::vector<float> filter, bias;

  const ConvMethod& method() const {
    return conv_method(p.groups > 1 ? ConvMethodId::kDepthwise : ConvMethodId::kPointwise);
  }
  void prepare() {
    p.x_pixel_stride = p.in_channels;
    p.y_pixel_stride = p.residual_pixel_stride = p.out_channels;
    p.activation = pick_activation();
    const auto values =
        random_floats(p.kernel[1] * p.kernel[2] * p.in_channels / p.groups * p.out_channels);
    filter.resize(static_cast<size_t>(method().filter_floats(p)));
    method().pack_filter(p, values.data(), filter.data());
    p.filter = filter.data();
    bias = random_floats(p.out_channels);
    if (pick({0, 1, 1}) != 0) p.bias = bias.data();
  }
  std::vector<float> run(const std::vector<float>& x, const float* residual,
                         const KernelTable& table) const {
    EXPECT_EQ(method().refusal(p), nullptr);
    std::vector<float> y(static_cast<size_t>(p.batch * p.out[1] * p.out[2] * p.out_channels));
    ThreadPool pool(1);
    Scratch scratch(method().scratch_bytes(p, 1, table));
    ConvParams q = p;
    q.x = x.data();
    q.y = y.data();
    q.residual = residual;
    method().run(q, pool, scratch.get(), table);
    return y;
  }
};

Part pointwise(const ConvParams& size, bool output_size, int64_t in, int64_t out) {
  Part part;
  part.p.batch = size.batch;
  for (int d = 1; d < 3; ++d) part.p.in[d] = part.p.out[d] = output_size ? size.out[d] : size.in[d];
  part.p.in_channels = in;
  part.p.out_channels = out;
  part.prepare();
  return part;
}

// Sizes with windows of every kind: beside each other, apart, over the borders.
Part depthwise(int64_t channels) {
  Part part;
  ConvParams& p = part.p;
  p.batch = pick({1, 1, 2, 3});
  p.in_channels = p.out_channels = p.groups = channels;
  for (int d = 1; d < 3; ++d) {
    do {
      p.in[d] = pick({1, 3, 5, 8, 14, 31});
      p.kernel[d] = pick({1, 2, 3, 3, 5});
      p.stride[d] = pick({1, 1, 2, 3});
      p.dilation[d] = pick({1, 1, 1, 2});
      p.pad_begin[d] = pick({0, 1, 2});
      const int64_t span = (p.kernel[d] - 1) * p.dilation[d] + 1;
      p.out[d] = (p.in[d] + p.pad_begin[d] + pick({0, 1, 2}) - span) / p.stride[d] + 1;
    } while (p.out[d] <= 0);
  }
  part.prepare();
  return part;
}

TEST(ConvChain, EqualsItsParts) {
  for (int i = 0; i < 400; ++i) {
    const int64_t channels = pick({2, 7, 16, 40});
    const Part middle = depthwise(channels);
    ASSERT_EQ(conv_chain_refusal(middle.p), nullptr);
    const Part before = pointwise(middle.p, false, pick({3, 16}), channels);
    const Part after = pointwise(middle.p, true, channels, pick({5, 32, 33}));
    ConvChain chain;
    chain.expands = pick({0, 1}) != 0;
    chain.projects = !chain.expands || pick({0, 1}) != 0;
    const ConvParams& first = chain.expands ? before.p : middle.p;
    const ConvParams& last = chain.projects ? after.p : middle.p;
    const int64_t y_floats = last.batch * last.out[1] * last.out[2] * last.out_channels;
    const auto x = random_floats(first.batch * first.in[1] * first.in[2] * first.in_channels);
    const auto residual = random_floats(y_floats);
    const float* added = pick({0, 1}) != 0 ? residual.data() : nullptr;
    const int threads = static_cast<int>(pick({1, 2, 3}));
    for (const KernelTable* table : tables_under_test()) {
      std::vector<float> want = x;
      if (chain.expands) want = before.run(want, nullptr, *table);
      want = middle.run(want, chain.projects ? nullptr : added, *table);
      if (chain.projects) want = after.run(want, added, *table);

      chain.expand = before.p;
      chain.depthwise = middle.p;
      chain.project = after.p;
      GuardedFloats y(y_floats);
      (chain.expands ? chain.expand : chain.depthwise).x = x.data();
      (chain.projects ? chain.project : chain.depthwise).y = y.data();
      (chain.projects ? chain.project : chain.depthwise).residual = added;
      ThreadPool pool(threads);
      Scratch scratch(conv_chain_scratch_bytes(chain, threads, *table));
      conv_chain(chain, pool, scratch.get(), *table);
      expect_near(y, {want.begin(), want.end()}, 1e-5, std::string("case ") + std::to_string(i));
      if (HasFatalFailure()) return;
    }
  }
}

std::vector<BFloat16> rounded(const std::vector<float>& x) {
  std::vector<BFloat16> y(x.size());
  convert(x.data(), y.data(), static_cast<int64_t>(x.size()));
  return y;
}

// A 1x1 convolution that multiplies pairs of bf16, and what it does alone.
Part of_pairs(Part part) {
  const int64_t in = part.p.in_channels, out = part.p.out_channels;
  const auto filter = rounded(random_floats(in * out));
  pack_conv_pairs(1, in, out, 1, filter.data(), part.filter.data());
  part.p.in_channels = part.p.x_pixel_stride = in / 2;
  return part;
}
std::vector<float> run_pairs(const Part& part, const std::vector<float>& x,
                             const KernelTable& table) {
  const auto pairs = rounded(x);
  std::vector<float> halves(x.size() / 2);
  std::memcpy(halves.data(), pairs.data(), pairs.size() * sizeof(BFloat16));
  return part.run(halves, nullptr, table);
}

TEST(ConvChain, OfPairsEqualsItsParts) {
  const KernelTable& pairs = wide16::pair_table();
  const KernelTable& table = wide16::kernel_table();
  for (int i = 0; i < 200; ++i) {
    const int64_t channels = pick({2, 16, 40});
    const Part middle = depthwise(channels);
    const Part before = of_pairs(pointwise(middle.p, false, pick({4, 16}), channels));
    const Part after = of_pairs(pointwise(middle.p, true, channels, pick({5, 32, 33})));
    ConvChain chain;
    chain.expands = chain.expands_pairs = pick({0, 1}) != 0;
    chain.projects = pick({0, 1}) != 0;
    chain.rounds = true;
    chain.pairs = &pairs;
    const ConvParams& first = chain.expands ? before.p : middle.p;
    const int64_t in = first.in_channels * (chain.expands ? 2 : 1);
    const auto x = random_floats(first.batch * first.in[1] * first.in[2] * in);
    const auto x_pairs = rounded(x);
    auto want = chain.expands ? run_pairs(before, x, pairs) : x;
    want = middle.run(want, nullptr, table);
    const auto narrow = rounded(want);
    if (chain.projects)
      want = run_pairs(after, want, pairs);
    else
      convert(narrow.data(), want.data(), static_cast<int64_t>(want.size()));

    chain.expand = before.p;
    chain.depthwise = middle.p;
    chain.project = after.p;
    (chain.expands ? chain.expand : chain.depthwise).x =
        chain.expands ? as_pairs(x_pairs.data()) : x.data();
    std::vector<BFloat16> narrow_y(chain.projects ? 0 : want.size());
    GuardedFloats y(static_cast<int64_t>(want.size()));
    (chain.projects ? chain.project : chain.depthwise).y =
        chain.projects ? y.data() : reinterpret_cast<float*>(narrow_y.data());
    const int threads = static_cast<int>(pick({1, 2, 3}));
    ThreadPool pool(threads);
    Scratch scratch(conv_chain_scratch_bytes(chain, threads, table));
    conv_chain(chain, pool, scratch.get(), table);
    convert(narrow_y.data(), y.data(), static_cast<int64_t>(narrow_y.size()));
    // A sum between two bf16 may go to either.
    expect_near(y, {want.begin(), want.end()}, 1e-2, std::string("case ") + std::to_string(i));
    if (HasFatalFailure()) return;
  }
}

// All of it in bf16: what goes from one to the next is rounded by who computes it.
TEST(ConvChain, OfPairsThroughoutEqualsItsParts) {
  const KernelTable& pairs = wide16::pair_table();
  const KernelTable& table = wide16::kernel_table();
  for (int i = 0; i < 200; ++i) {
    const int64_t channels = pick({2, 16, 40, 66});
    Part middle = depthwise(channels);
    const int64_t taps = middle.p.kernel[1] * middle.p.kernel[2];
    const auto filter = rounded(random_floats(taps * channels));
    middle.p.narrow_x = true;
    middle.filter.resize(static_cast<size_t>(middle.method().filter_floats(middle.p)));
    middle.method().pack_pairs(middle.p, filter.data(), middle.filter.data());
    middle.p.filter = middle.filter.data();
    Part before = of_pairs(pointwise(middle.p, false, pick({4, 16}), channels));
    const Part after = of_pairs(pointwise(middle.p, true, channels, pick({6, 32, 34})));
    ConvChain chain;
    chain.expands = chain.expands_pairs = pick({0, 1}) != 0;
    chain.projects = !chain.expands || pick({0, 1}) != 0;
    chain.pairs = &pairs;
    const ConvParams& first = chain.expands ? before.p : middle.p;
    const int64_t in = first.in_channels * (chain.expands ? 2 : 1);
    const auto x = random_floats(first.batch * first.in[1] * first.in[2] * in);
    const auto x_pairs = rounded(x);
    // Each alone, in f32, rounded between them.
    auto want = chain.expands ? run_pairs(before, x, pairs) : x;
    const auto middle_x = rounded(want);
    std::vector<float> halves((middle_x.size() + 1) / 2);
    std::memcpy(halves.data(), middle_x.data(), middle_x.size() * sizeof(BFloat16));
    want = middle.run(halves, nullptr, pairs);
    if (chain.projects) want = run_pairs(after, want, pairs);

    chain.expand = before.p;
    chain.depthwise = middle.p;
    chain.project = after.p;
    chain.expand.narrow_y = true;
    chain.depthwise.narrow_y = chain.projects;
    (chain.expands ? chain.expand : chain.depthwise).x = as_pairs(x_pairs.data());
    GuardedFloats y(static_cast<int64_t>(want.size()));
    (chain.projects ? chain.project : chain.depthwise).y = y.data();
    const int threads = static_cast<int>(pick({1, 2, 3}));
    ThreadPool pool(threads);
    Scratch scratch(conv_chain_scratch_bytes(chain, threads, table));
    conv_chain(chain, pool, scratch.get(), table);
    expect_near(y, {want.begin(), want.end()}, 1e-4, std::string("case ") + std::to_string(i));
    if (HasFatalFailure()) return;
  }
}

TEST(ConvChain, RefusesWhatItCannotDo) {
  ConvParams p = depthwise(8).p;
  EXPECT_EQ(conv_chain_refusal(p), nullptr);
  ConvParams q = p;
  q.out_channels = 16;
  EXPECT_NE(conv_chain_refusal(q), nullptr);
  q = p;
  q.in[0] = q.out[0] = 2;
  EXPECT_NE(conv_chain_refusal(q), nullptr);
  q = p;
  q.batch = 0;
  EXPECT_NE(conv_chain_refusal(q), nullptr);
  p.groups = 1;
  EXPECT_NE(conv_chain_refusal(p), nullptr);
}

}  // namespace
}  // namespace tenon::cpu
