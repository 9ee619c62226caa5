// The table of all rules, by op.
#include <map>

#include "import/importer.h"
#include "import/tensorflow/node_graph.h"
#include "import/tensorflow/rule.h"

namespace tenon::tf {
namespace {

using Table = std::map<std::string_view, const RuleEntry*>;

const Table& table() {
  static const Table rules = [] {
    Table t;
    for (const auto& group :
         {array_rules(),        codec_rules(),     cudnn_rules(),  decompose_rules(),
          gradient_rules(),     image_rules(),     index_rules(),  layer_rules(),
          linalg_rules(),       list_rules(),      math_rules(),   nn_rules(),
          norm_rules(),         pointwise_rules(), quant_rules(),  quant_layer_rules(),
          ragged_rules(),       random_rules(),    record_rules(), recurrent_rules(),
          set_rules(),          shape_rules(),     signal_rules(), sparse_rules(),
          sparse_parts_rules(), special_rules(),   string_rules(), uniform_rules(),
          xla_rules()})
      for (const RuleEntry& entry : group) t.emplace(entry.op, &entry);
    return t;
  }();
  return rules;
}

}  // namespace

const RuleEntry* find_rule(std::string_view op) {
  const auto it = table().find(op);
  return it == table().end() ? nullptr : it->second;
}

std::vector<std::string> imported_ops() {
  std::vector<std::string> names;
  for (const auto& [op, entry] : table()) names.emplace_back(op);
  for (const std::string_view op : pass_through_ops())
    if (!op.starts_with('_')) names.emplace_back(op);
  std::ranges::sort(names);
  return names;
}

}  // namespace tenon::tf
