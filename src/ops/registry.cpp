#include "ops/registry.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace tenon {

std::span<OpDefs (*const)()> op_groups();  // generated

namespace {

// By the hash of its name each op has a slot, or else the next that is free. The first model of a
// process waits for the table: one of nodes took an eighth of what a small model does to load.
class OpTable {
 public:
  OpTable() {
    for (const auto group : op_groups())
      for (const OpDef* op : group()) slots_[slot_of(op->name)] = op;
  }
  const OpDef* find(std::string_view name) const { return slots_[slot_of(name)]; }

 private:
  static constexpr size_t kSlots = 1024;  // more than ops, some three times as many

  // Where it is, or would be.
  size_t slot_of(std::string_view name) const {
    uint32_t hash = 0;
    for (const char c : name) hash = hash * 31 + static_cast<uint8_t>(c);
    size_t slot = hash % kSlots;
    while (slots_[slot] != nullptr && slots_[slot]->name != name) slot = (slot + 1) % kSlots;
    return slot;
  }

  std::array<const OpDef*, kSlots> slots_ = {};
};

}  // namespace

std::span<const OpDef* const> all_ops() {
  static const OpDefs sorted = [] {
    OpDefs all;
    for (const auto group : op_groups()) {
      const OpDefs ops = group();
      all.insert(all.end(), ops.begin(), ops.end());
    }
    std::sort(all.begin(), all.end(),
              [](const OpDef* a, const OpDef* b) { return a->name < b->name; });
    return all;
  }();
  return sorted;
}

const OpDef* find_op(std::string_view name) {
  static const OpTable table;
  return table.find(name);
}

std::unique_ptr<Op> create_op(std::string_view name) {
  const OpDef* def = find_op(name);
  return def == nullptr ? nullptr : def->create();
}

}  // namespace tenon
