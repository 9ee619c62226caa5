// The explicit table of kernels the CPU device offers, by op.
#include "device/cpu/candidates.h"

#include <array>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace tenon::cpu {

namespace {

constexpr auto kGroups =
    std::to_array<std::span<const KernelCandidate> (*)()>({conv_candidates,
                                                           conv_transpose_candidates,
                                                           pool_candidates,
                                                           resize_candidates,
                                                           roi_candidates,
                                                           batch_norm_candidates,
                                                           depth_space_candidates,
                                                           matmul_candidates,
                                                           pointwise_candidates,
                                                           typed_candidates,
                                                           typed_binary_candidates,
                                                           row_candidates,
                                                           movement_candidates,
                                                           recurrent_candidates,
                                                           attention_candidates,
                                                           byte_sum_candidates,
                                                           fourier_candidates,
                                                           fused_candidates,
                                                           grid_sample_candidates,
                                                           group_norm_candidates,
                                                           gather_elements_candidates,
                                                           indexing_candidates,
                                                           scatter_candidates,
                                                           quantize_candidates,
                                                           quantized_product_candidates,
                                                           byte_candidates,
                                                           pair_candidates,
                                                           matmul_nbits_candidates});

}  // namespace

std::span<const KernelCandidate* const> candidates_of(std::string_view op) {
  // Listed when an op is first met: a process's first model would wait for those of all ops.
  static std::mutex mutex;
  static std::unordered_map<std::string_view, std::vector<const KernelCandidate*>> by_op;
  const std::lock_guard lock(mutex);
  const auto [found, is_new] = by_op.try_emplace(op);
  if (is_new)
    for (const auto group : kGroups)
      for (const KernelCandidate& candidate : group())
        if (candidate.op == op) found->second.push_back(&candidate);
  return found->second;
}

}  // namespace tenon::cpu
