// instance_norm and group_norm.
#include "device/cpu/kernels/group_norm.h"

#include "device/cpu/candidates.h"
#include "ops/norm.h"

namespace tenon::cpu {
namespace {

std::string refuses(const StepInfo& s) {
  return all_f32(s) ? "" : "only f32";
}

class GroupNormKernel final : public Kernel {
 public:
  explicit GroupNormKernel(const StepInfo& s) {
    const int rank = s.inputs[0].shape.rank();
    p_.batch = s.in_dim(0, 0);
    p_.pixels = 1;
    for (int i = 1; i < rank - 1; ++i) p_.pixels *= s.in_dim(0, i);
    p_.channels = p_.groups = s.in_dim(0, rank - 1);
    double epsilon = 0;
    if (const auto* op = s.op.as<GroupNorm>()) {
      p_.groups = op->groups;
      epsilon = op->epsilon;
    } else {
      epsilon = s.op.as<InstanceNorm>()->epsilon;
    }
    p_.epsilon = static_cast<float>(epsilon);
    scratch_ = group_norm_scratch_bytes(p_, s.threads);
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    GroupNormParams p = p_;
    p.x = c.in(0);
    p.scale = c.in(1);
    p.bias = c.in(2);
    p.y = c.out(0);
    group_norm(p, c.pool, c.scratch);
    return {};
  }

 private:
  GroupNormParams p_;
  int64_t scratch_ = 0;
};

std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<GroupNormKernel>(s);
}

constexpr KernelCandidate kCandidates[] = {
    {InstanceNorm::name, "group_norm", refuses, make},
    {GroupNorm::name, "group_norm", refuses, make},
};

}  // namespace

std::span<const KernelCandidate> group_norm_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
