// Which kernel computes a step: the table of candidates, best first.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "runtime/kernel.h"

namespace tenon::runtime {

std::span<const KernelCandidate> cpu_candidates();

// The first candidate that does not refuse; null when all do, and the reference evaluation runs.
// `refusals`, when given, collects "kernel: reason" lines.
std::unique_ptr<Kernel> choose_kernel(const StepInfo& info,
                                      std::vector<std::string>* refusals = nullptr);

}  // namespace tenon::runtime
