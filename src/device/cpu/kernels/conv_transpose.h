// Transposed convolutions over channels-last tensors, as ordinary ones: output pixels whose
// coordinates leave the same remainders by the strides see the same taps, so each such phase is a
// convolution of stride 1. See gemm.h for the rules on pointers and scratch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

// y = activation(conv_transpose(x, filter) + bias). The dims are those of ConvParams; input pixel i
// adds to output pixels i * stride - pad_begin + tap * dilation. x and y are dense.
struct ConvTransposeParams {
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
  Activation activation;
  bool strict = false;  // by no method that multiplies sums of the inputs
};

// Made once for sizes and attributes, then run any number of times.
class ConvTransposePlan {
 public:
  // The most phases that are worth planning for.
  static constexpr int64_t kMaxPhases = 1024;
  static int64_t phases(const ConvTransposeParams& p);

  // With `pairs`, products are of pairs of bf16 (pairs.h), of which p has in_channels, x and the
  // packed filter have them, and the tables given are those of pair_kernels().
  explicit ConvTransposePlan(const ConvTransposeParams& p, bool pairs = false);
  // `filter` is [kernel…, out_channels / groups, channels of x].
  int64_t filter_floats() const { return filter_floats_; }
  void pack_filter(const float* filter, float* packed) const;
  // What decides the packed form besides the filter: equal names, equal forms.
  std::string layout_name() const;
  int64_t scratch_bytes(int threads, const KernelTable& table = kernels()) const;
  void run(const float* x, const float* packed, const float* bias, float* y, ThreadPool& pool,
           void* scratch, const KernelTable& table = kernels()) const;

 private:
  struct Phase {
    ConvParams conv;
    const ConvMethod* method = nullptr;
    int64_t first[3] = {0, 0, 0};  // output pixel
    int64_t tap[3] = {0, 0, 0};    // of the filter for tap 0 of the convolution
    int64_t tap_step[3] = {1, 1, 1};
    int64_t filter_offset = 0;
    bool by_lines = false;  // plain products, of which each line of pixels lies in y as it is
  };
  void make_phases(const ConvTransposeParams& p);
  int64_t bias_floats() const;
  bool interleaves() const;
  void multiply_lines(const float* x, const float* packed, const float* bias, float* y,
                      ThreadPool& pool, const KernelTable& table) const;
  void interleave(const Phase& phase, const float* from, float* y, ThreadPool& pool) const;

  int64_t merged_pixels_;  // pixels side by side that see the same one of x are one, of so many
  ConvTransposeParams p_;
  bool pairs_;
  std::vector<Phase> phases_;
  int64_t filter_floats_ = 0;
  int64_t y_floats_ = 0;  // of the largest phase
};

}  // namespace tenon::cpu
