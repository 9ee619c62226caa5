#include "runtime/candidates.h"

#include <fmt/format.h>

namespace tenon::runtime {

std::unique_ptr<Kernel> choose_kernel(const StepInfo& info, std::vector<std::string>* refusals) {
  for (const KernelCandidate& candidate : cpu_candidates()) {
    if (candidate.op != info.step.op->def().name) continue;
    const char* reason = candidate.refuses(info);
    if (reason == nullptr) return candidate.make(info);
    if (refusals != nullptr) refusals->push_back(fmt::format("{}: {}", candidate.name, reason));
  }
  return nullptr;
}

std::span<const KernelCandidate> cpu_candidates() {
  return {};
}

}  // namespace tenon::runtime
