// attention on the fused kernel.
#include "ops/attention.h"

#include <cmath>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/attention.h"
#include "device/cpu/strides.h"

namespace tenon::cpu {
namespace {

std::string refuses(const StepInfo& s) {
  for (size_t i = 0; i < s.inputs.size(); ++i)
    if (s.has(i) && s.inputs[i].dtype != DType::f32 &&
        !(i == 3 && s.inputs[i].dtype == DType::boolean))
      return "only f32";
  return {};
}

std::string refuses_pairs(const StepInfo& s) {
  for (size_t i = 0; i < 3; ++i)
    if (s.inputs[i].dtype != DType::bf16) return "only bf16";
  if (pair_kernels() == nullptr) return "the processor has no products of bf16";
  if (s.has(3) && s.inputs[3].dtype != DType::f32 && s.inputs[3].dtype != DType::boolean)
    return "the mask must be f32 or boolean";
  return s.in_dim(0, 3) % 2 == 0 ? "" : "the heads have an odd number of elements";
}

template <typename T>
HeadView<T> dense_view(const Attention& op, const Shape& shape) {
  const int64_t width = shape[3].size(), inner = shape[2].size();
  const int64_t batch = shape[1].size() * inner * width;
  if (op.length_first) return {nullptr, batch, width, inner * width};
  return {nullptr, batch, inner * width, width};
}

class AttentionKernel final : public Kernel {
 public:
  explicit AttentionKernel(const StepInfo& s) : threads_(s.threads) {
    const Attention& op = *s.op.as<Attention>();
    p_.batch = s.in_dim(0, 0);
    p_.heads = s.in_dim(0, op.head_axis());
    p_.kv_heads = s.in_dim(1, op.head_axis());
    p_.q_len = s.in_dim(0, op.length_axis());
    p_.kv_len = s.in_dim(1, op.length_axis());
    p_.head_dim = s.in_dim(0, 3);
    p_.value_dim = s.in_dim(2, 3);
    p_.scale = static_cast<float>(op.scale != 0 ? op.scale
                                                : 1 / std::sqrt(static_cast<double>(p_.head_dim)));
    p_.causal = op.causal;
    p_.nan_when_empty = op.nan_when_empty;
    p_.q = dense_view<const float>(op, s.inputs[0].shape);
    p_.k = dense_view<const float>(op, s.inputs[1].shape);
    p_.v = dense_view<const float>(op, s.inputs[2].shape);
    p_.y = dense_view<float>(op, s.outputs[0].shape);
    p_.narrow = p_.narrow_y = s.inputs[0].dtype == DType::bf16;
    if (s.has(3)) {
      const auto strides =
          broadcast_strides(s.inputs[3].shape.sizes(), {p_.batch, p_.heads, p_.q_len, p_.kv_len});
      p_.mask = {nullptr, strides[0], strides[1], strides[2]};
      p_.keep = {nullptr, strides[0], strides[1], strides[2]};
      p_.mask_step = strides[3];
    }
  }
  int64_t scratch_bytes() const override { return attention_scratch_bytes(p_, threads_); }
  Status run(const RunContext& c) const override {
    AttentionParams p = p_;
    const auto data = [&](size_t i) { return static_cast<const float*>(c.inputs[i]->raw()); };
    p.q.data = data(0);
    p.k.data = data(1);
    p.v.data = data(2);
    p.y.data = static_cast<float*>(c.outputs[0]->mutable_raw());
    if (c.has(3) && c.inputs[3]->dtype() == DType::boolean)
      p.keep.data = c.inputs[3]->data<bool>();
    else if (c.has(3))
      p.mask.data = c.in(3);
    attention(p, c.pool, c.scratch, p.narrow ? *pair_kernels() : kernels());
    return {};
  }
  std::unique_ptr<Kernel> join(const Kernel& next, size_t) const override {
    if (!rounds_to_bf16(next) || p_.narrow_y) return nullptr;
    auto joined = std::make_unique<AttentionKernel>(*this);
    joined->p_.narrow_y = true;
    return joined;
  }

 private:
  AttentionParams p_;
  int threads_;
};

std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<AttentionKernel>(s);
}

constexpr KernelCandidate kCandidates[] = {
    {Attention::name, "attention", refuses, make},
    {Attention::name, "attention_bf16", refuses_pairs, make}};

}  // namespace

std::span<const KernelCandidate> attention_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
