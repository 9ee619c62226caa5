// max_pool and avg_pool on the pooling kernels.
#include "device/cpu/kernels/pool.h"

#include "device/cpu/candidates.h"
#include "ops/pool.h"

namespace tenon::cpu {
namespace {

constexpr int kMaxSpatial = 3;

std::string refuses(const StepInfo& s) {
  if (!all_f32(s)) return "only f32";
  if (s.outputs.size() > 1) return "the positions of the maxima are wanted";
  if (s.inputs[0].shape.rank() - 2 > kMaxSpatial) return "more than three spatial dimensions";
  return {};
}

// Both ops have these attributes by these names.
template <typename Op>
PoolParams params_of(const Op& op, const StepInfo& s) {
  const Shape& x = s.inputs[0].shape;
  PoolParams p;
  const int spatial = x.rank() - 2;
  const std::vector<int64_t> sizes = x.sizes();
  const auto pads = effective_pads(op, op.kernel, std::span(sizes).subspan(1));
  p.batch = x[0].size();
  p.channels = x[spatial + 1].size();
  for (int i = 0; i < spatial; ++i) {
    const int d = kMaxSpatial - spatial + i;
    const auto u = static_cast<size_t>(i);
    p.in[d] = x[i + 1].size();
    p.out[d] = s.out_dim(0, i + 1);
    p.kernel[d] = op.kernel[u];
    if (!op.strides.empty()) p.stride[d] = op.strides[u];
    if (!op.dilations.empty()) p.dilation[d] = op.dilations[u];
    if (!pads.empty()) {
      p.pad_begin[d] = pads[u];
      p.pad_end[d] = pads[u + static_cast<size_t>(spatial)];
    }
  }
  return p;
}

class PoolKernel final : public Kernel {
 public:
  explicit PoolKernel(const StepInfo& s) {
    if (const auto* max = s.op.as<MaxPool>()) p_ = params_of(*max, s);
    if (const auto* average = s.op.as<AvgPool>()) {
      p_ = params_of(*average, s);
      p_.kind = PoolKind::kAverage;
      p_.count_include_pad = average->count_include_pad;
    }
  }
  Status run(const RunContext& c) const override {
    PoolParams p = p_;
    p.x = c.in(0);
    p.y = c.out(0);
    pooling(p, c.pool);
    return {};
  }

 private:
  PoolParams p_;
};

std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<PoolKernel>(s);
}

constexpr KernelCandidate kCandidates[] = {{MaxPool::name, "window_rows", refuses, make},
                                           {AvgPool::name, "window_rows", refuses, make}};

}  // namespace

std::span<const KernelCandidate> pool_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
