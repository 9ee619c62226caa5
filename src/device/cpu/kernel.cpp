#include "device/cpu/kernel.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "device/cpu/candidates.h"

namespace tenon::cpu {

PackStore::Packed PackStore::get(const Tensor& constant, std::string_view layout, int64_t floats,
                                 const std::function<void(float*)>& fill) {
  const std::lock_guard lock(mutex_);
  // The file holds equal bytes once: the address alone does not tell a constant.
  Packed& entry =
      packed_[{constant.raw(), fmt::format("{} of {}", layout, constant.type().to_string())}];
  if (entry == nullptr) {
    const size_t size = static_cast<size_t>(floats) * sizeof(float);
    auto storage = allocate_aligned(size);
    auto* values = reinterpret_cast<float*>(storage.get());
    fill(values);
    entry = Packed(storage, values);
    bytes_ += static_cast<int64_t>(size);
  }
  return entry;
}

int64_t PackStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

KernelChoice choose_kernel(const StepInfo& step) {
  KernelChoice choice;
  for (const KernelCandidate& candidate : kernel_candidates()) {
    if (candidate.op != step.op.def().name) continue;
    std::string reason = candidate.refuses(step);
    if (reason.empty()) {
      choice.kernel = candidate.make(step);
      choice.name = candidate.name;
      return choice;
    }
    choice.refusals.push_back(std::string(candidate.name) + ": " + reason);
  }
  choice.kernel = make_widened(step, choice.name);
  return choice;
}

}  // namespace tenon::cpu
