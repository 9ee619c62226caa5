// batch_norm where it was not folded into a neighbour: a scale and a shift per channel, which is a
// depthwise convolution of one tap.
#include <algorithm>
#include <cmath>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/blocks.h"
#include "device/cpu/kernels/gemm_region.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/windows.h"
#include "ops/norm.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kTaskValues = 32 << 10;

std::string refuses(const StepInfo& s) {
  return all_f32(s) ? "" : "only f32";
}

class BatchNormKernel final : public Kernel {
 public:
  explicit BatchNormKernel(const StepInfo& s) : epsilon_(s.op.as<BatchNorm>()->epsilon) {
    const Shape& x = s.inputs[0].shape;
    channels_ = x[x.rank() - 1].size();
    pixels_ = channels_ == 0 ? 0 : *x.elements() / channels_;
    padded_ = ceil_div(channels_, kPanelColumns) * kPanelColumns;
  }
  // The scales, padded as the kernel reads them, then the shifts.
  int64_t scratch_bytes() const override { return 2 * padded_ * 4; }
  Status run(const RunContext& c) const override {
    auto* const scales = static_cast<float*>(c.scratch);
    float* const shifts = scales + padded_;
    std::fill_n(scales, 2 * padded_, 0.0f);
    for (int64_t i = 0; i < channels_; ++i) {
      const double scale = c.in(1)[i] / std::sqrt(double{c.in(4)[i]} + epsilon_);
      scales[i] = static_cast<float>(scale);
      shifts[i] = static_cast<float>(c.in(2)[i] - scale * c.in(3)[i]);
    }
    DepthwiseRow row;
    row.channels = channels_;
    row.x_pixel = row.y_pixel = channels_;
    row.in = pixels_;
    row.filter = scales;
    row.bias = shifts;
    set_activation(row, {});
    const int64_t block = std::max<int64_t>(1, kTaskValues / std::max<int64_t>(1, channels_));
    c.pool.parallel_for(ceil_div(pixels_, block), [&](int64_t task) {
      DepthwiseRow part = row;
      const int64_t begin = task * block;
      part.pixels = part.in = std::min(block, pixels_ - begin);
      part.x = c.in(0) + begin * channels_;
      part.y = c.out(0) + begin * channels_;
      kernels().depthwise_row(part);
    });
    return {};
  }

 private:
  double epsilon_;
  int64_t channels_ = 0, pixels_ = 0, padded_ = 0;
};

std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<BatchNormKernel>(s);
}

constexpr KernelCandidate kCandidates[] = {{BatchNorm::name, "channel_rows", refuses, make}};

}  // namespace

std::span<const KernelCandidate> batch_norm_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
