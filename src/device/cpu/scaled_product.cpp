#include "device/cpu/scaled_product.h"

#include <algorithm>

#include "base/numbers.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/windows.h"

namespace tenon::cpu {
namespace {

// Rows of a panel that are worth handing to another thread.
constexpr int64_t kTaskRows = 1024;

class ScaledProductKernel final : public Kernel {
 public:
  ScaledProductKernel(ChainPart product, int scale, int threads)
      : product_(std::move(product)), scale_(static_cast<size_t>(scale)), image_(product_.p) {
    image_.batch = 1;
    weight_floats_ = packed_b_floats(image_.in_channels, image_.out_channels);
    product_bytes_ = method().scratch_bytes(image_, threads, kernels());
  }
  int64_t scratch_bytes() const override { return slots_bytes(weight_floats_, 1) + product_bytes_; }
  Status run(const RunContext& c) const override {
    const ChainOperands& at = product_.at;
    auto* const weights = static_cast<float*>(c.scratch);
    const int64_t pixels = volume(image_.out);
    ConvParams p = image_;
    p.filter = weights;
    p.bias = at.bias ? c.in(at.first + 2) : nullptr;
    for (int64_t n = 0; n < product_.p.batch; ++n) {
      scale(c.in(scale_) + n * p.in_channels, weights, c.pool);
      p.x = c.in(0) + n * pixels * p.x_pixel_stride;
      p.y = c.out(0) + n * pixels * p.y_pixel_stride;
      if (at.residual) p.residual = c.in(at.first + 3) + n * pixels * p.residual_pixel_stride;
      method().run(p, c.pool, static_cast<char*>(c.scratch) + slots_bytes(weight_floats_, 1),
                   kernels());
    }
    return {};
  }

 private:
  static const ConvMethod& method() { return conv_method(ConvMethodId::kPointwise); }

  void scale(const float* scales, float* out, ThreadPool& pool) const {
    const float* const in = product_.packed.get();
    const int64_t k = image_.in_channels, panels = ceil_div(image_.out_channels, kPanelColumns);
    const int64_t together = std::max<int64_t>(1, kTaskRows / std::max<int64_t>(1, k));
    pool.parallel_for(ceil_div(panels, together), [&](int64_t task) {
      const int64_t end = std::min(panels, (task + 1) * together);
      for (int64_t at = task * together * k; at < end * k; at += k)
        for (int64_t row = 0; row < k; ++row)
          for (int64_t i = (at + row) * kPanelColumns; i < (at + row + 1) * kPanelColumns; ++i)
            out[i] = in[i] * scales[row];
    });
  }

  ChainPart product_;
  size_t scale_;
  ConvParams image_;
  int64_t weight_floats_ = 0, product_bytes_ = 0;
};

}  // namespace

bool scales_weights(const ConvParams& p) {
  return 3 * round_up(p.out_channels, kPanelColumns) <= 2 * volume(p.out);
}

std::unique_ptr<Kernel> make_scaled_product(ChainPart product, int scale, int threads) {
  return std::make_unique<ScaledProductKernel>(std::move(product), scale, threads);
}

}  // namespace tenon::cpu
