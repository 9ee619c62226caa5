// Kernels other than convolutions beside oneDNN's, a copy of 64 MB and the multiply-add peak:
// products, rows, layout, recurrent layers, attention.
//
// Usage: tenon_bench_other [--isa NAME] [--threads N] [--filter WORD] [--seconds S] [--csv]
#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "device/cpu/kernels/attention.h"
#include "device/cpu/kernels/gemm.h"
#include "device/cpu/kernels/layout.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/recurrent.h"
#include "device/cpu/kernels/rows.h"
#include "kernels/measure.h"
#include "kernels/onednn.h"

namespace tenon::cpu {
namespace {

using bench::Bench, bench::Buffer, bench::onednn_gemm, bench::onednn_layer_norm,
    bench::onednn_recurrent, bench::onednn_softmax, bench::onednn_transpose, bench::Runnable;
using Sizes = std::pair<int64_t, int64_t>;

void bench_gemm(Bench& b) {
  for (const int64_t m : {1, 2, 3, 4, 6, 8, 128})
    for (const auto& [n, k] : {Sizes{512, 784}, {1024, 1024}, {3072, 768}}) {
      const Buffer a(m * k), w(packed_b_floats(k, n)), bias(n), c(m * n);
      GemmParams p;
      p.m = m, p.n = n, p.k = p.lda = k;
      p.a = a.data, p.b = w.data, p.bias = bias.data, p.c = c.data, p.ldc = n;
      const Buffer scratch(gemm_scratch_bytes(p, b.pool().threads(), b.table()) / 4);
      b.run({fmt::format("gemm {}x{}x{}", m, n, k), 4.0 * static_cast<double>(n * k + m * (n + k)),
             2.0 * static_cast<double>(m * n * k),
             [&] { gemm(p, b.pool(), scratch.data, b.table()); },
             onednn_gemm(m, n, k, b.pool().threads())});
    }
}

void bench_rows(Bench& b) {
  for (const Sizes& shape : {Sizes{1536, 128}, {1, 1000}, {197, 197}}) {
    const int64_t rows = shape.first, columns = shape.second;
    const Buffer x(rows * columns), y(rows * columns);
    b.run({fmt::format("softmax {}x{}", rows, columns), 8.0 * static_cast<double>(rows * columns),
           0,
           [&] {
             softmax({rows, columns, 1, x.data, y.data}, b.pool(), nullptr, b.table());
           },
           onednn_softmax(rows, columns, b.pool().threads())});
  }
  const Buffer x(128 * 768 * 8), y(128 * 768 * 8), gamma(768), beta(768);
  b.run({"layer_norm 128x768", 8.0 * 128 * 768, 0,
         [&] {
           layer_norm({128, 768, x.data, nullptr, gamma.data, beta.data, 1e-5f, false, y.data},
                      b.pool(), b.table());
         },
         onednn_layer_norm(128, 768, b.pool().threads())});
  const auto reduction = [&](int64_t outer, int64_t n, int64_t inner) {
    const ReduceParams p{ReduceKind::kMean, outer, n, inner, x.data, y.data};
    b.run({fmt::format("mean {}x{}x{}", outer, n, inner),
           4.0 * static_cast<double>(outer * n * inner),
           0,
           [&] { reduce(p, b.pool(), b.table()); },
           {}});
  };
  reduction(1, 49, 2048);
  reduction(128, 768, 1);
  reduction(1, 3136, 64);
}

void bench_layout(Bench& b) {
  const Buffer x(1 << 20), y(1 << 20);
  const auto permute = [&](const std::vector<int64_t>& shape, const std::vector<int>& perm,
                           int bytes, Runnable onednn = {}) {
    TransposeParams p;
    double elements = 1;
    for (size_t i = 0; i < shape.size(); ++i) {
      p.shape[p.rank] = shape[i];
      p.perm[p.rank++] = perm[i];
      elements *= static_cast<double>(shape[i]);
    }
    p.element_bytes = bytes;
    p.x = x.data;
    p.y = y.data;
    b.run({fmt::format("transpose {} by {}, {} bytes each", fmt::join(shape, "x"),
                       fmt::join(perm, ""), bytes),
           2.0 * bytes * elements, 0, [&] { transpose(p, b.pool()); }, std::move(onednn)});
  };
  permute({512, 512}, {1, 0}, 4, onednn_transpose(512, 512, b.pool().threads()));
  permute({512, 512}, {1, 0}, 1);
  permute({128, 12, 64}, {1, 0, 2}, 4);
  permute({3, 224, 224}, {1, 2, 0}, 4);
  permute({56, 56, 64}, {2, 0, 1}, 4);
}

void bench_recurrent(Bench& b) {
  for (const CellKind cell : {CellKind::kLstm, CellKind::kGru})
    for (const auto& [batch, hidden] : {Sizes{1, 128}, {1, 512}, {32, 128}}) {
      const int64_t gates = cell == CellKind::kLstm ? 4 : 3, columns = gates * hidden;
      RecurrentParams p;
      p.cell = cell;
      p.linear_before_reset = true;
      p.steps = 64, p.batch = batch, p.inputs = p.hidden = hidden;
      const Buffer x(64 * batch * hidden), w(packed_b_floats(hidden, columns)),
          r(packed_b_floats(hidden, columns)), bias(columns), y(64 * batch * hidden);
      p.x = x.data;
      p.y_step_stride = batch * hidden;
      p.direction[0].w = {w.data};
      p.direction[0].r = {r.data};
      p.direction[0].bias = p.direction[0].bias_r = bias.data;
      p.direction[0].y = y.data;
      const Buffer scratch(recurrent_scratch_bytes(p, b.pool().threads()) / 4);
      b.run({fmt::format("{} 64 steps batch {} hidden {}", cell == CellKind::kLstm ? "lstm" : "gru",
                         batch, hidden),
             64.0 * 4 * static_cast<double>(hidden * columns),
             2 * 64.0 * static_cast<double>(batch * 2 * hidden * columns),
             [&] { recurrent(p, b.pool(), scratch.data, b.table()); },
             onednn_recurrent(p, b.pool().threads())});
    }
}

void bench_attention(Bench& b) {
  for (const int64_t length : {128, 197, 512}) {
    const int64_t heads = 12, n = heads * length * 64;
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
    const Buffer scratch(attention_scratch_bytes(p, b.pool().threads()) / 4);
    b.run({fmt::format("attention {} heads {} tokens", heads, length),
           16.0 * static_cast<double>(n),
           4.0 * static_cast<double>(heads * length * length * 64),
           [&] { attention(p, b.pool(), scratch.data, b.table()); },
           {}});
  }
}

int run(int argc, char** argv) {
  Bench b(argc, argv);
  bench_gemm(b);
  bench_rows(b);
  bench_layout(b);
  bench_recurrent(b);
  bench_attention(b);
  return 0;
}

}  // namespace
}  // namespace tenon::cpu

int main(int argc, char** argv) {
  return tenon::cpu::run(argc, argv);
}
