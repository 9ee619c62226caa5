// Kernels other than convolutions: rows, layout, recurrent layers, attention, products of few rows.
// Each case and a copy of 64 MB alternate in short rounds and the best of each counts. Prints
// microseconds, GB/s beside the copy's, GFLOP/s.
//
// Usage: tenon_bench_other [--isa NAME] [--threads N] [--filter WORD] [--seconds S]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "device/cpu/kernels/attention.h"
#include "device/cpu/kernels/gemm.h"
#include "device/cpu/kernels/layout.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/recurrent.h"
#include "device/cpu/kernels/rows.h"

namespace {

using namespace tenon;
using namespace tenon::cpu;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Buffer {
  explicit Buffer(int64_t floats)
      : data(static_cast<float*>(
            std::aligned_alloc(64, static_cast<size_t>(floats * 4 + 127) / 64 * 64))) {
    for (int64_t i = 0; i < floats; ++i) data[i] = 0.01f * static_cast<float>(i % 23 - 11);
  }
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  float* data;
};

struct Bench {
  const KernelTable* table = &kernels();
  ThreadPool pool{1};
  std::string filter;
  double seconds = 0.3;
  Buffer copy_from{16 << 20}, copy_to{16 << 20};

  explicit Bench(int threads) : pool(threads) {}

  double copy_gbs() {
    const double start = now();
    std::memcpy(copy_to.data, copy_from.data, 64 << 20);
    return 2.0 * (64 << 20) / (now() - start) / 1e9;
  }
  void run(const std::string& name, double bytes, double flops, const std::function<void()>& body) {
    if (name.find(filter) == std::string::npos) return;
    body();
    double best = 1e9, copy = 0;
    const double end = now() + seconds;
    do {
      copy = std::max(copy, copy_gbs());
      body();  // back into the caches
      for (int i = 0; i < 20 && now() < end; ++i) {
        const double start = now();
        body();
        best = std::min(best, now() - start);
      }
    } while (now() < end);
    std::printf("%-34s %9.2f us  %7.1f GB/s (copy %5.1f)  %7.1f GFLOP/s\n", name.c_str(),
                best * 1e6, bytes / best / 1e9, copy, flops / best / 1e9);
  }
};

void bench_rows(Bench& b) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1536, 128}, {1, 1000}, {197, 197}}) {
    const Buffer x(rows * cols), y(rows * cols);
    const double bytes = 8.0 * static_cast<double>(rows * cols);
    b.run("softmax " + std::to_string(rows) + "x" + std::to_string(cols), bytes, 0, [&] {
      softmax({rows, cols, 1, x.data, y.data}, b.pool, nullptr, *b.table);
    });
  }
  const Buffer x(128 * 768 * 8), y(128 * 768 * 8), gamma(768), beta(768);
  b.run("layer_norm 128x768", 8.0 * 128 * 768, 0, [&] {
    layer_norm({128, 768, x.data, nullptr, gamma.data, beta.data, 1e-5f, false, y.data}, b.pool,
               *b.table);
  });
  const auto reduction = [&](int64_t outer, int64_t n, int64_t inner) {
    b.run("mean " + std::to_string(outer) + "x" + std::to_string(n) + "x" + std::to_string(inner),
          4.0 * static_cast<double>(outer * n * inner), 0, [&, outer, n, inner] {
            reduce({ReduceKind::kMean, outer, n, inner, x.data, y.data}, b.pool, *b.table);
          });
  };
  reduction(1, 49, 2048);
  reduction(128, 768, 1);
  reduction(1, 3136, 64);
}

void bench_layout(Bench& b) {
  const Buffer x(1 << 20), y(1 << 20);
  const auto permute = [&](std::vector<int64_t> shape, std::vector<int> perm, int bytes) {
    TransposeParams p;
    std::string name("transpose");
    double elements = 1;
    for (size_t i = 0; i < shape.size(); ++i) {
      p.shape[p.rank] = shape[i];
      p.perm[p.rank++] = perm[i];
      name += (i == 0 ? " " : "x") + std::to_string(shape[i]);
      elements *= static_cast<double>(shape[i]);
    }
    p.element_bytes = bytes;
    p.x = x.data;
    p.y = y.data;
    b.run(name + " e" + std::to_string(bytes), 2.0 * bytes * elements, 0,
          [&] { transpose(p, b.pool); });
  };
  permute({512, 512}, {1, 0}, 4);
  permute({512, 512}, {1, 0}, 1);
  permute({128, 12, 64}, {1, 0, 2}, 4);
  permute({3, 224, 224}, {1, 2, 0}, 4);
  permute({56, 56, 64}, {2, 0, 1}, 4);
}

