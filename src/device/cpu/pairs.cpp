// conv and matmul of bf16 with f32 results, on processors that multiply pairs of bf16. Elsewhere
// the operands are widened (half.cpp).
#include "device/cpu/kernels/pairs.h"

#include <fmt/format.h>

#include "device/cpu/candidates.h"
#include "device/cpu/conv.h"
#include "device/cpu/conv_chain.h"
#include "device/cpu/kernels/conv.h"
#include "device/cpu/kernels/gemm.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/winograd.h"
#include "ops/conv.h"
#include "ops/matmul.h"

namespace tenon::cpu {
namespace {

std::string refuses_pairs(const StepInfo& s) {
  if (s.inputs[0].dtype != DType::bf16 || s.inputs[1].dtype != DType::bf16)
    return "only bf16 by bf16";
  if (pair_kernels() == nullptr) return "the processor has no products of bf16";
  if (s.outputs[0].dtype != DType::f32) return "only f32 results";
  if (s.has(2) && s.inputs[2].dtype != DType::f32) return "the bias must be f32";
  if (s.has(3) && s.inputs[3].dtype != DType::f32 && s.inputs[3].dtype != DType::bf16)
    return "the residual must be f32 or bf16";
  if (s.constants[1] == nullptr) return "the weights are not constant";
  return {};
}

const float* pairs_of(const RunContext& c, size_t i) {
  return as_pairs(c.inputs[i]->data<BFloat16>());
}

bool is_narrow(const StepInfo& s, size_t i) {
  return s.has(i) && s.inputs[i].dtype == DType::bf16;
}
// An operand of f32 or bf16, null where absent.
const float* any_of(const RunContext& c, size_t i) {
  return c.has(i) ? static_cast<const float*>(c.inputs[i]->raw()) : nullptr;
}
float* any_result(const RunContext& c) {
  return static_cast<float*>(c.outputs[0]->mutable_raw());
}

class PairMatmul final : public Kernel {
 public:
  explicit PairMatmul(const StepInfo& s) : threads_(s.threads) {
    const Matmul& op = *s.op.as<Matmul>();
    const Shape& b = s.inputs[1].shape;
    const Shape& y = s.outputs[0].shape;
    const int64_t k = b[op.transpose_b ? 1 : 0].size();
    p_.k = k / 2;
    p_.n = b[op.transpose_b ? 0 : 1].size();
    p_.m = p_.n == 0 ? 0 : *y.elements() / p_.n;
    p_.lda = p_.k;
    p_.ldc = p_.ld_residual = p_.n;
    p_.activation = to_kernel(op.activation, op.act_alpha, op.act_beta);
    p_.narrow_residual = is_narrow(s, 3);
    const auto [n, transposed] = std::pair{p_.n, op.transpose_b};
    packed_ = s.pack(1, PanelLayout{.k = k, .n = n, .transposed = transposed, .unit = 2}.name(),
                     packed_b_floats(p_.k, n),
                     [k, n = n, transposed = transposed, w = *s.constants[1]](float* out) {
                       pack_pairs(k, n, w.data<BFloat16>(), transposed ? k : n, transposed, out);
                     });
    p_.b = packed_.get();
  }
  int64_t scratch_bytes() const override {
    return gemm_scratch_bytes(p_, threads_, *pair_kernels());
  }
  Status run(const RunContext& c) const override {
    GemmParams p = p_;
    p.a = pairs_of(c, 0);
    p.bias = c.in(2);
    p.residual = any_of(c, 3);
    p.c = any_result(c);
    gemm(p, c.pool, c.scratch, *pair_kernels());
    return {};
  }
  std::unique_ptr<Kernel> join(const Kernel& next, size_t) const override {
    if (!rounds_to_bf16(next) || p_.narrow_c) return nullptr;
    auto joined = std::make_unique<PairMatmul>(*this);
    joined->p_.narrow_c = true;
    return joined;
  }

