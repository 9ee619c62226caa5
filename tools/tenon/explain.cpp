// `tenon explain`.
#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <map>

#include "commands.h"
#include "file_arguments.h"

namespace tenon::tool {
namespace {

struct ExplainArguments : FileArguments {
  int64_t batch = 1;
};

// Lines of "rule TAB nodes TAB bytes TAB place" by rule.
nlohmann::json rules_of(std::string_view note) {
  std::map<std::string, nlohmann::json> rules;
  while (!note.empty()) {
    std::string_view line = note.substr(0, note.find('\n'));
    note.remove_prefix(std::min(line.size() + 1, note.size()));
    std::array<std::string, 4> columns;
    for (std::string& column : columns) {
      column = line.substr(0, line.find('\t'));
      line.remove_prefix(std::min(column.size() + 1, line.size()));
    }
    nlohmann::json& rule = rules[columns[0]];
    if (rule.is_null())
      rule = {{"rule", columns[0]}, {"times", 0}, {"nodes_saved", 0}, {"bytes_saved", 0}};
    const auto number = [](const std::string& text) {
      return std::strtoll(text.c_str(), nullptr, 10);
    };
    rule["times"] = rule["times"].get<int64_t>() + 1;
    rule["nodes_saved"] = rule["nodes_saved"].get<int64_t>() + number(columns[1]);
    rule["bytes_saved"] = rule["bytes_saved"].get<int64_t>() + number(columns[2]);
    rule["places"].push_back(columns[3]);
  }
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [name, rule] : rules) list.push_back(rule);
  return list;
}

void print_rules(const nlohmann::json& rules) {
  constexpr size_t kShown = 3;
  if (rules.empty()) return;
  fmt::print("\n{:<28} {:>6} {:>8} {:>14}\n", "rule", "times", "nodes", "bytes saved");
  for (const auto& rule : rules) {
    const auto& places = rule["places"];
    std::string shown;
    for (size_t i = 0; i < places.size() && i < kShown; ++i)
      shown += (i == 0 ? "" : ", ") + places[i].get<std::string>();
    if (places.size() > kShown) shown += ", …";
    fmt::print("{:<28} {:>6} {:>8} {:>14}  {}\n", rule["rule"].get<std::string>(),
               rule["times"].get<int64_t>(), rule["nodes_saved"].get<int64_t>(),
               rule["bytes_saved"].get<int64_t>(), shown);
  }
}

Status explain(const ExplainArguments& a) {
  const auto model = TRY(runtime::Model::load(a.file, {a.threads}));
  const auto function = TRY(model.function(a.signature));
  const auto inputs = TRY(sample_inputs(function.inputs(), a.batch));
  TensorTypes types;
  for (const Tensor& t : inputs) types.push_back(t.type());
  const auto report = TRY(function.explain(types));
  nlohmann::json json{{"arena_bytes", report.arena_bytes}, {"weight_bytes", report.weight_bytes}};
  for (const auto& step : report.steps) {
    if (step.at_plan_time) continue;
    const std::string type = step.outputs.empty() ? "" : step.outputs[0].to_string();
    const std::string origin = step.origins.empty() ? "" : step.origins[0];
    json["steps"].push_back({{"op", step.op},
                             {"kernel", step.kernel},
                             {"type", type},
                             {"flops", step.flops},
                             {"origins", step.origins},
                             {"refusals", step.refusals}});
    if (a.json) continue;
    fmt::print("{:<16} {:<18} {:<22} {:>12} flop  {}\n", step.op, step.kernel, type, step.flops,
               origin);
    for (const std::string& refusal : step.refusals) fmt::print("    not {}\n", refusal);
  }
  for (const auto& [key, value] : model.notes())
    if (key == std::string(kRulesNote) + function.key()) json["rules"] = rules_of(value);
  if (a.json) {
    fmt::print("{}\n", json.dump(2));
    return {};
  }
  fmt::print("arena {} bytes, weights {} bytes\n", report.arena_bytes, report.weight_bytes);
  if (json.contains("rules")) print_rules(json["rules"]);
  return {};
}

}  // namespace

void add_explain(CLI::App& app, Action& action) {
  auto* command =
      app.add_subcommand("explain", "Say which kernel computes each step, and why not another");
  auto a = std::make_shared<ExplainArguments>();
  add_file_arguments(*command, *a);
  command->add_option("--batch", a->batch, "size of an open first dimension")
      ->check(CLI::PositiveNumber);
  command->footer("Example:\n  tenon explain digits.tenon");
  command->callback([a, &action] { action = [a] { return explain(*a); }; });
}

}  // namespace tenon::tool
