// conv on the convolution kernels: filters packed once per model, or per run where not constant.
#include "device/cpu/conv.h"

#include <algorithm>
#include <utility>

#include "device/cpu/candidates.h"
#include "device/cpu/conv_chain.h"
#include "device/cpu/conv_strips.h"
#include "device/cpu/kernels/conv.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/window.h"
#include "ops/conv.h"

namespace tenon::cpu {
std::string refuses_conv(const StepInfo& s) {
  const Shape& y = s.outputs[0].shape;
  if (y.rank() - 2 > kMaxSpatial) return "more than three spatial dimensions";
  if (s.has(2) && *s.inputs[2].shape.elements() != s.out_dim(0, y.rank() - 1))
    return "the bias is not one value per channel";
  if (s.has(3) && s.inputs[3].shape != y) return "the residual is broadcast";
  return {};
}

ConvParams conv_params(const StepInfo& s) {
  const Conv& op = *s.op.as<Conv>();
  const Shape& x = s.inputs[0].shape;
  const Shape& w = s.inputs[1].shape;
  const Shape& y = s.outputs[0].shape;
  ConvParams p;
  p.batch = y[0].size();
  const int spatial = x.rank() - 2;
  const std::vector<int64_t> sizes = x.sizes(), filter = w.sizes();
  const auto kernel = std::span(filter).first(static_cast<size_t>(spatial));
  set_window(op, s, kernel, effective_pads(op, kernel, std::span(sizes).subspan(1)), p);
  p.groups = op.groups;
  p.in_channels = p.x_pixel_stride = x[spatial + 1].size();
  p.out_channels = p.y_pixel_stride = p.residual_pixel_stride = y[spatial + 1].size();
  p.activation = to_kernel(op.activation, op.alpha, op.beta);
  return p;
}

std::optional<InputParts> InputParts::make(const ConvMethod& method, std::vector<int64_t> channels,
                                           int64_t unit) {
  if (!method.reads_parts || channels.size() > std::tuple_size_v<List> ||
      std::ranges::any_of(channels, [&](int64_t n) { return n % unit != 0; }))
    return std::nullopt;
  return InputParts{std::move(channels)};
}

void InputParts::set_input(const RunContext& c, int64_t per_float, List& list,
                           ConvParams& p) const {
  const auto x = [&](size_t i) {
    return c.has(i) ? static_cast<const float*>(c.inputs[i]->raw()) : nullptr;
  };
  if (channels.empty()) {
    p.x = x(0);
    return;
  }
  for (size_t i = 0; i < channels.size(); ++i)
    list[i] = {x(i), channels[i] / per_float, channels[i] / per_float};
  p.parts = std::span(list).first(channels.size());
}

namespace {

class ConvKernel final : public ChainableConv {
 public:
  ConvKernel(const StepInfo& s, const ConvMethod& chosen)
      : chosen_(chosen), p_(conv_params(s)), at_{0, s.has(2), s.has(3)}, threads_(s.threads) {
    scratch_ = chosen.scratch_bytes(p_, s.threads, kernels());
    if (s.constants[1] == nullptr) {
      filter_bytes_ = slots_bytes(chosen.filter_floats(p_), 1);
      return;
    }
    packed_ = s.pack(1, layout_name(), chosen.filter_floats(p_),
                     [&chosen, p = p_, filter = *s.constants[1]](float* out) {
                       chosen.pack_filter(p, WideWeights(filter).data(), out);
                     });
    p_.filter = packed_.get();
  }
  int64_t scratch_bytes() const override { return filter_bytes_ + scratch_; }
  Status run(const RunContext& c) const override {
    ConvParams p = p_;
    InputParts::List list;
    parts_.set_input(c, 1, list, p);
    p.bias = c.in(parts_.count() + 2);
    p.residual = c.in(parts_.count() + 3);
    p.y = c.out(0);
    if (packed_ == nullptr) {
      auto* const filter = static_cast<float*>(c.scratch);
      chosen_.pack_filter(p, c.in(parts_.count() + 1), filter);
      p.filter = filter;
    }
    chosen_.run(p, c.pool, static_cast<char*>(c.scratch) + filter_bytes_, kernels());
    return {};
  }
  std::unique_ptr<Kernel> join(const Kernel& next, size_t operands) const override {
    const ChainPart part = chain_part(parts_.count());
    auto chain = parts_.count() == 0 ? join_chain({part}, next, operands, threads_) : nullptr;
    return chain ? std::move(chain) : join_strips({part}, next, operands);
  }
  // A chain takes some rows at a time.
  std::string_view joined_name() const override {
    return chosen_.id == ConvMethodId::kStrassen
               ? std::string_view(conv_method(ConvMethodId::kPointwise).name)
               : std::string_view();
  }
  std::unique_ptr<Kernel> with_parts(std::vector<int64_t> channels) const override {
    auto parts = InputParts::make(chosen_, std::move(channels), 1);
    if (!parts) return nullptr;
    auto joined = std::make_unique<ConvKernel>(*this);
    joined->parts_ = std::move(*parts);
    return joined;
  }
  ChainPart chain_part(size_t operands) const override {
    ChainPart part{chosen_.chain_role, p_, at_, packed_};
    part.at.first = operands;
    part.method = &chosen_;
    part.input = parts_;
    part.threads = threads_;
    return part;
  }

 private:
  std::string layout_name() const {
    if (chosen_.layout == std::string_view("panels") && p_.groups == 1)
      return PanelLayout{.k = p_.kernel[0] * p_.kernel[1] * p_.kernel[2] * p_.in_channels,
                         .n = p_.out_channels}
          .name();
    return std::string(chosen_.layout) + " of " + std::to_string(p_.groups);
  }

  const ConvMethod& chosen_;
  ConvParams p_;
  ChainOperands at_;
  InputParts parts_;
  int threads_ = 1;
  PackStore::Packed packed_;
  int64_t filter_bytes_ = 0;
  int64_t scratch_ = 0;
};

template <ConvMethodId kMethod>
std::string refuses(const StepInfo& s) {
  if (!all_f32(s, {1})) return "only f32";
  if (std::string reason = refuses_conv(s); !reason.empty()) return reason;
  if (s.strict && conv_method(kMethod).share < 1) return "compiled with --strict";
  const char* reason = conv_method(kMethod).refusal(conv_params(s));
  return reason == nullptr ? "" : reason;
}

template <ConvMethodId kMethod>
std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<ConvKernel>(s, conv_method(kMethod));
}

template <size_t... kIndex>
std::vector<KernelCandidate> list(std::index_sequence<kIndex...>) {
  return {{Conv::name, conv_methods()[kIndex].name, refuses<static_cast<ConvMethodId>(kIndex)>,
           make<static_cast<ConvMethodId>(kIndex)>}...};
}

}  // namespace

double multiplied_share(const Op& op, std::span<const TensorType> inputs,
                        std::span<const TensorType> outputs) {
  PackStore none;
  const std::vector<const Tensor*> constants(inputs.size());
  const StepInfo step{op, inputs, outputs, constants, none};
  if (op.as<Conv>() == nullptr || !all_f32(step) || !refuses_conv(step).empty()) return 1;
  const ConvParams p = conv_params(step);
  for (const ConvMethod& method : conv_methods())
    if (method.refusal(p) == nullptr) return method.share;
  return 1;
}

std::span<const KernelCandidate> conv_candidates() {
  static const std::vector<KernelCandidate> all = list(std::make_index_sequence<kConvMethods>());
  return all;
}

}  // namespace tenon::cpu
