// The geometry of a window that slides over a channels-last tensor, as the kernels take it.
#pragma once

#include <cstdint>
#include <span>

#include "device/cpu/kernel.h"

namespace tenon::cpu {

// The kernels have three spatial dimensions; unused leading ones are 1.
constexpr int kMaxSpatial = 3;

// Fills in, out, kernel, stride, dilation and pad_begin of `p` from the step's first operand and
// result and the op's strides and dilations. `pads` are begins, then ends, or empty for none.
template <typename Op, typename Params>
void set_window(const Op& op, const StepInfo& s, std::span<const int64_t> kernel,
                std::span<const int64_t> pads, Params& p) {
  const int spatial = static_cast<int>(kernel.size());
  for (int i = 0; i < spatial; ++i) {
    const int d = kMaxSpatial - spatial + i;
    const auto u = static_cast<size_t>(i);
    p.in[d] = s.in_dim(0, i + 1);
    p.out[d] = s.out_dim(0, i + 1);
    p.kernel[d] = kernel[u];
    if (!op.strides.empty()) p.stride[d] = op.strides[u];
    if (!op.dilations.empty()) p.dilation[d] = op.dilations[u];
    if (!pads.empty()) p.pad_begin[d] = pads[u];
  }
}

}  // namespace tenon::cpu
