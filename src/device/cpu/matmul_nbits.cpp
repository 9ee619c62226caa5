// matmul_nbits with constant weights, packed once per model.
#include "ops/matmul_nbits.h"

#include <fmt/format.h>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/nbits.h"

namespace tenon::cpu {
namespace {

std::string refuses(const StepInfo& s) {
  if (s.constants[1] == nullptr || s.constants[2] == nullptr) return "the weights are not constant";
  if (s.in_dim(2, 0) < 1) return "there are no rows of weights";
  if (s.has(4) && s.inputs[4].shape != s.outputs[0].shape) return "the residual is broadcast";
  return {};
}

class NbitsKernel final : public Kernel {
 public:
  explicit NbitsKernel(const StepInfo& s) {
    const MatmulNbits& op = *s.op.as<MatmulNbits>();
    p_.bits = static_cast<int>(op.bits);
    p_.k = s.in_dim(1, 0) * (8 / op.bits);
    p_.n = s.in_dim(1, 1);
    p_.m = p_.n == 0 ? 0 : *s.outputs[0].shape.elements() / p_.n;
    p_.groups = s.in_dim(2, 0);
    p_.activation = to_kernel(op.activation, op.act_alpha, op.act_beta);
    packed_ =
        s.packs.get(*s.constants[1], fmt::format("{} bits by {}", op.bits, s.constants[2]->raw()),
                    packed_nbits_floats(p_),
                    [p = p_, w = *s.constants[1], scale = *s.constants[2]](float* out) {
                      pack_nbits(p, w.raw(), scale.data<float>(), out);
                    });
    p_.b = packed_.get();
    scratch_ = nbits_scratch_bytes(p_, s.threads);
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    NbitsParams p = p_;
    p.a = c.in(0);
    p.bias = c.in(3);
    p.residual = c.in(4);
    p.c = c.out(0);
    nbits_gemm(p, c.pool, c.scratch);
    return {};
  }

 private:
  NbitsParams p_;
  PackStore::Packed packed_;
  int64_t scratch_ = 0;
};

constexpr KernelCandidate kCandidates[] = {
    {MatmulNbits::name, "nbits", refuses,
     [](const StepInfo& s) -> std::unique_ptr<Kernel> { return std::make_unique<NbitsKernel>(s); }},
};

}  // namespace

std::span<const KernelCandidate> matmul_nbits_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
