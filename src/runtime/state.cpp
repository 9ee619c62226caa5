#include "runtime/state.h"

#include <fmt/format.h>

#include "runtime/plan.h"

namespace tenon::runtime {

State::State(std::vector<PortInfo> variables, std::vector<Tensor> initial)
    : variables_(std::move(variables)), initial_(std::move(initial)) {
  reset();
}

Result<Tensor> State::get(size_t index) const {
  if (index >= slots_.size())
    return invalid_argument(
        fmt::format("there are {} state variables, no number {}", slots_.size(), index));
  const std::lock_guard lock(mutex_);
  return slots_[index].value.clone();
}

Status State::set(size_t index, const Tensor& value) {
  if (index >= slots_.size())
    return invalid_argument(
        fmt::format("there are {} state variables, no number {}", slots_.size(), index));
  const PortInfo& variable = variables_[index];
  if (!value.defined() || value.is_list() || !is_of_type(value, variable.type))
    return invalid_argument(
        fmt::format("state variable '{}' must be {} {}, got {} {}", variable.name,
                    dtype_long_name(variable.type.dtype), variable.type.shape.to_string(),
                    dtype_long_name(value.dtype()), value.type().shape.to_string()));
  Tensor copy = TRY(value.clone());
  const std::lock_guard lock(mutex_);
  slots_[index] = {std::move(copy), {}, true};
  return {};
}

void State::reset() {
  const std::lock_guard lock(mutex_);
  slots_.clear();
  for (const Tensor& value : initial_) slots_.push_back({value, {}, false});
}

TensorTypes State::types() const {
  const std::lock_guard lock(mutex_);
  TensorTypes types;
  for (const Slot& slot : slots_) types.push_back(slot.value.type());
  return types;
}

}  // namespace tenon::runtime
