// Convolution layers of networks beside oneDNN's and this processor's multiply-add peak, and each
// network's sum.
//
// Usage: tenon_bench_conv [--network NAME] [--threads N] [--isa NAME] [--method NAME] [--filter
// WORD]
//                         [--seconds S] [--cold] [--csv]
// --cold: every run of Tenon reads another copy of the filter, as a network that exceeds the caches
// does; oneDNN is left out.
#include "device/cpu/kernels/conv.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "kernels/measure.h"
#include "kernels/onednn.h"
#include "kernels/shapes.h"

namespace tenon::cpu {
namespace {

using bench::Bench, bench::Buffer, bench::Case, bench::kLayers, bench::Layer, bench::Times;

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

const ConvMethod* method_for(const ConvParams& p, const std::string& name) {
  for (const ConvMethod& m : conv_methods())
    if (name.empty() ? m.refusal(p) == nullptr : name == m.name) return &m;
  return nullptr;
}

std::string name_of(const Layer& layer, const ConvMethod& method) {
  char text[120];
  std::snprintf(text, sizeof text, "%s %dx%d %d -> %d %dx%d/%d%s %s", layer.network, layer.size,
                layer.size, layer.in, layer.out, layer.kernel, layer.kernel, layer.stride,
                layer.groups == 1          ? ""
                : layer.groups == layer.in ? " depthwise"
                                           : " grouped",
                method.name);
  return text;
}

Times measure(const Layer& layer, Bench& bench) {
  ConvParams p = params_of(layer);
  const ConvMethod* const method = method_for(p, bench.option("--method"));
  if (method == nullptr) return {};
  const bool cold = bench.flag("--cold");
  const int64_t filter = int64_t{layer.kernel} * layer.kernel * layer.in / layer.groups * layer.out;
  const int64_t packed_floats = method->filter_floats(p);
  const int64_t copies =
      cold ? std::max<int64_t>(1, (48 << 20) / std::max<int64_t>(1, packed_floats * 4)) : 1;
  const int64_t stride = (packed_floats + 15) / 16 * 16;
  const Buffer plain(filter), packed(stride * copies, 0), bias(layer.out);
  const Buffer x(p.in[1] * p.in[2] * layer.in), y(p.out[1] * p.out[2] * layer.out, 0);
  const Buffer scratch(method->scratch_bytes(p, bench.pool().threads(), bench.table()) / 4 + 16, 0);
  for (int64_t i = 0; i < copies; ++i) method->pack_filter(p, plain.data, packed.data + i * stride);
  p.x = x.data, p.y = y.data, p.bias = bias.data;
  int64_t copy = 0;
  Case c;
  c.name = name_of(layer, *method);
  c.flops = 2.0 * static_cast<double>(p.out[1] * p.out[2] * filter);
  c.bytes = 4.0 * static_cast<double>(p.in[1] * p.in[2] * layer.in + filter +
                                      p.out[1] * p.out[2] * layer.out);
  c.tenon = [&] {
    p.filter = packed.data + copy * stride;
    copy = (copy + 1) % copies;
    method->run(p, bench.pool(), scratch.data, bench.table());
  };
  if (!cold) c.onednn = bench::onednn_conv(p, bench.pool().threads());
  return bench.run(c);
}

int run(int argc, char** argv) {
  Bench bench(argc, argv);
  const std::string network = bench.option("--network");
  Times total;
  for (const Layer& layer : kLayers) {
    if (!network.empty() && network != layer.network) continue;
    const Times times = measure(layer, bench);
    total.tenon += times.tenon * layer.count;
    total.onednn += times.onednn * layer.count;
    const Layer* const next = &layer + 1;
    if (next != std::end(kLayers) && std::strcmp(next->network, layer.network) == 0) continue;
    std::fprintf(stderr, "%s, its layers: %.2f ms, oneDNN %.2f ms\n", layer.network,
                 total.tenon * 1e3, total.onednn * 1e3);
    total = {};
  }
  return 0;
}

}  // namespace
}  // namespace tenon::cpu

int main(int argc, char** argv) {
  return tenon::cpu::run(argc, argv);
}
