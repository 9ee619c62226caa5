// Convolutions over channels-last tensors of one to three spatial dims, as a list of methods
// that each say why they do not take a case. See gemm.h for the rules on pointers and scratch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/half.h"
#include "base/thread_pool.h"
#include "device/cpu/kernels/activation.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {

// Some channels of an input.
struct ChannelPart {
  const float* x = nullptr;
  int64_t channels = 0;
  int64_t pixel_stride = 0;
};

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
  // The channels of x, one part's behind the other's, in the place of x: by methods that read
  // parts.
  std::span<const ChannelPart> parts;
  const float* filter = nullptr;    // packed by the method that runs
  const float* bias = nullptr;      // [out_channels] or null
  const float* residual = nullptr;  // may be y itself; or null
  int64_t residual_pixel_stride = 0;
  float* y = nullptr;  // no overlap with x
  int64_t y_pixel_stride = 0;
  Activation activation;
  // y and the residual are of bf16, and so are their strides: by methods that can round, with
  // tables of pairs. So is x where narrow_x, whose in_channels are then not counted in pairs: by
  // the depthwise method and by strips, which read it so that they may be odd.
  bool narrow_x = false;
  bool narrow_y = false;
  bool narrow_residual = false;
};

// The methods, best first. The last one takes everything.
enum class ConvMethodId : uint8_t {
  kDepthwise,
  kStrassen,
  kPointwise,
  kWinogradPanels,
  kWinogradF6,
  kWinograd,
  kShift,
  kStrip,
  kGrouped,
  kGroupedWide,
  kMerged,
  kIndirect
};
inline constexpr size_t kConvMethods = static_cast<size_t>(ConvMethodId::kIndirect) + 1;

// What a convolution may be in a chain of conv_chain.h.
enum class ChainRole : uint8_t { kNone, kPointwise, kDepthwise, kRounding };

// One way to run convolutions. A filter [kernel…, in_channels / groups, out_channels] is packed
// once per model, in the layout of the method.
struct ConvMethod {
  ConvMethodId id;
  const char* name;
  const char* layout;  // methods that name the same one share packed filters
  // Null if it can run `p` and none behind it is better, else the reason. Looks at sizes and
  // attributes only.
  const char* (*refusal)(const ConvParams& p);
  int64_t (*filter_floats)(const ConvParams& p);
  void (*pack_filter)(const ConvParams& p, const float* filter, float* packed);
  int64_t (*scratch_bytes)(const ConvParams& p, int threads, const KernelTable& table);
  void (*run)(const ConvParams& p, ThreadPool& pool, void* scratch, const KernelTable& table);
  ChainRole chain_role = ChainRole::kNone;
  // Of the time that the multiplications would take; less than 1: multiplies sums of the inputs,
  // whose roundings are others than those of the sums meant.
  double share = 1;
  // Packs for products of pairs (pairs.h), of which p has in_channels; null: not by this method.
  void (*pack_pairs)(const ConvParams& p, const BFloat16* filter, float* packed) = nullptr;
  bool can_round = false;    // to bf16
  bool reads_parts = false;  // ConvParams::parts
};

// All of them, in the order of their ids.
std::span<const ConvMethod, kConvMethods> conv_methods();
inline const ConvMethod& conv_method(ConvMethodId id) {
  return conv_methods()[static_cast<size_t>(id)];
}

}  // namespace tenon::cpu
