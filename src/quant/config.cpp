#include "quant/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

#include <algorithm>
#include <set>
#include <unordered_set>
#include <utility>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "base/bytes.h"
#include "base/nearest.h"
#include "ops/conv_transpose.h"
#include "ops/gather.h"
#include "ops/quantized_product.h"
#include "ops/recurrent.h"
#include "quant/plan.h"

namespace tenon::quant {
namespace {

bool matches(const std::string& pattern, const std::string& text) {
  return ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
}

std::vector<std::string> parts_of(std::string_view name) {
  std::vector<std::string> parts;
  while (!name.empty()) {
    const std::string_view part = name.substr(0, name.find('/'));
    name.remove_prefix(std::min(part.size() + 1, name.size()));
    if (!part.empty()) parts.emplace_back(part);
  }
  return parts;
}

// Reads the keys of a table; what is left over is a mistake.
class Table {
 public:
  Table(const toml::table& table, const std::string& file) : table_(table), file_(file) {}

  void read(std::string_view key, std::string& out) {
    known_.emplace_back(key);
    const auto* node = table_.get(key);
    if (node == nullptr) return;
    if (const auto value = node->value_exact<std::string>())
      out = *value;
    else
      fail(*node, fmt::format("'{}' must be a text", key));
  }
  void read(std::string_view key, bool& out) {
    known_.emplace_back(key);
    const auto* node = table_.get(key);
    if (node == nullptr) return;
    if (const auto value = node->value_exact<bool>())
      out = *value;
    else
      fail(*node, fmt::format("'{}' must be true or false", key));
  }
  void read_precision(std::string_view key, std::optional<LayerPrecision>& out) {
    std::string text;
    read(key, text);
    const auto* node = table_.get(key);
    if (node == nullptr || !status_.ok()) return;
    if (const auto precision = parse_layer_precision(text); precision.ok())
      out = *precision;
    else
      fail(*node, precision.error().message);
  }
  const toml::array* array(std::string_view key) {
    known_.emplace_back(key);
    const auto* node = table_.get(key);
    if (node == nullptr) return nullptr;
    if (!node->is_array_of_tables()) fail(*node, fmt::format("[[{}]] must be tables", key));
    return node->as_array();
  }
  void fail(const toml::node& node, const std::string& message) {
    if (status_.ok())
      status_ = Error(Code::invalid_argument, message,
                      fmt::format("{}:{}", file_, node.source().begin.line));
  }
  Status finish() {
    for (const auto& [key, node] : table_)
      if (std::ranges::find(known_, key.str()) == known_.end())
        fail(node, fmt::format("there is no key '{}'{}; there are: {}", key.str(),
                               did_you_mean(key.str(), known_), fmt::join(known_, ", ")));
    return status_;
  }

