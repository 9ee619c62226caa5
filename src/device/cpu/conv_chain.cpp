#include "device/cpu/conv_chain.h"

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/conv_chain.h"
#include "device/cpu/kernels/pairs.h"

namespace tenon::cpu {
namespace {

void bind(const RunContext& c, const ChainPart& part, ConvParams& p) {
  const ChainOperands& at = part.at;
  if (c.has(at.first))
    p.x = part.pairs ? as_pairs(c.inputs[at.first]->data<BFloat16>()) : c.in(at.first);
  p.bias = at.bias ? c.in(at.first + 2) : nullptr;
  p.residual = at.residual ? static_cast<const float*>(c.inputs[at.first + 3]->raw()) : nullptr;
}

class ChainKernel final : public Kernel {
 public:
  ChainKernel(const ConvChain& chain, std::vector<ChainPart> parts, int threads)
      : chain_(chain), parts_(std::move(parts)), threads_(threads) {
    scratch_ = conv_chain_scratch_bytes(chain_, threads, kernels());
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    ConvChain chain = chain_;
    size_t i = 0;
    if (chain.expands) bind(c, parts_[i++], chain.expand);
    bind(c, parts_[i++], chain.depthwise);
    if (chain.rounds) ++i;
    if (chain.projects) bind(c, parts_[i], chain.project);
    (chain.projects ? chain.project : chain.depthwise).y =
        static_cast<float*>(c.outputs[0]->mutable_raw());
    conv_chain(chain, c.pool, c.scratch, kernels());
    return {};
  }
  std::unique_ptr<Kernel> join(const Kernel& next, size_t operands) const override {
    return join_chain(parts_, next, operands, threads_);
  }

 private:
  ConvChain chain_;
  std::vector<ChainPart> parts_;
  int threads_;
  int64_t scratch_ = 0;
};

// A 1x1 convolution that cannot round what it gives.
bool rounds_too_deep(const ChainPart& part, const ConvChain& chain) {
  return part.p.narrow_y && !conv_chain_rounds(part.p, *chain.pairs);
}

// Whether the parts are, in this order, an expansion or none, a depthwise convolution, its rounding
// or none, a projection or none.
bool arrange(const std::vector<ChainPart>& parts, ConvChain& chain) {
  size_t i = 0;
  const auto is = [&](ChainRole role) { return i < parts.size() && parts[i].role == role; };
  if (is(ChainRole::kPointwise)) {
    if (rounds_too_deep(parts[i], chain)) return false;
    chain.expands = true;
    chain.expands_pairs = parts[i].pairs;
    chain.expand = parts[i++].p;
  }
  if (!is(ChainRole::kDepthwise)) return false;
  chain.depthwise = parts[i++].p;
  if (chain.expands && chain.expand.narrow_y != chain.depthwise.narrow_x) return false;
  if (is(ChainRole::kRounding)) chain.rounds = true, ++i;
  if (is(ChainRole::kPointwise) && parts[i].pairs == (chain.rounds || chain.depthwise.narrow_y)) {
    if (rounds_too_deep(parts[i], chain)) return false;
    chain.projects = true;
    chain.project = parts[i++].p;
  }
  return i == parts.size();
}

}  // namespace

std::unique_ptr<Kernel> join_chain(std::vector<ChainPart> parts, const Kernel& next,
                                   size_t operands, int threads) {
  if (rounds_to_bf16(next) && parts.back().pairs && !parts.back().p.narrow_y)
    parts.back().p.narrow_y = true;
  else if (rounds_to_bf16(next))
    parts.push_back({ChainRole::kRounding});
  else if (const auto* conv = dynamic_cast<const ChainableConv*>(&next))
    parts.push_back(conv->chain_part(operands));
  else
    return nullptr;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].role == ChainRole::kRounding) continue;
    // Only the last one may add to what there is.
    if (parts[i].packed == nullptr || (parts[i].at.residual && i + 1 < parts.size()))
      return nullptr;
    parts[i].p.filter = parts[i].packed.get();
  }
  ConvChain chain;
  chain.pairs = pair_kernels();
  if (!arrange(parts, chain) || conv_chain_refusal(chain.depthwise) != nullptr ||
      !conv_chain_pays(chain, threads))
    return nullptr;
  return std::make_unique<ChainKernel>(chain, std::move(parts), threads);
}

}  // namespace tenon::cpu