void bench_recurrent(Bench& b) {
  for (const CellKind cell : {CellKind::kLstm, CellKind::kGru})
    for (const auto& [batch, hidden] : {std::pair<int64_t, int64_t>{1, 128}, {1, 512}, {32, 128}}) {
      const int64_t gates = cell == CellKind::kLstm ? 4 : 3, columns = gates * hidden;
      RecurrentParams p;
      p.cell = cell;
      p.linear_before_reset = true;
      p.steps = 64, p.batch = batch, p.inputs = p.hidden = hidden;
      const Buffer x(64 * batch * hidden), w(packed_b_floats(hidden, columns)),
          r(packed_b_floats(hidden, columns)), bias(columns), y(64 * batch * hidden);
      p.x = x.data;
      p.y_step_stride = batch * hidden;
      p.direction[0].w = w.data;
      p.direction[0].r = r.data;
      p.direction[0].bias = p.direction[0].bias_r = bias.data;
      p.direction[0].y = y.data;
      const Buffer scratch(recurrent_scratch_bytes(p, b.pool.threads()) / 4);
      const double products = 64.0 * static_cast<double>(batch * 2 * hidden * columns);
      b.run(std::string(cell == CellKind::kLstm ? "lstm" : "gru") + " 64 steps batch " +
                std::to_string(batch) + " hidden " + std::to_string(hidden),
            64.0 * 4 * static_cast<double>(hidden * columns), 2 * products,
            [&] { recurrent(p, b.pool, scratch.data, *b.table); });
    }
}

void bench_attention(Bench& b) {
  for (const auto& [heads, length] : {std::pair<int64_t, int64_t>{12, 128}, {12, 197}, {12, 512}}) {
    const int64_t n = heads * length * 64;
    const Buffer q(n), k(n), v(n), y(n);
    AttentionParams p;
    p.heads = p.kv_heads = heads;
    p.q_len = p.kv_len = length;
    p.head_dim = p.value_dim = 64;
    p.scale = 0.125f;
    p.q = {q.data, n, length * 64, 64};
    p.k = {k.data, n, length * 64, 64};
    p.v = {v.data, n, length * 64, 64};
    p.y = {y.data, n, length * 64, 64};
    const Buffer scratch(attention_scratch_bytes(p, b.pool.threads()) / 4);
    b.run("attention 12 heads " + std::to_string(length), 16.0 * static_cast<double>(n),
          4.0 * static_cast<double>(heads * length * length * 64),
          [&] { attention(p, b.pool, scratch.data, *b.table); });
  }
}

void bench_gemm(Bench& b) {
  for (const int64_t m : {1, 2, 4, 8, 128})
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{512, 784}, {1024, 1024}, {3072, 768}}) {
      const Buffer a(m * k), w(packed_b_floats(k, n)), c(m * n);
      GemmParams p;
      p.m = m, p.n = n, p.k = p.lda = k;
      p.a = a.data, p.b = w.data, p.c = c.data, p.ldc = n;
      b.run("gemm " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k),
            4.0 * static_cast<double>(n * k), 2.0 * static_cast<double>(m * n * k),
            [&] { gemm(p, b.pool, nullptr, *b.table); });
    }
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 1;
  std::string isa, filter;
  double seconds = 0.3;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--threads") threads = std::atoi(argv[i + 1]);
    if (option == "--isa") isa = argv[i + 1];
    if (option == "--filter") filter = argv[i + 1];
    if (option == "--seconds") seconds = std::atof(argv[i + 1]);
  }
  Bench b(threads);
  for (const KernelTable* table : supported_kernel_tables())
    if (table->name == isa) b.table = table;
  b.filter = filter;
  b.seconds = seconds;
  std::printf("isa %s, threads %d\n", b.table->name, threads);
  bench_gemm(b);
  bench_rows(b);
  bench_layout(b);
  bench_recurrent(b);
  bench_attention(b);
  return 0;
}
