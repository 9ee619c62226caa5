#include "device/cpu/conv_strips.h"

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/conv_strips.h"

namespace tenon::cpu {
namespace {

class StripsKernel final : public Kernel {
 public:
  StripsKernel(const ConvStrips& chain, std::vector<ChainPart> parts, int threads)
      : chain_(chain), parts_(std::move(parts)) {
    scratch_ = conv_strips_scratch_bytes(chain_, threads, kernels());
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    ConvStrips chain = chain_;
    InputParts::List list;
    parts_[0].input.set_input(c, 1, list, chain.parts[0].p);
    for (size_t i = 0; i < parts_.size(); ++i) {
      const ChainOperands& at = parts_[i].at;
      chain.parts[i].p.bias = at.bias ? c.in(at.first + 2) : nullptr;
      chain.parts[i].p.residual = at.residual ? c.in(at.first + 3) : nullptr;
    }
    chain.parts[parts_.size() - 1].p.y = c.out(0);
    conv_strips(chain, c.pool, c.scratch, kernels());
    return {};
  }
  std::unique_ptr<Kernel> join(const Kernel& next, size_t operands) const override {
    return join_strips(parts_, next, operands);
  }

 private:
  ConvStrips chain_;
  std::vector<ChainPart> parts_;
  int64_t scratch_ = 0;
};

}  // namespace

std::unique_ptr<Kernel> join_strips(std::vector<ChainPart> parts, const Kernel& next,
                                    size_t operands) {
  const auto* conv = dynamic_cast<const ChainableConv*>(&next);
  if (conv == nullptr || parts.size() == ConvStrips::kMostParts) return nullptr;
  parts.push_back(conv->chain_part(operands));
  ConvStrips chain;
  chain.count = parts.size();
  for (size_t i = 0; i < parts.size(); ++i) {
    // Only the last one may add to what there is.
    const bool adds = parts[i].at.residual && i + 1 < parts.size();
    if (parts[i].method == nullptr || parts[i].packed == nullptr || adds) return nullptr;
    chain.parts[i] = {parts[i].method->id, parts[i].p};
    chain.parts[i].p.filter = parts[i].packed.get();
  }
  if (conv_strips_refusal(chain) != nullptr) return nullptr;
  const int threads = parts[0].threads;
  return std::make_unique<StripsKernel>(chain, std::move(parts), threads);
}

}  // namespace tenon::cpu
