// Convolution layers in 8-bit integers, one instruction set after the other. The peak beside them
// is the best rate of the micro kernel over operands that stay in L1; it alternates with the layer
// in short rounds and the best of each counts. Prints microseconds, GOP/s, the share of the peak.
//
// Usage: tenon_bench_int8 [--network NAME] [--threads N] [--seconds S]
#include "device/cpu/kernels/int8.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/measure.h"
#include "kernels/shapes.h"

namespace tenon::cpu {
namespace {

using bench::now;

// Of bytes.
struct Buffer {
  explicit Buffer(int64_t bytes)
      : data(static_cast<uint8_t*>(
            std::aligned_alloc(64, static_cast<size_t>(bytes + 127) / 64 * 64))) {
    for (int64_t i = 0; i < bytes; ++i) data[i] = static_cast<uint8_t>(i % 11);
  }
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  uint8_t* data;
};

// GOP/s of one tile over k = 512.
double peak(const Int8Table& table) {
  static const Buffer a(16 * 512), b(32 * 512), y(16 * 32 * 4), add(32 * 4);
  Int8Block block;
  block.m = table.tile_rows;
  block.n = table.tile_columns;
  block.groups = 128;
  block.a = a.data;
  block.lda = 512;
  block.b = reinterpret_cast<const int8_t*>(b.data);
  block.epilogue.column_add = reinterpret_cast<const int32_t*>(add.data);
  block.y = reinterpret_cast<char*>(y.data);
  block.y_row_bytes = 4 * block.n;
  constexpr int kRepeats = 100;
  const double start = now();
  for (int i = 0; i < kRepeats; ++i) table.gemm_block(block);
  return 2e-9 * 512 * kRepeats * static_cast<double>(block.m * block.n) / (now() - start);
}

Int8Params params(const bench::Layer& layer) {
  Int8Params p;
  for (const int d : {1, 2}) {
    p.in[d] = layer.size;
    p.kernel[d] = layer.kernel;
    p.stride[d] = layer.stride;
    p.pad_begin[d] = layer.kernel / 2;
    p.out[d] = (layer.size + 2 * (layer.kernel / 2) - layer.kernel) / layer.stride + 1;
  }
  p.in_channels = layer.in;
  p.out_channels = layer.out;
  p.groups = layer.groups;
  p.result = Int8Result::kU8;
  p.low = 0;
  p.high = std::numeric_limits<float>::infinity();
  p.y_zero = 7;
  p.outside_is_zero = true;  // as behind a relu
  return p;
}

int run(int argc, char** argv) {
  std::string network = "resnet50";
  int threads = 1;
  double seconds = 0.2;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--network") network = argv[i + 1];
    if (option == "--threads") threads = std::atoi(argv[i + 1]);
    if (option == "--seconds") seconds = std::atof(argv[i + 1]);
  }
  ThreadPool pool(threads);
  for (const Int8Table* table : supported_int8_tables()) {
    double total = 0, operations = 0, highest = 0;
    for (const bench::Layer& layer : bench::kLayers) {
      if (network != layer.network) continue;
      Int8Params p = params(layer);
      const int64_t pixels = p.out[1] * p.out[2];
      const int64_t k = p.kernel[1] * p.kernel[2] * p.in_channels / p.groups;
      const Buffer x(p.in[1] * p.in[2] * p.in_channels), y(pixels * p.out_channels);
      const Buffer raw(k * p.out_channels), scale(4 * p.out_channels);
      const Buffer packed(packed_int8_bytes(p.weight_form()));
      const Buffer scratch(int8_scratch_bytes(p, threads));
      static constexpr int8_t kZero = 0;
      p.x = x.data;
      p.y = y.data;
      p.weights = raw.data;
      p.weights_zero = &kZero;
      p.weights_zeros = 1;
      p.scale = reinterpret_cast<const float*>(scale.data);
      p.scales = p.out_channels;
      pack_int8(p.weight_form(), raw.data, packed.data);
      p.weights = packed.data;
      double best = 1e9;
      for (const double end = now() + seconds; now() < end;) {
        highest = std::max(highest, threads * peak(*table));
        for (int i = 0; i < 10 && now() < end; ++i) {
          const double start = now();
          int8_product(p, pool, scratch.data, *table);
          best = std::min(best, now() - start);
        }
      }
      const double gops = 2e-9 * static_cast<double>(pixels * k * p.out_channels);
      total += best * layer.count;
      operations += gops * layer.count;
      std::printf("%-12s %4d %5d -> %5d k%d s%d g%-4d %9.1f us %7.1f GOP/s  %3.0f%%\n", table->name,
                  layer.size, layer.in, layer.out, layer.kernel, layer.stride, layer.groups,
                  best * 1e6, gops / best, 100 * gops / best / highest);
    }
    std::printf("%-12s %s: %.2f ms, %.0f GOP/s; peak %.0f GOP/s\n", table->name, network.c_str(),
                total * 1e3, operations / total, highest);
  }
  return 0;
}

}  // namespace
}  // namespace tenon::cpu

int main(int argc, char** argv) {
  return tenon::cpu::run(argc, argv);
}
