#include "device/cpu/byte_average.h"

#include "device/cpu/kernels/byte_averages.h"

namespace tenon::cpu {
namespace {

class ByteAverageKernel final : public Kernel {
 public:
  ByteAverageKernel(const PoolParams& windows, const LinearForm& x, int threads)
      : threads_(threads), x_has_zero_(x.has_zero) {
    p_.pool = windows;
    p_.x_signed = x.is_signed;
  }

  int64_t scratch_bytes() const override { return byte_averages_scratch_bytes(p_, threads_); }
  Status run(const RunContext& c) const override {
    const auto zero = [&](size_t i) {
      return c.has(i) ? static_cast<int32_t>(c.inputs[i]->int_at(0)) : 0;
    };
    ByteAverages p = p_;
    p.x = static_cast<const uint8_t*>(c.inputs[0]->raw());
    p.x_scale = c.in(1)[0];
    p.x_zero = x_has_zero_ ? zero(2) : 0;
    if (y_scale_ > 0) {
      p.y_scale = c.in(y_scale_)[0];
      p.y_zero = y_has_zero_ ? zero(y_scale_ + 1) : 0;
    }
    p.y = c.outputs[0]->mutable_raw();
    average_bytes(p, c.pool, c.scratch);
    return {};
  }

  // Rounds the averages to bytes again.
  std::unique_ptr<Kernel> join(const Kernel& next, size_t operands) const override {
    const auto form = linear_form(next);
    if (!form || !form->quantizes || y_scale_ > 0) return nullptr;
    auto joined = std::make_unique<ByteAverageKernel>(*this);
    joined->p_.result = form->is_signed ? Int8Result::kI8 : Int8Result::kU8;
    joined->y_scale_ = operands + 1;
    joined->y_has_zero_ = form->has_zero;
    return joined;
  }

 private:
  ByteAverages p_;
  int threads_;
  bool x_has_zero_ = false, y_has_zero_ = false;
  size_t y_scale_ = 0;  // the operand; 0: there is none
};

}  // namespace

std::unique_ptr<Kernel> join_average(const LinearForm& dequantizes, const Kernel& next,
                                     int threads) {
  const PoolParams* windows = averaged_windows(next);
  if (dequantizes.quantizes || windows == nullptr || windows->count_include_pad ||
      !can_average_bytes(*windows))
    return nullptr;
  return std::make_unique<ByteAverageKernel>(*windows, dequantizes, threads);
}

}  // namespace tenon::cpu