 private:
  const toml::table& table_;
  const std::string& file_;
  std::vector<std::string> known_;
  Status status_;
};

// What Keras adds to the name of every layer that it exports.
constexpr std::string_view kExported = "_1";

// `name` is that of the result, which tells nodes of equal origins apart. `as_exported`: parts of
// names may have what Keras adds behind what the rule calls a layer.
bool rule_matches(const LayerRule& rule, const Node& node, const std::string& name,
                  const std::map<std::string, std::string>& source_ops, bool as_exported) {
  const auto fits_part = [&](const std::string& part) {
    return matches(rule.layer, as_exported && part.ends_with(kExported)
                                   ? part.substr(0, part.size() - kExported.size())
                                   : part);
  };
  const auto any_origin = [&](const auto& fits) { return std::ranges::any_of(node.origins, fits); };
  if (!rule.name.empty() && !matches(rule.name, name) &&
      !any_origin([&](const std::string& o) { return matches(rule.name, o); }))
    return false;
  if (!rule.layer.empty() && !any_origin([&](const std::string& o) {
        return std::ranges::any_of(parts_of(o), fits_part);
      }))
    return false;
  return rule.op.empty() || matches(rule.op, std::string(node.def().name)) ||
         any_origin([&](const std::string& o) {
           const auto it = source_ops.find(o);
           return it != source_ops.end() && matches(rule.op, it->second);
         });
}

// What a pattern for all below some name would be of this one: as many parts, the last of them any.
std::string pattern_like(const std::string& pattern, const std::string& name) {
  constexpr std::string_view kAll = "/*";
  if (!pattern.ends_with(kAll)) return name;
  size_t end = 0;
  for (auto parts = std::ranges::count(pattern, '/'); parts > 0 && end != std::string::npos;
       --parts)
    end = name.find('/', end + (end > 0));
  return end == std::string::npos ? name : name.substr(0, end) + std::string(kAll);
}

// Names that a rule could have meant.
std::vector<std::string> candidates(const LayerRule& rule, std::span<const Node* const> products,
                                    const std::map<std::string, std::string>& source_ops) {
  std::set<std::string> names;
  for (const Node* node : products)
    for (const std::string& origin : node->origins) {
      if (!rule.name.empty())
        names.insert(pattern_like(rule.name, origin));
      else if (!rule.layer.empty()) {
        // The last part is the op's own name; that of a layer stands before it, where there is one.
        std::vector<std::string> parts = parts_of(origin);
        if (parts.size() > 1) parts.pop_back();
        for (std::string& part : parts) names.insert(std::move(part));
      } else if (const auto it = source_ops.find(origin); it != source_ops.end())
        names.insert(it->second);
    }
  if (rule.name.empty() && rule.layer.empty())
    for (const Node* node : products) names.emplace(node->def().name);
  return {names.begin(), names.end()};
}

// What to say of a rule that matches nothing: the nearest names.
Error no_match(const LayerRule& rule, const std::string& file,
               std::span<const Node* const> products,
               const std::map<std::string, std::string>& source_ops) {
  const std::string& typed = !rule.name.empty()    ? rule.name
                             : !rule.layer.empty() ? rule.layer
                                                   : rule.op;
  const auto near_names = candidates(rule, products, source_ops);
  const std::string near = did_you_mean(typed, near_names);
  // Who names a layer of the source model where whole names are meant.
  LayerRule as_layer = rule;
  as_layer.layer = std::exchange(as_layer.name, "");
  const std::string near_layers =
      near.empty() && !rule.name.empty()
          ? did_you_mean(typed, candidates(as_layer, products, source_ops))
          : "";
  std::string list;
  if (!near_layers.empty()) {
    list = near_layers + " That is a part of a name, for layer = in place of name =";
  } else if (near.empty()) {
    const auto shown = std::min<std::ptrdiff_t>(5, std::ssize(near_names));
    const auto by_near = by_nearness(typed, near_names);
    const std::vector<std::string> some(by_near.begin(), by_near.begin() + shown);
    list = fmt::format("; there are: {}{}", fmt::join(some, ", "),
                       shown < std::ssize(near_names) ? ", …" : "");
  }
  return Error(Code::not_found,
               fmt::format("[[layer]] with {} matches no convolution, matrix product or other "
                           "layer with weights{}{}",
                           rule.to_string(), near, list),
               fmt::format("{}:{}", file, rule.line));
}

// The products that none comes before (or, downwards, behind).
std::unordered_set<const Node*> ends_of(const Graph& graph, bool first) {
  std::unordered_set<const Value*> reached;
  std::unordered_set<const Node*> ends;
  std::vector<const Node*> order;
  for (const auto& node : graph.nodes()) order.push_back(node.get());
  if (!first) std::ranges::reverse(order);
  for (const Node* node : order) {
    std::vector<const Value*> from, to;
    for (const Value* v : node->inputs()) (first ? from : to).push_back(v);
    for (int i = 0; i < node->output_count(); ++i) (first ? to : from).push_back(node->output(i));
    const bool behind =
        std::ranges::any_of(from, [&](const Value* v) { return reached.contains(v); });
    // A table that is looked up in is no layer that others come before or behind.
    const bool is_end = is_layer(*node) && !node->is(Gather::name);
    if (is_end && !behind) ends.insert(node);
    if (behind || is_end) reached.insert(to.begin(), to.end());
  }
  return ends;
}

}  // namespace

std::string LayerRule::to_string() const {
  std::string text;
  for (const auto& [key, value] :
       {std::pair("name", &name), std::pair("layer", &layer), std::pair("op", &op)})
    if (!value->empty())
      text += fmt::format("{}{} = \"{}\"", text.empty() ? "" : ", ", key, *value);
  return text;
}

Result<Config> parse_config(std::string_view text, const std::string& file) {
  const toml::parse_result parsed = toml::parse(text);
  if (!parsed)
    return Error(Code::invalid_argument,
                 fmt::format("this is no TOML, where text stands in quotes: {}",
                             parsed.error().description()),
                 fmt::format("{}:{}", file, parsed.error().source().begin.line));
  const toml::table& root = parsed.table();
  Config config;
  config.file = file;
  Table table(root, file);
  table.read_precision("precision", config.precision);
  table.read("method", config.method);
  if (!config.method.empty() && !method_of(config.method))
    table.fail(*root.get("method"), no_such_method(config.method));
  table.read_precision("first_layer", config.first_layer);
  table.read_precision("last_layer", config.last_layer);
  table.read("bias_correction", config.bias_correction);
  const toml::array* layers = table.array("layer");
  TRY(table.finish());
  for (size_t i = 0; layers != nullptr && i < layers->size(); ++i) {
    const toml::table& entry = *layers->get(i)->as_table();
    LayerRule rule;
    rule.line = entry.source().begin.line;
    Table t(entry, file);
    t.read("name", rule.name);
    t.read("layer", rule.layer);
    t.read("op", rule.op);
    std::optional<LayerPrecision> precision;
    t.read_precision("precision", precision);
    TRY(t.finish());  // a key that is misspelt is missing, too
    if (rule.name.empty() && rule.layer.empty() && rule.op.empty())
      t.fail(entry, "a [[layer]] needs a name, a layer or an op");
    if (entry.get("precision") == nullptr) t.fail(entry, "a [[layer]] needs a precision");
    TRY(t.finish());
    rule.precision = *precision;
    config.rules.push_back(std::move(rule));
  }
  return config;
}

Result<Config> read_config(const std::string& path) {
  return parse_config(TRY(read_text_file(path)), path);
}

bool is_layer(const Node& node) {
  if (is_product(node) || node.is(QuantizedConv::name) || node.is(QuantizedMatmul::name))
    return true;
  return node.is(ConvTranspose::name) || node.is(Lstm::name) || node.is(Gru::name) ||
         node.is(Rnn::name) || (node.is(Gather::name) && node.input(0)->constant() != nullptr);
}

bool mentions(const Config& config, LayerPrecision precision) {
  return config.precision == precision || config.first_layer == precision ||
         config.last_layer == precision ||
         std::ranges::any_of(config.rules,
                             [&](const LayerRule& r) { return r.precision == precision; });
}

Status RuleUse::end_of_function() {
  if (functions_ > 0 && --functions_ > 0) return {};
  for (const auto& [rule, why] : missed_)
    if (!matched_.contains(rule)) return why;
  return {};
}

Result<LayerDecisions> decide_layers(const Config& config, LayerPrecision otherwise,
                                     const Graph& graph,
                                     const std::map<std::string, std::string>& source_ops,
                                     RuleUse* use) {
  std::vector<const Node*> products;
  for (const auto& node : graph.nodes())
    if (is_layer(*node)) products.push_back(node.get());
  std::map<const Value*, std::string> names;
  for (NamedValue& v : observed_values(graph)) names[v.value] = std::move(v.name);
  const auto first = ends_of(graph, true), last = ends_of(graph, false);
  std::vector<bool> used(config.rules.size()), as_exported;
  for (const LayerRule& rule : config.rules)
    as_exported.push_back(std::ranges::none_of(products, [&](const Node* node) {
      return rule_matches(rule, *node, names[node->output()], source_ops, false);
    }));
  LayerDecisions decisions;
  for (const Node* node : products) {
    LayerDecision& decision = decisions[node];
    decision.precision = otherwise;
    const auto by = [&](std::optional<LayerPrecision> p, const std::string& key) {
      if (p) decision = {*p, fmt::format("{} = \"{}\" in {}", key, name_of(*p), config.file)};
    };
    by(config.precision, "precision");
    if (first.contains(node)) by(config.first_layer, "first_layer");
    if (last.contains(node)) by(config.last_layer, "last_layer");
    for (size_t i = 0; i < config.rules.size(); ++i) {
      const LayerRule& rule = config.rules[i];
      if (!rule_matches(rule, *node, names[node->output()], source_ops, as_exported[i])) continue;
      used[i] = true;
      decision = {rule.precision, fmt::format("{} in {}", rule.to_string(), config.file), true};
    }
  }
  if (use == nullptr) return decisions;
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i])
      use->match(i);
    else if (use->wants_miss(i))
      use->miss(i, no_match(config.rules[i], config.file, products, source_ops));
  }
  TRY(use->end_of_function());
  return decisions;
}

}  // namespace tenon::quant
