// Which layers become integers, as the user writes it in a TOML file (docs/quantization.md).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace tenon::quant {

// One [[layer]] of the file. All patterns that are given must match.
struct LayerRule {
  std::string name;   // glob over the names of nodes of the user's model
  std::string layer;  // glob over one part of such a name between slashes
  std::string op;     // glob over the op, as in the user's model or as Tenon calls it
  std::string precision;
  int64_t line = 0;

  std::string to_string() const;
};

struct Config {
  std::string file;
  std::string precision = "int8";  // of what no rule speaks of
  std::string method;              // of choosing ranges; empty: not said
  std::string first_layer, last_layer;
  bool bias_correction = true;
  std::vector<LayerRule> rules;  // later ones win
};

// Errors: invalid_argument with file and line for unknown keys, wrong kinds and values.
Result<Config> parse_config(std::string_view text, const std::string& file);
Result<Config> read_config(const std::string& path);

// Why each product that is to stay in f32 stays so, by the value it computes. `source_ops` are the
// ops of the nodes of the user's model. Error: not_found for a rule that matches nothing, with the
// nearest names.
Result<std::map<const Value*, std::string>> kept_by(
    const Config& config, const Graph& graph, const std::map<std::string, std::string>& source_ops);

}  // namespace tenon::quant
