#include "ops/registry.h"

#include <algorithm>
#include <unordered_map>

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
  // The first model of a process waits for it: to sort the names was a fifth of what a small one
  // does to load.
  static const auto by_name = [] {
    std::unordered_map<std::string_view, const OpDef*> ops;
    ops.reserve(512);
    for (const OpDefs& group : op_list())
      for (const OpDef* op : group) ops.emplace(op->name, op);
    return ops;
  }();
  const auto it = by_name.find(name);
  return it == by_name.end() ? nullptr : it->second;
}

std::unique_ptr<Op> create_op(std::string_view name) {
  const OpDef* def = find_op(name);
  return def == nullptr ? nullptr : def->create();
}

}  // namespace tenon