 private:
  GemmParams p_;
  PackStore::Packed packed_;
  int threads_;
};

std::string matmul_refuses(const StepInfo& s) {
  if (std::string reason = refuses_pairs(s); !reason.empty()) return reason;
  const Matmul& op = *s.op.as<Matmul>();
  const Shape& b = s.inputs[1].shape;
  const Shape& y = s.outputs[0].shape;
  if (b.rank() != 2) return "the right side is batched";
  if (op.transpose_a) return "the left side is transposed";
  if (op.alpha != 1) return "the product is scaled";
  if (b[op.transpose_b ? 1 : 0].size() % 2 != 0) return "the inner dimension is odd";
  if (s.has(2) && (s.inputs[2].shape.rank() != 1 || s.in_dim(2, 0) != s.out_dim(0, y.rank() - 1)))
    return "the bias is not one value per column";
  if (s.has(3) && s.inputs[3].shape != y) return "the residual is broadcast";
  return {};
}

using Id = ConvMethodId;

bool has_odd_channels(const StepInfo& s) {
  return s.in_dim(1, s.inputs[1].shape.rank() - 2) % 2 != 0;
}

ConvParams params_of_pairs(const StepInfo& s, Id method) {
  ConvParams p = conv_params(s);
  p.narrow_residual = is_narrow(s, 3);
  p.narrow_x = method == Id::kDepthwise || (method == Id::kStrip && has_odd_channels(s));
  if (p.narrow_x) return p;
  p.in_channels /= 2;
  p.x_pixel_stride /= 2;
  return p;
}

class PairConv final : public ChainableConv {
 public:
  PairConv(const StepInfo& s, const ConvMethod& method)
      : method_(method),
        p_(params_of_pairs(s, method.id)),
        at_{0, s.has(2), s.has(3)},
        threads_(s.threads) {
    if (method.id == Id::kWinograd) {
      packed_ = s.pack(1, "winograd of pairs", method.filter_floats(p_),
                       [p = p_, w = *s.constants[1]](float* out) {
                         pack_winograd_pairs(p, WideWeights(w).data(), out);
                       });
      return;
    }
    const bool panels =
        method.layout == std::string_view("panels") && p_.groups == 1 && !p_.narrow_x;
    const int64_t k = 2 * p_.kernel[0] * p_.kernel[1] * p_.kernel[2] * p_.in_channels;
    packed_ = s.pack(1,
                     panels ? PanelLayout{.k = k, .n = p_.out_channels, .unit = 2}.name()
                            : fmt::format("pairs of {} groups, {}", p_.groups, method.layout),
                     method.filter_floats(p_), [&method, p = p_, w = *s.constants[1]](float* out) {
                       method.pack_pairs(p, w.data<BFloat16>(), out);
                     });
  }
  int64_t scratch_bytes() const override {
    return method_.scratch_bytes(p_, threads_, *pair_kernels());
  }
  Status run(const RunContext& c) const override {
    ConvParams p = p_;
    p.filter = packed_.get();
    InputParts::List list;
    parts_.set_input(c, 2, list, p);
    p.bias = c.in(parts_.count() + 2);
    p.residual = any_of(c, parts_.count() + 3);
    p.y = any_result(c);
    method_.run(p, c.pool, c.scratch, *pair_kernels());
    return {};
  }
  std::unique_ptr<Kernel> join(const Kernel& next, size_t operands) const override {
    if (!rounds_to_bf16(next))
      return parts_.count() == 0 ? join_chain({chain_part(0)}, next, operands, threads_) : nullptr;
    if (!method_.can_round || p_.narrow_y) return nullptr;
    auto joined = std::make_unique<PairConv>(*this);
    joined->p_.narrow_y = true;
    return joined;
  }
  std::unique_ptr<Kernel> with_parts(std::vector<int64_t> channels) const override {
    // Whole vectors of pairs.
    auto parts = InputParts::make(method_, std::move(channels), kPanelColumns);
    if (!parts) return nullptr;
    auto joined = std::make_unique<PairConv>(*this);
    joined->parts_ = std::move(*parts);
    return joined;
  }
  ChainPart chain_part(size_t operands) const override {
    ChainPart part{method_.chain_role, p_, at_, packed_, true};
    part.at.first = operands;
    return part;
  }

 private:
  const ConvMethod& method_;
  ConvParams p_;
  ChainOperands at_;
  InputParts parts_;
  int threads_ = 1;
  PackStore::Packed packed_;
};

std::string depthwise_refuses(const StepInfo& s) {
  if (std::string reason = refuses_pairs(s); !reason.empty()) return reason;
  if (std::string reason = refuses_conv(s); !reason.empty()) return reason;
  if (s.has(3)) return "something is added";
  const char* reason = conv_method(Id::kDepthwise).refusal(params_of_pairs(s, Id::kDepthwise));
  return reason == nullptr ? "" : reason;
}

template <Id kMethod>
std::string conv_refuses(const StepInfo& s) {
  if (std::string reason = refuses_pairs(s); !reason.empty()) return reason;
  if (std::string reason = refuses_conv(s); !reason.empty()) return reason;
  if (kMethod != Id::kStrip && has_odd_channels(s)) return "the number of input channels is odd";
  if (is_narrow(s, 3) && !conv_method(kMethod).can_round) return "the residual is of bf16";
  const char* reason = nullptr;
  if constexpr (kMethod == Id::kWinograd) {
    if (s.strict) return "compiled with --strict";
    // Tiles take less time for all products than vectors for the transforms.
    if (pair_kernels()->tile_rows > kernels().tile_rows) return "the processor multiplies tiles";
    reason = winograd_pairs_refusal(params_of_pairs(s, kMethod));
  } else {
    reason = conv_method(kMethod).refusal(params_of_pairs(s, kMethod));
  }
  return reason == nullptr ? "" : reason;
}
template <Id kMethod>
std::unique_ptr<Kernel> make_conv(const StepInfo& s) {
  return std::make_unique<PairConv>(s, conv_method(kMethod));
}

constexpr KernelCandidate kCandidates[] = {
    {Matmul::name, "gemm_bf16", matmul_refuses,
     [](const StepInfo& s) -> std::unique_ptr<Kernel> { return std::make_unique<PairMatmul>(s); }},
    {Conv::name, "depthwise_bf16", depthwise_refuses, make_conv<Id::kDepthwise>},
    {Conv::name, "winograd_bf16", conv_refuses<Id::kWinograd>, make_conv<Id::kWinograd>},
    {Conv::name, "gemm_bf16", conv_refuses<Id::kPointwise>, make_conv<Id::kPointwise>},
    {Conv::name, "gemm_shift_bf16", conv_refuses<Id::kShift>, make_conv<Id::kShift>},
    {Conv::name, "gemm_strip_bf16", conv_refuses<Id::kStrip>, make_conv<Id::kStrip>},
    {Conv::name, "gemm_indirect_bf16", conv_refuses<Id::kIndirect>, make_conv<Id::kIndirect>},
};

}  // namespace

std::span<const KernelCandidate> pair_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
