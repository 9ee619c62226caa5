// Finds the rule of an op in the tables of all groups.
#include <map>
#include <utility>

#include "import/importer.h"
#include "import/onnx/ml.h"
#include "import/onnx/rule.h"

namespace tenon::onnx {
namespace {

using Key = std::pair<std::string_view, std::string_view>;  // domain, op
using Table = std::multimap<Key, const Rule*>;

// One per line.
constexpr std::span<const Rule> (*kGroups[])() = {
    attention_rules,            //
    basic_rules,                //
    control_rules,              //
    conv_rules,                 //
    image_rules,                //
    index_rules,                //
    linear_rules,               //
    loss_rules,                 //
    microsoft_rules,            //
    microsoft_attention_rules,  //
    microsoft_expert_rules,     //
    microsoft_layer_rules,      //
    ml_rules,                   //
    norm_rules,                 //
    pointwise_rules,            //
    pool_rules,                 //
    qlinear_rules,              //
    quantize_rules,             //
    recurrent_rules,            //
    reduce_rules,               //
    resize_rules,               //
    sequence_rules,             //
    shape_rules,                //
    signal_rules,               //
    state_rules,                //
    svm_rules,                  //
    text_rules,                 //
    tree_rules,                 //
};

const Table& table() {
  static const Table rules = [] {
    Table t;
    for (const auto group : kGroups)
      for (const Rule& rule : group()) t.emplace(Key{rule.domain, rule.op}, &rule);
    return t;
  }();
  return rules;
}

Key key(std::string_view domain, std::string_view op) {
  return {domain == "ai.onnx" ? "" : domain, op};
}

}  // namespace

const Rule* find_rule(std::string_view domain, std::string_view op, int64_t opset) {
  const Rule* best = nullptr;
  const auto [begin, end] = table().equal_range(key(domain, op));
  for (auto it = begin; it != end; ++it) {
    const Rule* rule = it->second;
    if (rule->since <= opset && (best == nullptr || rule->since > best->since)) best = rule;
  }
  return best;
}

bool has_rule(std::string_view domain, std::string_view op) {
  return table().contains(key(domain, op));
}

std::vector<std::string> imported_ops() {
  std::vector<std::string> names;
  for (const auto& [key, rule] : table()) {
    std::string name(key.first);
    name += (name.empty() ? "" : ".") + std::string(key.second);
    if (names.empty() || names.back() != name) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace tenon::onnx
