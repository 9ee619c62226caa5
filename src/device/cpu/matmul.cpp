// matmul on the GEMM kernels: constant right sides packed once per model, others on the fly.
#include "ops/matmul.h"

#include <fmt/format.h>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/gemm.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/strassen.h"

namespace tenon::cpu {
namespace {

std::string refuses_common(const StepInfo& s, std::initializer_list<size_t> weights = {}) {
  if (!all_f32(s, weights)) return "only f32";
  const Shape& y = s.outputs[0].shape;
  if (s.has(2) && (s.inputs[2].shape.rank() != 1 || s.in_dim(2, 0) != s.out_dim(0, y.rank() - 1)))
    return "the bias is not one value per column";
  if (s.has(3) && s.inputs[3].shape != y) return "the residual is broadcast";
  return {};
}

// [m, k] x [k, n] with the right side a constant matrix; the batch of the left side counts as rows.
template <bool kStrassen>
class PackedMatmul final : public Kernel {
 public:
  explicit PackedMatmul(const StepInfo& s) : p_(sizes(s)) {
    const Matmul& op = *s.op.as<Matmul>();
    const auto [k, n, transposed] = std::tuple{p_.k, p_.n, op.transpose_b};
    const float alpha = static_cast<float>(op.alpha);
    packed_ = s.pack(
        1, layout_of(k, n, transposed, alpha), packed_b_floats(k, n),
        [k = k, n = n, transposed = transposed, alpha, weights = *s.constants[1]](float* out) {
          pack_b_scaled(k, n, WideWeights(weights).data(), transposed ? k : n, transposed, alpha,
                        out);
        });
    p_.b = packed_.get();
    scratch_ =
        kStrassen ? strassen_scratch_bytes(p_, s.threads) : gemm_scratch_bytes(p_, s.threads);
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    GemmParams p = p_;
    p.a = c.in(0);
    p.bias = c.in(2);
    p.residual = c.in(3);
    p.c = c.out(0);
    kStrassen ? strassen_gemm(p, c.pool, c.scratch) : gemm(p, c.pool, c.scratch);
    return {};
  }
  static GemmParams sizes(const StepInfo& s) {
    const Matmul& op = *s.op.as<Matmul>();
    const Shape& b = s.inputs[1].shape;
    const Shape& y = s.outputs[0].shape;
    GemmParams p;
    p.k = b[b.rank() - (op.transpose_b ? 1 : 2)].size();
    p.n = b[b.rank() - (op.transpose_b ? 2 : 1)].size();
    p.m = p.n == 0 ? 0 : *y.elements() / p.n;
    p.lda = p.k;
    p.ldc = p.ld_residual = p.n;
    p.activation = to_kernel(op.activation, op.act_alpha, op.act_beta);
    return p;
  }

 private:
  static std::string layout_of(int64_t k, int64_t n, bool transposed, float alpha) {
    std::string name = PanelLayout{.k = k, .n = n, .transposed = transposed}.name();
    return alpha == 1 ? name : fmt::format("{} times {}", name, alpha);
  }
  GemmParams p_;
  PackStore::Packed packed_;
  int64_t scratch_ = 0;
};

std::string packed_refuses(const StepInfo& s) {
  const Matmul& op = *s.op.as<Matmul>();
  if (std::string reason = refuses_common(s, {1}); !reason.empty()) return reason;
  if (s.constants[1] == nullptr) return "the right side is not constant";
  if (s.inputs[1].shape.rank() != 2) return "the right side is batched";
  if (op.transpose_a) return "the left side is transposed";
  return {};
}

std::string strassen_refuses(const StepInfo& s) {
  if (std::string reason = packed_refuses(s); !reason.empty()) return reason;
  if (s.strict) return "compiled with --strict";
  const char* const reason = strassen_refusal(PackedMatmul<true>::sizes(s));
  return reason == nullptr ? "" : reason;
}

// Batch dimensions of a matmul operand as strides against those of the result; 0 where broadcast.
void batch_strides(const Shape& x, const Shape& y, int64_t* strides) {
  const int batch_dims = y.rank() - 2;
  int64_t stride = x[x.rank() - 1].size() * x[x.rank() - 2].size();
  for (int i = batch_dims - 1; i >= 0; --i) {
    const int axis = i - (y.rank() - x.rank());
    const int slot = i + BatchedGemmParams::kMaxBatchDims - batch_dims;
    const int64_t d = axis < 0 ? 1 : x[axis].size();
    strides[slot] = d == 1 ? 0 : stride;
    stride *= d;
  }
}

class BatchedMatmul final : public Kernel {
 public:
  explicit BatchedMatmul(const StepInfo& s) {
    const Matmul& op = *s.op.as<Matmul>();
    const Shape& a = s.inputs[0].shape;
    const Shape& b = s.inputs[1].shape;
    const Shape& y = s.outputs[0].shape;
    const int batch_dims = y.rank() - 2;
    for (int i = 0; i < batch_dims; ++i)
      p_.batch[i + BatchedGemmParams::kMaxBatchDims - batch_dims] = y[i].size();
    p_.m = y[y.rank() - 2].size();
    p_.n = y[y.rank() - 1].size();
    p_.k = a[a.rank() - (op.transpose_a ? 2 : 1)].size();
    p_.alpha = static_cast<float>(op.alpha);
    p_.transpose_a = op.transpose_a;
    p_.transpose_b = op.transpose_b;
    p_.lda = a[a.rank() - 1].size();
    p_.ldb = b[b.rank() - 1].size();
    p_.ldc = p_.ld_residual = p_.n;
    batch_strides(a, y, p_.a_batch_strides);
    batch_strides(b, y, p_.b_batch_strides);
    batch_strides(y, y, p_.c_batch_strides);
    batch_strides(y, y, p_.residual_batch_strides);
    p_.activation = to_kernel(op.activation, op.act_alpha, op.act_beta);
    scratch_ = batched_gemm_scratch_bytes(p_, s.threads);
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    BatchedGemmParams p = p_;
    p.a = c.in(0);
    p.b = c.in(1);
    p.bias = c.in(2);
    p.residual = c.in(3);
    p.c = c.out(0);
    batched_gemm(p, c.pool, c.scratch);
    return {};
  }

 private:
  BatchedGemmParams p_;
  int64_t scratch_ = 0;
};

std::string batched_refuses(const StepInfo& s) {
  if (std::string reason = refuses_common(s); !reason.empty()) return reason;
  if (s.outputs[0].shape.rank() - 2 > BatchedGemmParams::kMaxBatchDims)
    return "more than four batch dimensions";
  return {};
}

template <typename K>
std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<K>(s);
}

constexpr KernelCandidate kCandidates[] = {
    {"matmul", "gemm_strassen", strassen_refuses, make<PackedMatmul<true>>},
    {"matmul", "gemm_packed", packed_refuses, make<PackedMatmul<false>>},
    {"matmul", "gemm_batched", batched_refuses, make<BatchedMatmul>},
};

}  // namespace

std::span<const KernelCandidate> matmul_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
