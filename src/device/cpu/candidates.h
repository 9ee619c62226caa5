// The groups of kernel candidates, one file each.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <optional>

#include "device/cpu/kernel.h"
#include "device/cpu/kernels/elementwise.h"
#include "ops/activation.h"

namespace tenon::cpu {

std::span<const KernelCandidate> batch_norm_candidates();
std::span<const KernelCandidate> byte_candidates();
std::span<const KernelCandidate> byte_sum_candidates();
std::span<const KernelCandidate> conv_candidates();
std::span<const KernelCandidate> conv_transpose_candidates();
std::span<const KernelCandidate> depth_space_candidates();
std::span<const KernelCandidate> matmul_candidates();
std::span<const KernelCandidate> matmul_nbits_candidates();
std::span<const KernelCandidate> pair_candidates();
std::span<const KernelCandidate> pointwise_candidates();
std::span<const KernelCandidate> pool_candidates();
std::span<const KernelCandidate> resize_candidates();
std::span<const KernelCandidate> roi_candidates();
std::span<const KernelCandidate> scatter_candidates();
std::span<const KernelCandidate> typed_binary_candidates();
std::span<const KernelCandidate> typed_candidates();
std::span<const KernelCandidate> row_candidates();
std::span<const KernelCandidate> movement_candidates();
std::span<const KernelCandidate> recurrent_candidates();
std::span<const KernelCandidate> attention_candidates();
std::span<const KernelCandidate> fourier_candidates();
std::span<const KernelCandidate> fused_candidates();
std::span<const KernelCandidate> gather_elements_candidates();
std::span<const KernelCandidate> grid_sample_candidates();
std::span<const KernelCandidate> group_norm_candidates();
std::span<const KernelCandidate> indexing_candidates();
std::span<const KernelCandidate> quantize_candidates();
std::span<const KernelCandidate> quantized_product_candidates();

// Those of an op by its name, which is to last; the preferred ones first. Thread-safe.
std::span<const KernelCandidate* const> candidates_of(std::string_view op);
// The choice among the candidates alone; none of them may apply.
KernelChoice choose_candidate(const StepInfo& step);
// For a step in 16-bit floats: the f32 kernel for it between conversions, and its name; or null.
std::unique_ptr<Kernel> make_widened(const StepInfo& s, std::string& name);

// Whether it does no more than to round f32 to bf16, which the kernel before it may do as well.
bool rounds_to_bf16(const Kernel& kernel);

// The kernels' spelling of an op's fused activation.
inline Activation to_kernel(tenon::ActivationKind kind, double alpha, double beta) {
  return {static_cast<ActivationKind>(kind), static_cast<float>(alpha), static_cast<float>(beta)};
}
static_assert(static_cast<int>(tenon::ActivationKind::elu) ==
              static_cast<int>(ActivationKind::kElu));
static_assert(static_cast<int>(tenon::ActivationKind::silu) ==
              static_cast<int>(ActivationKind::kSilu));

// The array kernel of a unary or binary op by its name, where there is one.
std::optional<UnaryOp> unary_kernel(std::string_view op);
std::optional<BinaryOp> binary_kernel(std::string_view op);
// The activation an op with parameters stands for; kNone for another op.
Activation activation_of(const Op& op);

// Whether every operand that is there, and every result, is f32; the constant operands `weights`
// may be of 16 bits.
inline bool all_f32(const StepInfo& s, std::initializer_list<size_t> weights = {}) {
  for (size_t i = 0; i < s.inputs.size(); ++i) {
    const DType t = s.inputs[i].dtype;
    if (s.inputs[i].is_none() || t == DType::f32) continue;
    if (std::ranges::find(weights, i) == weights.end() || s.constants[i] == nullptr ||
        (t != DType::f16 && t != DType::bf16))
      return false;
  }
  for (const TensorType& t : s.outputs)
    if (!t.is_none() && t.dtype != DType::f32) return false;
  return true;
}

// The f32 numbers of a constant that may be of 16 bits, while it is packed.
class WideWeights {
 public:
  explicit WideWeights(const Tensor& weights);
  const float* data() const { return data_; }

 private:
  std::unique_ptr<float[]> widened_;
  const float* data_ = nullptr;
};

}  // namespace tenon::cpu
