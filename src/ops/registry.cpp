#include "ops/registry.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace tenon {

std::vector<OpDefs> op_list();  // generated

std::span<const OpDef* const> all_ops() {
  static const OpDefs sorted = [] {
    OpDefs all;
    for (const OpDefs& group : op_list()) all.insert(all.end(), group.begin(), group.end());
    std::sort(all.begin(), all.end(),
              [](const OpDef* a, const OpDef* b) { return a->name < b->name; });
    return all;
  }();
  return sorted;
}

namespace {

// A table by names' hashes. The first model of a process waits for it: to sort the names was a
// fifth of what a small one does to load.
class OpsByName {
 public:
  OpsByName() {
    size_t count = 0;
    for (const OpDefs& group : op_list())
      for (const OpDef* op : group) {
        TENON_CHECK(++count < kSlots / 2);
        *slot(op->name) = op;
      }
  }
  const OpDef* find(std::string_view name) { return *slot(name); }

 private:
  static constexpr size_t kSlots = 1024;

  // Of the op of this name, or a free one.
  const OpDef** slot(std::string_view name) {
    size_t hash = name.size();
    for (const char c : name) hash = hash * 31 + static_cast<unsigned char>(c);
    const OpDef** at = &slots_[hash % kSlots];
    while (*at != nullptr && (*at)->name != name)
      at = at == &slots_[kSlots - 1] ? &slots_[0] : at + 1;
    return at;
  }

  std::array<const OpDef*, kSlots> slots_{};
};

}  // namespace

const OpDef* find_op(std::string_view name) {
  static OpsByName ops;
  return ops.find(name);
}

std::unique_ptr<Op> create_op(std::string_view name) {
  const OpDef* def = find_op(name);
  return def == nullptr ? nullptr : def->create();
}

}  // namespace tenon
