// depth_to_space and space_to_depth as transposes.
#include "ops/depth_space.h"

#include <algorithm>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/layout.h"

namespace tenon::cpu {
namespace {

std::string refuses(const StepInfo& s) {
  return s.inputs[0].dtype == DType::string ? "strings" : "";
}

class DepthSpaceKernel final : public Kernel {
 public:
  explicit DepthSpaceKernel(const StepInfo& s) {
    const auto* to_space = s.op.as<DepthToSpace>();
    const int64_t block = to_space != nullptr ? to_space->block : s.op.as<SpaceToDepth>()->block;
    // The side with more channels is [rows, width, depth].
    const TensorType& deep = to_space != nullptr ? s.inputs[0] : s.outputs[0];
    const int64_t rows = deep.shape[0].size() * deep.shape[1].size();
    const int64_t width = deep.shape[2].size(), channels = deep.shape[3].size() / (block * block);
    p_.element_bytes = static_cast<int>(dtype_size(deep.dtype));
    if (to_space == nullptr)
      set({rows, block, width, block * channels}, {0, 2, 1, 3});
    else if (to_space->mode == DepthMode::dcr)
      set({rows, width, block, block * channels}, {0, 2, 1, 3});
    else
      set({rows, width, channels, block, block}, {0, 3, 1, 4, 2});
  }
  Status run(const RunContext& c) const override {
    if (c.outputs[0]->elements() == 0) return {};
    TransposeParams p = p_;
    p.x = c.inputs[0]->raw();
    p.y = c.outputs[0]->mutable_raw();
    transpose(p, c.pool);
    return {};
  }

 private:
  void set(std::initializer_list<int64_t> shape, std::initializer_list<int> perm) {
    p_.rank = static_cast<int>(shape.size());
    std::copy(shape.begin(), shape.end(), p_.shape);
    std::copy(perm.begin(), perm.end(), p_.perm);
  }
  TransposeParams p_;
};

std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<DepthSpaceKernel>(s);
}

constexpr KernelCandidate kCandidates[] = {{DepthToSpace::name, "move_blocks", refuses, make},
                                           {SpaceToDepth::name, "move_blocks", refuses, make}};

}  // namespace

std::span<const KernelCandidate> depth_space_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
