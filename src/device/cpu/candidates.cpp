// The explicit table of kernels the CPU device offers, by op.
#include "device/cpu/candidates.h"

namespace tenon::cpu {

std::span<const KernelCandidate> kernel_candidates() {
  static const std::vector<KernelCandidate> all = [] {
    std::vector<KernelCandidate> list;
    for (const auto group : {conv_candidates(),
                             conv_transpose_candidates(),
                             pool_candidates(),
                             resize_candidates(),
                             roi_candidates(),
                             batch_norm_candidates(),
                             depth_space_candidates(),
                             matmul_candidates(),
                             pointwise_candidates(),
                             typed_candidates(),
                             typed_binary_candidates(),
                             row_candidates(),
                             movement_candidates(),
                             recurrent_candidates(),
                             attention_candidates(),
                             byte_sum_candidates(),
                             fourier_candidates(),
                             fused_candidates(),
                             grid_sample_candidates(),
                             group_norm_candidates(),
                             gather_elements_candidates(),
                             indexing_candidates(),
                             scatter_candidates(),
                             quantize_candidates(),
                             quantized_product_candidates(),
                             byte_candidates(),
                             pair_candidates(),
                             matmul_nbits_candidates()})
      list.insert(list.end(), group.begin(), group.end());
    return list;
  }();
  return all;
}

}  // namespace tenon::cpu
