// Convolution layers against this processor's multiply-add peak: shape, GFLOP/s, share of the peak.
// Peak and layer alternate in short rounds and the best of each counts, so that other load on the
// machine disturbs little.
//
// Usage: tenon_bench_conv [--network NAME] [--threads N] [--isa NAME] [--method NAME] [--rounds N]
//                         [--cold]
// --cold: every run reads another copy of the filter, as a network that exceeds the caches does.
#include "device/cpu/kernels/conv.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/shapes.h"

namespace {

using namespace tenon;
using namespace tenon::cpu;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr int kPeakSteps = 2000;

// Twelve independent chains of multiply-adds, in assembly so that they stay in registers.
#define TENON_CHAIN(register) "vfmadd231ps %%" #register ", %%" #register ", %%" #register "\n"
#define TENON_CHAINS(prefix) \
  TENON_CHAIN(prefix##0)     \
  TENON_CHAIN(prefix##1)     \
  TENON_CHAIN(prefix##2)     \
  TENON_CHAIN(prefix##3)     \
  TENON_CHAIN(prefix##4)     \
  TENON_CHAIN(prefix##5)     \
  TENON_CHAIN(prefix##6)     \
  TENON_CHAIN(prefix##7)     \
  TENON_CHAIN(prefix##8) TENON_CHAIN(prefix##9) TENON_CHAIN(prefix##10) TENON_CHAIN(prefix##11)
#define TENON_PEAK_LOOP(prefix)                                                                  \
  asm volatile("vzeroall\n1:\n" TENON_CHAINS(prefix) "dec %0\njnz 1b\nvzeroupper\n"              \
               : "+r"(steps)                                                                     \
               :                                                                                 \
               : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
                 "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc")

double peak_gflops(const KernelTable& table) {
  const double start = now();
  int64_t steps = kPeakSteps;
  if (table.lanes == 16)
    TENON_PEAK_LOOP(zmm);
  else
    TENON_PEAK_LOOP(ymm);
  return 2.0 * table.lanes * 12 * kPeakSteps / (now() - start) / 1e9;
}

struct Buffer {
  explicit Buffer(int64_t floats, float value)
      : data(static_cast<float*>(
            std::aligned_alloc(64, static_cast<size_t>(floats * 4 + 127) / 64 * 64))) {
    for (int64_t i = 0; i < floats; ++i) data[i] = value * static_cast<float>(i % 13 - 6);
  }
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  float* data;
};

struct Options {
  std::string network, isa, method;
  int threads = 1;
  int rounds = 60;
  bool cold = false;
};

ConvParams params_of(const bench::Layer& layer) {
  ConvParams p;
  for (int d = 1; d < 3; ++d) {
    p.in[d] = layer.size;
    p.kernel[d] = layer.kernel;
    p.stride[d] = layer.stride;
    p.out[d] = (layer.size - 1) / layer.stride + 1;
    p.pad_begin[d] =
        std::max<int64_t>(0, (p.out[d] - 1) * layer.stride + layer.kernel - layer.size) / 2;
  }
  p.in_channels = p.x_pixel_stride = layer.in;
  p.out_channels = p.y_pixel_stride = layer.out;
  p.groups = layer.groups;
  p.activation = kRelu;
  return p;
}

// Milliseconds of the best run, and the best peak seen between runs.
void measure(const bench::Layer& layer, const Options& options, const KernelTable& table,
             ThreadPool& pool) {
  ConvParams p = params_of(layer);
  const ConvMethod* method = nullptr;
  for (const ConvMethod& m : conv_methods())
    if (method == nullptr &&
        (options.method.empty() ? m.refusal(p) == nullptr : options.method == m.name))
      method = &m;
  if (method == nullptr) return;
  const int64_t filter = int64_t{layer.kernel} * layer.kernel * layer.in / layer.groups * layer.out;
  const int64_t packed_floats = method->filter_floats(p);
  const int64_t copies =
      options.cold ? std::max<int64_t>(1, (48 << 20) / std::max<int64_t>(1, packed_floats * 4)) : 1;
  const int64_t stride = (packed_floats + 15) / 16 * 16;
  const Buffer plain(filter, 0.01f), packed(stride * copies, 0), bias(layer.out, 0.1f);
  const Buffer x(p.in[1] * p.in[2] * layer.in, 0.1f), y(p.out[1] * p.out[2] * layer.out, 0);
  const Buffer scratch(method->scratch_bytes(p, pool.threads(), table) / 4 + 16, 0);
  for (int64_t i = 0; i < copies; ++i) method->pack_filter(p, plain.data, packed.data + i * stride);
  p.x = x.data, p.y = y.data, p.bias = bias.data;
  double best = 1e9, peak = 0;
  int64_t copy = 0;
  for (int round = 0; round < options.rounds; ++round) {
    peak = std::max(peak, peak_gflops(table));
    for (int i = 0; i < 3; ++i) {
      p.filter = packed.data + copy * stride;
      copy = (copy + 1) % copies;
      const double start = now();
      method->run(p, pool, scratch.data, table);
      best = std::min(best, now() - start);
    }
  }
  const double flops = 2.0 * static_cast<double>(p.out[1] * p.out[2] * filter);
  const double gflops = flops / best / 1e9;
  std::printf(
      "%-16s %4dx%-4d %5d -> %-5d %dx%d/%d groups %-4d %-14s %9.1f us %8.1f GFLOP/s %5.1f %%\n",
      layer.network, layer.size, layer.size, layer.in, layer.out, layer.kernel, layer.kernel,
      layer.stride, layer.groups, method->name, best * 1e6, gflops,
      100 * gflops / peak / pool.threads());
  std::fflush(stdout);
  static double total = 0, total_flops = 0;
  static const char* network = "";
  if (std::strcmp(network, layer.network) != 0) total = total_flops = 0, network = layer.network;
  total += best * layer.count;
  total_flops += flops * layer.count;
  const bench::Layer* next = &layer + 1;
  if (next == std::end(bench::kLayers) || std::strcmp(next->network, layer.network) != 0)
    std::printf("%-16s all %.2f ms, %.1f %% of %.1f GFLOP/s\n", layer.network, total * 1e3,
                100 * total_flops / total / 1e9 / peak / pool.threads(), peak * pool.threads());
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--cold") {
      options.cold = true;
      continue;
    }
    if (i + 1 == argc) {
      std::fprintf(stderr, "%s: unknown or without a value\n", argv[i]);
      return 2;
    }
    const char* value = argv[++i];
    if (name == "--network") options.network = value;
    if (name == "--isa") options.isa = value;
    if (name == "--method") options.method = value;
    if (name == "--threads") options.threads = std::atoi(value);
    if (name == "--rounds") options.rounds = std::atoi(value);
  }
  const KernelTable* table = &kernels();
  for (const KernelTable* t : supported_kernel_tables())
    if (options.isa == t->name) table = t;
  ThreadPool pool(options.threads);
  std::printf("%s, %d threads\n", table->name, pool.threads());
  for (const bench::Layer& layer : bench::kLayers)
    if (options.network.empty() || options.network == layer.network)
      measure(layer, options, *table, pool);
  return 0;
}
