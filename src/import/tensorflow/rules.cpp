// The table of all rules, by op.
#include <unordered_map>

#include "import/tensorflow/rule.h"

namespace tenon::tf {

const RuleEntry* find_rule(std::string_view op) {
  static const auto kTable = [] {
    std::unordered_map<std::string_view, const RuleEntry*> table;
    for (const auto& group :
         {array_rules(), image_rules(), index_rules(), layer_rules(), linalg_rules(), list_rules(),
          math_rules(), nn_rules(), norm_rules(), pointwise_rules(), quant_rules(), ragged_rules(),
          random_rules(), recurrent_rules(), shape_rules(), signal_rules(), sparse_rules(),
          string_rules()})
      for (const RuleEntry& entry : group) table.emplace(entry.op, &entry);
    return table;
  }();
  const auto it = kTable.find(op);
  return it == kTable.end() ? nullptr : it->second;
}

}  // namespace tenon::tf
