// Which precision layers get, as the user writes it in a TOML file (docs/quantization.md).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "quant/precision.h"

namespace tenon::quant {

// One [[layer]] of the file. All patterns that are given must match.
struct LayerRule {
  std::string name;   // glob over the names of nodes of the user's model
  std::string layer;  // glob over one part of such a name between slashes
  std::string op;     // glob over the op, as in the user's model or as Tenon calls it
  LayerPrecision precision = LayerPrecision::fp32;
  int64_t line = 0;

  std::string to_string() const;
};

struct Config {
  std::string file;
  std::optional<LayerPrecision> precision;  // of what no rule speaks of; none: not said
  std::string method;                       // of choosing ranges; empty: not said
  std::optional<LayerPrecision> first_layer, last_layer;
  bool bias_correction = true;
  std::vector<LayerRule> rules;  // later ones win
};

// Errors: invalid_argument with file and line for unknown keys, wrong kinds and values.
Result<Config> parse_config(std::string_view text, const std::string& file);
Result<Config> read_config(const std::string& path);

// What the config, if any, says of a layer.
struct LayerDecision {
  LayerPrecision precision = LayerPrecision::fp32;
  std::string reason;     // the key or rule and its file; empty: none speaks of the layer
  bool is_named = false;  // by a rule
  // Why its products had better be of f32, whatever its weights are; empty: nobody says so.
  std::string better_in_f32 = {};
};
// Whether a config can speak of a node: it has weights that can be of several precisions.
bool is_layer(const Node& node);
using LayerDecisions = std::map<const Node*, LayerDecision>;
// Which rules of a config match a layer in any function of a model, by their places: those that
// match in none are mistakes.
class RuleUse {
 public:
  explicit RuleUse(size_t functions) : functions_(functions) {}
  void match(size_t rule) { matched_.insert(rule); }
  // Once is enough: what matches in one function may miss in the others.
  bool wants_miss(size_t rule) const { return !matched_.contains(rule) && !missed_.contains(rule); }
  void miss(size_t rule, Error why) { missed_.try_emplace(rule, std::move(why)); }
  // Error: not_found for a rule that matched nothing once there is no other function.
  Status end_of_function();

 private:
  size_t functions_;
  std::set<size_t> matched_;
  std::map<size_t, Error> missed_;  // what to say of each in the first function
};

// Of every layer of the graph of one function: by the config, else `otherwise`. `source_ops` are
// the ops of the nodes of the user's model. `use`: what to tell of the rules; null where none has
// to match. Error: that of the last function's end.
Result<LayerDecisions> decide_layers(const Config& config, LayerPrecision otherwise,
                                     const Graph& graph,
                                     const std::map<std::string, std::string>& source_ops,
                                     RuleUse* use);
// Whether a layer may be of this precision.
bool mentions(const Config& config, LayerPrecision precision);

}  // namespace tenon::quant
