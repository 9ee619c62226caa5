// Averages of what was made of bytes, computed on the bytes.
#pragma once

#include <memory>
#include <optional>

#include "device/cpu/kernel.h"
#include "device/cpu/kernels/pool.h"

namespace tenon::cpu {

// quantize_linear or dequantize_linear between f32 and bytes with one scale, operand 1, and perhaps
// one zero point, operand 2.
struct LinearForm {
  bool quantizes = false;
  bool is_signed = false;  // the bytes
  bool has_zero = false;
};

// What a kernel of these ops does, if it does such a thing.
std::optional<LinearForm> linear_form(const Kernel& kernel);
// The windows of a kernel of avg_pool, or null.
const PoolParams* averaged_windows(const Kernel& kernel);

// dequantize_linear and avg_pool as Kernel::join(), which quantize_linear may be joined to in turn.
std::unique_ptr<Kernel> join_average(const LinearForm& dequantizes, const Kernel& next,
                                     int threads);

}  // namespace tenon::cpu
