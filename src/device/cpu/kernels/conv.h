// Convolutions over channels-last tensors of one to three spatial dims, as a list of candidates
// that each say why they cannot take a case. See gemm.h for the rules on pointers and scratch.
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "device/cpu/kernels/activation.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {

// y = activation(conv(x, filter) + bias + residual). Dims are [depth, height, width]; a 2-D
// convolution has depth 1, a 1-D one depth and height 1 (and kernel 1, stride 1, pad 0 there).
// x is [batch, depth, height, width, in_channels], pixels `x_pixel_stride` floats apart and
// otherwise dense (so a slice of channels works); y and residual likewise with out_channels.
// Output pixel o reads input pixels o * stride - pad_begin + tap * dilation; what falls outside
// counts as zero, so the pads at the end follow from `out`.
struct ConvParams {
  int64_t batch = 1;
  int64_t in[3] = {1, 1, 1};
  int64_t out[3] = {1, 1, 1};
  int64_t kernel[3] = {1, 1, 1};
  int64_t stride[3] = {1, 1, 1};
  int64_t dilation[3] = {1, 1, 1};
  int64_t pad_begin[3] = {0, 0, 0};
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  int64_t groups = 1;
  const float* x = nullptr;
  int64_t x_pixel_stride = 0;
  const float* filter = nullptr;    // in the layout of the candidate that runs
  const float* bias = nullptr;      // [out_channels] or null
  const float* residual = nullptr;  // may be y itself; or null
  int64_t residual_pixel_stride = 0;
  float* y = nullptr;  // no overlap with x
  int64_t y_pixel_stride = 0;
  Activation activation;
};

// How a filter [kernel…, in_channels / groups, out_channels] lies in the model file.
enum class FilterLayout : uint8_t {
  kPanels = 0,     // pack_conv_filter
  kDepthwise = 1,  // pack_depthwise_filter
};
int64_t packed_filter_floats(FilterLayout layout, const ConvParams& p);
void pack_filter(FilterLayout layout, const ConvParams& p, const float* filter, float* packed);

struct ConvCandidate {
  const char* name;
  FilterLayout layout;
  // Null if it can run `p`, else the reason why not. Looks at sizes and attributes only.
  const char* (*refusal)(const ConvParams& p);
  int64_t (*scratch_bytes)(const ConvParams& p, int threads, const KernelTable& table);
  void (*run)(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table);
};

// All candidates, best first among those that share a layout.
std::span<const ConvCandidate> conv_candidates();

// The layout to pack a filter in. Depends only on kernel, stride, dilation, groups and channels, so
// it can be fixed before the spatial dims are known.
FilterLayout choose_filter_layout(const ConvParams& p);

// The first candidate of `layout` that takes `p`; there is one if the layout was chosen for `p`.
const ConvCandidate& choose_conv(FilterLayout layout, const ConvParams& p);

}  // namespace tenon::cpu
