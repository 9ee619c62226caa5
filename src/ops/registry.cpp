#include "ops/registry.h"

#include <algorithm>

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

const OpDef* find_op(std::string_view name) {
  const auto ops = all_ops();
  const auto it =
      std::lower_bound(ops.begin(), ops.end(), name,
                       [](const OpDef* op, std::string_view n) { return op->name < n; });
  return it != ops.end() && (*it)->name == name ? *it : nullptr;
}

std::unique_ptr<Op> create_op(std::string_view name) {
  const OpDef* def = find_op(name);
  return def == nullptr ? nullptr : def->create();
}

}  // namespace tenon
