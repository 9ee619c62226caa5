// max_pool and avg_pool on the pooling kernels.
#include "device/cpu/kernels/pool.h"

#include "device/cpu/byte_average.h"
#include "device/cpu/candidates.h"
#include "device/cpu/rounded_reader.h"
#include "device/cpu/window.h"
#include "ops/pool.h"

namespace tenon::cpu {
namespace {

// Of the one type both x and y.
bool is_of(const StepInfo& s, DType dtype) {
  return s.inputs[0].dtype == dtype && s.outputs[0].dtype == dtype;
}

std::string refuses(const StepInfo& s) {
  if (!is_of(s, DType::f32) && !is_of(s, DType::bf16)) return "only f32 and bf16";
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
  set_window(op, s, op.kernel, pads, p);
  if (!pads.empty())
    for (int i = 0; i < spatial; ++i)
      p.pad_end[kMaxSpatial - spatial + i] =
          pads[static_cast<size_t>(spatial) + static_cast<size_t>(i)];
  return p;
}

class PoolKernel final : public RoundedReader {
 public:
  explicit PoolKernel(const StepInfo& s) {
    if (const auto* max = s.op.as<MaxPool>()) p_ = params_of(*max, s);
    if (const auto* average = s.op.as<AvgPool>()) {
      p_ = params_of(*average, s);
      p_.kind = PoolKind::kAverage;
      p_.count_include_pad = average->count_include_pad;
    }
    p_.narrow_x = p_.narrow_y = is_of(s, DType::bf16);
  }
  Status run(const RunContext& c) const override {
    PoolParams p = p_;
    p.x = static_cast<const float*>(c.inputs[0]->raw());
    p.y = static_cast<float*>(c.outputs[0]->mutable_raw());
    pooling(p, c.pool);
    return {};
  }
  std::unique_ptr<Kernel> join(const Kernel& next, size_t) const override {
    if (!rounds_to_bf16(next) || p_.narrow_y) return nullptr;
    auto joined = std::make_unique<PoolKernel>(*this);
    joined->p_.narrow_y = true;
    return joined;
  }
  std::unique_ptr<Kernel> reading_rounded() const override {
    if (p_.narrow_x) return nullptr;
    auto reader = std::make_unique<PoolKernel>(*this);
    reader->p_.narrow_x = true;
    return reader;
  }

  const PoolParams& params() const { return p_; }

 private:
  PoolParams p_;
};

std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<PoolKernel>(s);
}

constexpr KernelCandidate kCandidates[] = {{MaxPool::name, "window_rows", refuses, make},
                                           {AvgPool::name, "window_rows", refuses, make}};

}  // namespace

const PoolParams* averaged_windows(const Kernel& kernel) {
  const auto* pool = dynamic_cast<const PoolKernel*>(&kernel);
  const bool averages = pool != nullptr && pool->params().kind == PoolKind::kAverage;
  return averages && !pool->params().narrow_x ? &pool->params() : nullptr;
}

std::span<const KernelCandidate> pool_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
