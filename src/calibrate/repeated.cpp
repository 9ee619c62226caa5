#include "calibrate/repeated.h"

#include <fmt/format.h>

#include "ir/hash.h"
#include "quant/plan.h"

namespace tenon {
namespace {

// The graph, and the inputs that the data have to name.
std::string identity_of(const NamedGraph& function) {
  std::string identity = fmt::format("{:016x}", graph_hash(*function.graph));
  for (const std::string& name : function.input_names) identity += "\n" + name;
  return identity;
}

std::vector<std::string> names_of(const Graph& graph) {
  std::vector<std::string> names;
  for (quant::NamedValue& v : quant::observed_values(graph)) names.push_back(std::move(v.name));
  return names;
}

using NewNames = std::map<std::string, std::string>;

template <typename T>
void rename(std::map<std::string, T>& map, const NewNames& names) {
  std::map<std::string, T> renamed;
  for (auto& [name, value] : map)
    if (const auto it = names.find(name); it != names.end())
      renamed.emplace(it->second, std::move(value));
  map = std::move(renamed);
}

// The nodes of `to` with the origins of those of `from`, which is the same but for constants.
bool take_origins(Graph& to, const Graph& from) {
  auto node = from.nodes().begin();
  const auto next = [&] {
    while (node != from.nodes().end() && (*node)->is("const")) ++node;
    return node == from.nodes().end() ? nullptr : (node++)->get();
  };
  for (const auto& n : to.nodes()) {
    if (n->is("const")) continue;
    const Node* other = next();
    if (other == nullptr || !other->is(n->def().name)) return false;
    n->origins = other->origins;
  }
  return next() == nullptr;
}

}  // namespace

std::optional<RepeatedFunctions::Found> RepeatedFunctions::find(const NamedGraph& function) const {
  const auto it = known_.find(identity_of(function));
  if (it == known_.end()) return std::nullopt;
  const auto& [before, from] = it->second;
  const std::vector<std::string> now = names_of(*function.graph);
  if (before.size() != now.size()) return std::nullopt;
  NewNames names;
  for (size_t i = 0; i < now.size(); ++i) names[before[i]] = now[i];
  Found found{from.key, {from.input.statistics, from.input.options, nullptr}};
  if (from.input.graph != nullptr) {
    found.input.graph = from.input.graph->clone();
    if (!take_origins(*found.input.graph, *function.graph)) return std::nullopt;
  }
  rename(found.input.statistics.tensors, names);
  quant::QuantizeOptions& options = found.input.options;
  rename(options.methods, names);
  rename(options.keep_float, names);
  rename(options.rounded, names);
  rename(options.weights, names);
  rename(options.biases, names);
  for (auto* set : {&options.exact, &options.byte_weights, &options.two_bytes}) {
    std::set<std::string> renamed;
    for (const std::string& name : *set) renamed.insert(names[name]);
    *set = std::move(renamed);
  }
  return found;
}

void RepeatedFunctions::add(const NamedGraph& function, const QuantizationInput& input) {
  known_[identity_of(function)] = {
      names_of(*function.graph),
      {function.key,
       {input.statistics, input.options, input.graph == nullptr ? nullptr : input.graph->clone()}}};
}

}  // namespace tenon
