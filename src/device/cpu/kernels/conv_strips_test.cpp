// Convolutions by strips of rows against the same one after the other.
#include "device/cpu/kernels/conv_strips.h"

#include <algorithm>

#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace {

int64_t pick(std::initializer_list<int64_t> values) {
  std::uniform_int_distribution<size_t> index(0, values.size() - 1);
  return values.begin()[index(test_random())];
}

// With filters and biases that live as long as it does.
struct Layers {
  ConvStrips chain;
  std::vector<std::vector<float>> filters, biases;

  void add(ConvMethodId id, int64_t batch, int64_t height, int64_t width, int64_t in, int64_t out) {
    ConvStrips::Part& part = chain.parts[chain.count++];
    part.method = id;
    ConvParams& p = part.p;
    p.batch = batch;
    const int64_t sizes[] = {1, height, width};
    for (int d = 1; d < 3; ++d) {
      p.in[d] = p.out[d] = sizes[d];
      if (id == ConvMethodId::kPointwise) continue;
      p.kernel[d] = 3;
      do {
        p.dilation[d] = id == ConvMethodId::kStrip ? 1 : pick({1, 1, 1, 2});
        p.pad_begin[d] = pick({0, 1, 1, 1, 2});
        p.out[d] = p.in[d] + p.pad_begin[d] + pick({0, 1, 1, 2}) - 2 * p.dilation[d];
        // Each row of the result reads one of the input.
      } while (p.out[d] < 1 || p.pad_begin[d] > 2 * p.dilation[d] ||
               p.out[d] - p.pad_begin[d] > p.in[d]);
    }
    p.in_channels = p.x_pixel_stride = in;
    p.out_channels = p.y_pixel_stride = p.residual_pixel_stride = out;
    if (pick({0, 1}) != 0) p.activation.kind = ActivationKind::kRelu;
    const ConvMethod& method = conv_method(id);
    const auto values = random_floats(p.kernel[1] * p.kernel[2] * in * out, -0.3f, 0.3f);
    filters.emplace_back(static_cast<size_t>(method.filter_floats(p) + 16));
    const auto misaligned = reinterpret_cast<uintptr_t>(filters.back().data()) % 64 / 4;
    float* const filter = filters.back().data() + (16 - misaligned) % 16;
    method.pack_filter(p, values.data(), filter);
    p.filter = filter;
    biases.push_back(random_floats(out));
    if (pick({0, 1}) != 0) p.bias = biases.back().data();
  }
  // Behind the last one.
  void add(ConvMethodId id, int64_t out) {
    const ConvParams p = last();
    add(id, p.batch, p.out[1], p.out[2], p.out_channels, out);
  }
  const ConvParams& last() const { return chain.parts[chain.count - 1].p; }
};

constexpr ConvMethodId kTiles = ConvMethodId::kWinogradF6;

int64_t floats_of(const ConvParams& p) {
  return p.batch * p.out[1] * p.out[2] * p.out_channels;
}

Layers random_layers(int64_t parts) {
  Layers layers;
  const bool has_stem = pick({0, 0, 1}) != 0;
  layers.add(has_stem ? ConvMethodId::kStrip : kTiles, pick({1, 1, 2, 3}), pick({5, 13, 30, 61}),
             pick({5, 9, 40}), has_stem ? 20 : pick({32, 48}), pick({32, 40}));
  for (int64_t i = 1; i < parts; ++i)
    layers.add(i > 1 && i + 1 == parts && pick({0, 1}) != 0 ? ConvMethodId::kPointwise : kTiles,
               pick({16, 32, 40}));
  return layers;
}

std::vector<float> one_after_the_other(const ConvStrips& chain, std::vector<float> x,
                                       const KernelTable& table) {
  ThreadPool pool(1);
  for (size_t i = 0; i < chain.count; ++i) {
    ConvParams p = chain.parts[i].p;
    const ConvMethod& method = conv_method(chain.parts[i].method);
    std::vector<float> y(static_cast<size_t>(floats_of(p)));
    p.parts = {};
    p.x = x.data();
    p.y = y.data();
    Scratch scratch(method.scratch_bytes(p, 1, table));
    method.run(p, pool, scratch.get(), table);
    x = std::move(y);
  }
  return x;
}

TEST(ConvStrips, EqualTheirParts) {
  for (int i = 0; i < 120; ++i) {
    Layers layers = random_layers(pick({2, 2, 3, 4}));
    ConvStrips& chain = layers.chain;
    ConvParams& first = chain.parts[0].p;
    ConvParams& last = chain.parts[chain.count - 1].p;
    const int64_t pixels = first.batch * first.in[1] * first.in[2];
    const auto x = random_floats(pixels * first.in_channels);
    // As it lies, or the channels in two parts.
    std::vector<float> halves[2];
    std::array<ChannelPart, 2> parts;
    const int64_t half = 16;
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
      for (int64_t c = 0; c < first.in_channels; ++c)
        halves[c >= half].push_back(x[static_cast<size_t>(pixel * first.in_channels + c)]);
    for (size_t k = 0; k < 2; ++k) {
      const int64_t channels = k == 0 ? half : first.in_channels - half;
      parts[k] = {halves[k].data(), channels, channels};
    }
    const auto residual = random_floats(floats_of(last));
    if (pick({0, 1}) != 0) last.residual = residual.data();
    const int threads = static_cast<int>(pick({1, 2, 3}));
    for (const KernelTable* table : tables_under_test()) {
      const auto want = one_after_the_other(chain, x, *table);
      GuardedFloats y(floats_of(last));
      if (chain.parts[0].method != kTiles || pick({0, 1}) != 0)
        first.x = x.data(), first.parts = {};
      else
        first.x = nullptr, first.parts = parts;
      last.y = y.data();
      ThreadPool pool(threads);
      Scratch scratch(conv_strips_scratch_bytes(chain, threads, *table));
      conv_strips(chain, pool, scratch.get(), *table);
      // Tiles begin at other rows.
      float largest = 1;
      for (const float v : want) largest = std::max(largest, std::abs(v));
      expect_near(y, {want.begin(), want.end()}, 2e-5 * largest, "case " + std::to_string(i));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(ConvStrips, SayWhatTheyDoNotTake) {
  const auto refuses = [](const ConvStrips& chain) {
    return conv_strips_refusal(chain) != nullptr;
  };
  Layers layers;
  layers.add(kTiles, 1, 300, 300, 32, 32);
  EXPECT_TRUE(refuses(layers.chain));
  layers.add(kTiles, 32);
  EXPECT_FALSE(refuses(layers.chain));
  ConvStrips padded = layers.chain;
  padded.parts[1].p.pad_begin[1] = 5;
  EXPECT_TRUE(refuses(padded));
  ConvStrips other = layers.chain;
  other.parts[0].method = ConvMethodId::kIndirect;
  EXPECT_TRUE(refuses(other));
  // Others only where what lies between is large.
  layers.add(ConvMethodId::kPointwise, 16);
  EXPECT_FALSE(refuses(layers.chain));
  Layers small;
  small.add(kTiles, 1, 50, 50, 32, 32);
  small.add(ConvMethodId::kPointwise, 16);
  EXPECT_TRUE(refuses(small.chain));
}

TEST(ConvStrips, NoImagesAreNothing) {
  Layers layers;
  layers.add(kTiles, 0, 30, 30, 32, 32);
  layers.add(kTiles, 32);
  ThreadPool pool(2);
  Scratch scratch(conv_strips_scratch_bytes(layers.chain, 2, kernels()));
  conv_strips(layers.chain, pool, scratch.get(), kernels());
}

}  // namespace
}  // namespace tenon::cpu
