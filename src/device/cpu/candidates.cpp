// The explicit table of kernels the CPU device offers, by op.
#include "device/cpu/kernel.h"

namespace tenon::cpu {

std::span<const KernelCandidate> kernel_candidates() {
  return {};
}

}  // namespace tenon::cpu
