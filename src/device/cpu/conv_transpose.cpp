// conv_transpose on the convolution kernels, one convolution per phase of the strides.
#include "ops/conv_transpose.h"

#include <algorithm>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/conv_transpose.h"
#include "device/cpu/kernels/pairs.h"
#include "device/cpu/window.h"

namespace tenon::cpu {
namespace {

ConvTransposeParams params_of(const StepInfo& s) {
  const ConvTranspose& op = *s.op.as<ConvTranspose>();
  const Shape& x = s.inputs[0].shape;
  const Shape& y = s.outputs[0].shape;
  ConvTransposeParams p;
  p.batch = y[0].size();
  const int spatial = x.rank() - 2;
  const std::vector<int64_t> filter = s.inputs[1].shape.sizes();
  set_window(op, s, std::span(filter).first(static_cast<size_t>(spatial)), op.pads, p);
  p.groups = op.groups;
  p.in_channels = x[spatial + 1].size();
  p.out_channels = y[spatial + 1].size();
  p.activation = to_kernel(op.activation, op.alpha, op.beta);
  return p;
}

std::string refuses_any(const StepInfo& s) {
  if (s.inputs[0].shape.rank() - 2 > kMaxSpatial) return "more than three spatial dimensions";
  if (s.constants[1] == nullptr) return "the filter is not constant";
  if (ConvTransposePlan::phases(params_of(s)) > ConvTransposePlan::kMaxPhases)
    return "the strides are too large";
  return {};
}

std::string refuses(const StepInfo& s) {
  return all_f32(s, {1}) ? refuses_any(s) : "only f32";
}

std::string refuses_pairs(const StepInfo& s) {
  if (s.inputs[0].dtype != DType::bf16 || s.inputs[1].dtype != DType::bf16 ||
      s.outputs[0].dtype != DType::f32 || (s.has(2) && s.inputs[2].dtype != DType::f32))
    return "only bf16 by bf16, with f32 results";
  if (pair_kernels() == nullptr) return "the processor has no products of bf16";
  if (s.in_dim(0, s.inputs[0].shape.rank() - 1) / s.op.as<ConvTranspose>()->groups % 2 != 0)
    return "the number of input channels is odd";
  return refuses_any(s);
}

class ConvTransposeKernel final : public Kernel {
 public:
  ConvTransposeKernel(const StepInfo& s, bool pairs)
      : pairs_(pairs), plan_(halved(params_of(s), pairs), pairs) {
    scratch_ = plan_.scratch_bytes(s.threads, table());
    packed_ = s.packs.get(*s.constants[1], plan_.layout_name(), plan_.filter_floats(),
                          [plan = plan_, filter = *s.constants[1]](float* out) {
                            plan.pack_filter(WideWeights(filter).data(), out);
                          });
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    const float* x = pairs_ ? as_pairs(c.inputs[0]->data<BFloat16>()) : c.in(0);
    plan_.run(x, packed_.get(), c.in(2), c.out(0), c.pool, c.scratch, table());
    return {};
  }

 private:
  static ConvTransposeParams halved(ConvTransposeParams p, bool pairs) {
    if (pairs) p.in_channels /= 2;
    return p;
  }
  const KernelTable& table() const { return pairs_ ? *pair_kernels() : kernels(); }

  bool pairs_;
  ConvTransposePlan plan_;
  int64_t scratch_ = 0;
  PackStore::Packed packed_;
};

template <bool kPairs>
std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<ConvTransposeKernel>(s, kPairs);
}

constexpr KernelCandidate kCandidates[] = {
    {ConvTranspose::name, "phase_convs", refuses, make<false>},
    {ConvTranspose::name, "phase_convs_bf16", refuses_pairs, make<true>}};

}  // namespace

std::span<const KernelCandidate> conv_transpose_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
