// `tenon explain`.
#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <map>

#include "base/cpu_features.h"
#include "commands.h"
#include "explain_chip.h"
#include "file_arguments.h"
#include "number_arguments.h"
#include "runnable.h"

namespace tenon::tool {
namespace {

struct ExplainArguments : FileArguments {
  int64_t batch = 1;
  std::vector<std::string> inputs;
  ChipExplainArguments chip;  // what only a chip needs
};

// By rule what firings_note() of the compiler wrote by place.
nlohmann::json rules_of(std::string_view note) {
  std::map<std::string, nlohmann::json> rules;
  std::string_view place;
  while (!note.empty()) {
    std::string_view line = note.substr(0, note.find('\n'));
    note.remove_prefix(std::min(line.size() + 1, note.size()));
    if (!line.starts_with('\t')) {
      place = line;
      continue;
    }
    std::array<std::string, 4> columns;
    for (std::string& column : columns) {
      line.remove_prefix(std::min<size_t>(1, line.size()));
      column = line.substr(0, line.find('\t'));
      line.remove_prefix(column.size());
    }
    nlohmann::json& rule = rules[columns[0]];
    if (rule.is_null())
      rule = {{"rule", columns[0]}, {"times", 0}, {"nodes_saved", 0}, {"bytes_saved", 0}};
    const auto add = [&](const char* what, const std::string& number) {
      rule[what] = rule[what].get<int64_t>() + std::strtoll(number.c_str(), nullptr, 10);
    };
    add("times", columns[1]);
    add("nodes_saved", columns[2]);
    add("bytes_saved", columns[3]);
    rule["places"].push_back(std::string(place));
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
    if (places.size() > kShown) shown += ", … (--json lists all)";
    fmt::print("{:<28} {:>6} {:>8} {:>14}  {}\n", rule["rule"].get<std::string>(),
               rule["times"].get<int64_t>(), rule["nodes_saved"].get<int64_t>(),
               rule["bytes_saved"].get<int64_t>(), shown);
  }
}

nlohmann::json steps_of(const runtime::PlanReport& report) {
  nlohmann::json steps = nlohmann::json::array();
  for (const auto& step : report.steps) {
    if (step.at_plan_time) continue;
    steps.push_back({{"op", step.op},
                     {"kernel", step.kernel},
                     {"type", step.outputs.empty() ? "" : step.outputs[0].to_string()},
                     {"flops", step.flops},
                     {"origins", step.origins},
                     {"measured", nlohmann::json::array()},
                     {"refusals", step.refusals}});
    for (const auto& [kernel, time_ns] : step.measured)
      steps.back()["measured"].push_back({{"kernel", kernel}, {"time_ns", time_ns}});
  }
  return steps;
}

std::string shortened(const std::vector<std::string>& origins) {
  if (origins.size() < 2) return origins.empty() ? "" : origins[0];
  return fmt::format("{} and {} more", origins[0], origins.size() - 1);
}

void print_steps(const nlohmann::json& steps) {
  fmt::print("{:<16} {:<18} {:<22} {:>14}  {}\n", "op", "kernel", "result", "flop",
             "layers of the model");
  for (const auto& step : steps) {
    const auto text = [&](const char* key) { return step[key].get<std::string>(); };
    fmt::print("{:<16} {:<18} {:<22} {:>14}  {}\n", text("op"), text("kernel"), text("type"),
               step["flops"].get<int64_t>(),
               shortened(step["origins"].get<std::vector<std::string>>()));
    std::string measured;
    for (const auto& m : step["measured"])
      measured += fmt::format("{}{} {:.2f} us", measured.empty() ? "" : ", ",
                              m["kernel"].get<std::string>(),
                              static_cast<double>(m["time_ns"].get<int64_t>()) * 1e-3);
    if (!measured.empty()) fmt::print("    measured {}\n", measured);
    for (const auto& refusal : step["refusals"])
      fmt::print("    not {}\n", refusal.get<std::string>());
  }
}

Status explain(const ExplainArguments& a) {
  if (!a.chip.target.empty()) {
    ChipExplainArguments chip = a.chip;
    chip.model = a.file;
    chip.signature = a.signature;
    chip.custom_ops = a.custom_ops;
    chip.json = a.json;
    chip.batch = a.batch;
    return explain_for_chip(chip);
  }
  const auto model = TRY(runtime::Model::load(a.file, load_options(a, a.threads)));
  const auto function = TRY(model.function(a.signature));
  const auto inputs = TRY(read_inputs(function.inputs(), a.inputs, a.batch));
  TensorTypes types;
  for (const Tensor& t : inputs) types.push_back(t.type());
  const auto report = TRY(function.explain(types));
  nlohmann::json json{{"signature", function.key()},         {"arena_bytes", report.arena_bytes},
                      {"weight_bytes", report.weight_bytes}, {"packed_bytes", report.packed_bytes},
                      {"steps", steps_of(report)},           {"rules", nlohmann::json::array()},
                      {"part_steps", report.part_steps},     {"parts", report.parts}};
  std::string disabled;
  for (const auto& [key, value] : model.notes()) {
    if (key == std::string(kRulesNote) + function.key()) json["rules"] = rules_of(value);
    if (key == kTuningNote) json["tuned_on"].push_back(value.substr(0, value.find('\n')));
    if (key == "disabled") json["disabled"] = disabled = value;
  }
  if (a.json) {
    fmt::print("{}\n", to_text(json));
    return {};
  }
  fmt::print("signature {} of {}, batch {}\n", function.key(), a.file, a.batch);
  print_rules(json["rules"]);
  if (!disabled.empty()) fmt::print("switched off: {}\n", disabled);
  for (const auto& processor : json.value("tuned_on", nlohmann::json::array()))
    fmt::print("tuned on {}{}\n", processor.get<std::string>(),
               processor == processor_name() ? "" : ", which this is not: that is not looked at");
  fmt::print("\n");
  print_steps(json["steps"]);
  if (report.parts > 1)
    fmt::print("\nthe first {} steps are run {} times, each for {} of the batch\n",
               report.part_steps, report.parts,
               report.parts == a.batch ? "one" : fmt::format("1/{}", report.parts));
  fmt::print("\narena {} bytes, weights {} bytes, rearranged for kernels {} bytes\n",
             report.arena_bytes, report.weight_bytes, report.packed_bytes);
  return {};
}

}  // namespace

void add_explain(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "explain", "Say which rules fired, which kernel computes each step, and why not another");
  auto a = std::make_shared<ExplainArguments>();
  add_file_arguments(*command, *a);
  command->add_option("--batch", a->batch, "size of an open first dimension")
      ->check(positive_number());
  command->add_option("--input", a->inputs, "NAME=FILE.npy: for the shapes of this data")
      ->allow_extra_args(false)
      ->excludes(command->get_option("--batch"));
  auto* target =
      command->add_option("--target", a->chip.target,
                          "a chip, see `tenon targets list`: how it would compute each layer, by "
                          "simulation; FILE may be any model then");
  command->add_option("--precision", a->chip.precision, "on the chip: fp16, bf16, fp32 or int8");
  command->add_option("--layer", a->chip.layers,
                      "on the chip: only layers whose name is like this");
  command->add_flag("--memory", a->chip.memory,
                    "on the chip: also what lives where and when, and what is spilled");
  command->add_option("--html", a->chip.html,
                      "on the chip: file for a page with the memory over time, and every layer's "
                      "traffic and spills");
  add_input_shapes(*command, a->chip.shapes);
  add_cuts(*command, a->chip);
  command
      ->add_option("--targets-dir", a->chip.folder, "folder with machine descriptions of your own")
      ->check(CLI::ExistingDirectory);
  for (const char* name :
       {"--precision", "--layer", "--input-shape", "--inputs", "--outputs", "--targets-dir"})
    command->get_option(name)->needs(target);
  command->footer(
      "Example:\n  tenon explain digits.tenon\n"
      "  tenon explain model.onnx --target ascend310p3 --layer '*conv1*'\n"
      "  tenon explain model.onnx --target mlu370-s4 --memory --html memory.html");
  command->callback([a, &action] { action = [a] { return explain(*a); }; });
}

}  // namespace tenon::tool
