#include "lower/l2_pages.h"

#include <unordered_map>

namespace tenon {
namespace {

// Tensors that a kernel may have in L2 at once: entries of the runtime's table.
constexpr int64_t kMostTensors = 8;

struct Life {
  size_t first = 0, last = 0;
  bool host = false;
  int64_t pages = 0;  // of L2; 0: it is in memory
};

}  // namespace

std::vector<std::vector<bool>> operands_in_l2(
    const Machine& machine, std::span<const DeviceStep> steps,
    const std::function<const DeviceTensor&(int)>& tensor) {
  const auto* chip = std::get_if<AscendChip>(&machine.chip);
  if (chip == nullptr || chip->l2_pages == 0) return {};
  const auto page = static_cast<int64_t>(chip->l2 / chip->l2_pages);
  std::unordered_map<int, Life> lives;
  for (size_t s = 0; s < steps.size(); ++s)
    for (const int operand : steps[s].operands) {
      Life& life = lives.try_emplace(operand, Life{s, s}).first->second;
      life.last = s;
      life.host |= !steps[s].program;
    }
  auto left = static_cast<int64_t>(chip->l2_pages);
  int64_t tensors = 0;
  std::vector<std::vector<bool>> held(steps.size());
  for (size_t s = 0; s < steps.size(); ++s) {
    for (const int operand : steps[s].operands) {
      Life& life = lives.at(operand);
      const DeviceTensor& t = tensor(operand);
      const int64_t pages = (t.bytes() + page - 1) / page;
      if (life.first == s && life.pages == 0 && !life.host && tensors < kMostTensors &&
          t.role == DeviceTensor::Role::activation && pages <= left)
        life.pages = pages, left -= pages, ++tensors;
      held[s].push_back(life.pages > 0);
    }
    for (const int operand : steps[s].operands) {
      Life& life = lives.at(operand);
      if (life.last == s && life.pages > 0) left += life.pages, --tensors, life.pages = 0;
    }
  }
  return held;
}

}  // namespace tenon
