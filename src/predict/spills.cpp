#include "predict/spills.h"

#include <algorithm>
#include <cmath>

namespace tenon {

SpillCounter::SpillCounter(const DeviceProgram& program)
    : program_(program), first_(program.tensors.size()), shared_(program.tensors.size()) {
  for (const DeviceStep& step : program.steps)
    for (const int operand : step.operands) {
      const auto t = static_cast<size_t>(operand);
      if (first_[t] == nullptr) first_[t] = &step;
      if (first_[t]->node != step.node) shared_[t] = true;
      first_of_layer_.try_emplace({step.node, operand}, &step);
    }
}

bool SpillCounter::is_made_by_kernel(int tensor) const {
  const auto t = static_cast<size_t>(tensor);
  return program_.tensors[t].role == DeviceTensor::Role::activation && first_[t]->program;
}

bool SpillCounter::is_of_one_layer(int tensor) const {
  return is_made_by_kernel(tensor) && !shared_[static_cast<size_t>(tensor)];
}

Spills SpillCounter::of(const DeviceStep& kernel,
                        std::span<const simulate::BufferTraffic> traffic) const {
  Spills spills;
  for (size_t b = 0; b < traffic.size(); ++b) {
    const isa::Buffer& buffer = kernel.program->buffers[b];
    const simulate::BufferTraffic& t = traffic[b];
    const int tensor = kernel.operands[b];
    if (buffer.role == isa::Buffer::Role::scratch || is_of_one_layer(tensor)) {
      spills.passed += std::llround(t.read + t.written);
    } else {
      const auto bytes =
          static_cast<double>(buffer.elements) * static_cast<double>(dtype_size(buffer.dtype));
      const bool is_first = first_of_layer_.at({kernel.node, tensor}) == &kernel;
      const double needed = buffer.role == isa::Buffer::Role::output ? t.written : t.read;
      spills.reread += std::llround(t.read + t.written - (is_first ? std::min(bytes, needed) : 0));
    }
    if (buffer.role == isa::Buffer::Role::input && is_made_by_kernel(tensor))
      spills.refetched += std::llround(t.fetched);
  }
  return spills;
}

}  // namespace tenon
