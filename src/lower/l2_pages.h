// What stays in an L2 that is no cache: the vendor's compiler gives it to tensors, whole pages at a
// time.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "lower/device_program.h"

namespace tenon {

// Per step, which of its operands are in L2 from their first use to their last: what kernels leave
// to others, in the order of the steps, where there is room for all of it. Constants, inputs and
// outputs of the model and what the host touches stay in memory. Empty where L2 is a cache.
std::vector<std::vector<bool>> operands_in_l2(
    const Machine& machine, std::span<const DeviceStep> steps,
    const std::function<const DeviceTensor&(int)>& tensor);

}  // namespace tenon
