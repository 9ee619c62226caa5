// `tenon check`.
#include <fmt/format.h>

#include <array>
#include <map>

#include "check_precision.h"
#include "commands.h"
#include "compiler/compile.h"
#include "model_arguments.h"
#include "number_arguments.h"
#include "progress.h"

namespace tenon::tool {
namespace {

constexpr std::array kFates{Fate::mapped, Fate::folded, Fate::on_cpu, Fate::unsupported};

struct CheckArguments : ModelArguments {
  bool summary = false;
  PrecisionQuestion precision;
};

const char* fate_name(Fate fate) {
  switch (fate) {
    case Fate::mapped:
      return "mapped";
    case Fate::folded:
      return "folded";
    case Fate::on_cpu:
      return "cpu";
    case Fate::unsupported:
      return "unsupported";
  }
  return "";
}

// How many nodes of each type have which fate.
using Counts = std::map<std::string, std::array<int, kFates.size()>>;

Counts counts_of(const ImportReport& report) {
  Counts counts;
  for (const NodeReport& node : report.nodes) ++counts[node.op][static_cast<size_t>(node.fate)];
  return counts;
}

nlohmann::json json_of(const ImportedModel& model) {
  const ImportReport& report = model.report;
  nlohmann::json json{{"format", report.format},
                      {"ok", report.count(Fate::unsupported) == 0},
                      {"nodes", nlohmann::json::array()},
                      {"ops", nlohmann::json::array()},
                      {"signatures", nlohmann::json::array()},
                      {"warnings", model.warnings}};
  for (const Fate fate : kFates) json["counts"][fate_name(fate)] = report.count(fate);
  for (const auto& [op, numbers] : counts_of(report)) {
    nlohmann::json entry{{"op", op}};
    for (const Fate fate : kFates) entry[fate_name(fate)] = numbers[static_cast<size_t>(fate)];
    json["ops"].push_back(entry);
  }
  for (const NodeReport& node : report.nodes)
    json["nodes"].push_back({{"name", node.name},
                             {"op", node.op},
                             {"fate", fate_name(node.fate)},
                             {"reason", node.reason}});
  for (const ImportedFunction& f : model.functions) json["signatures"].push_back(f.key);
  return json;
}

void print_node(const NodeReport& node) {
  fmt::print("{:<12} {:<24} {}{}{}\n", fate_name(node.fate), node.op, node.name,
             node.reason.empty() ? "" : "  — ", node.reason);
}

// By op and reason, so that each way out is said once, with all nodes it is for.
void print_unsupported(const ImportReport& report) {
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> nodes;
  for (const NodeReport& node : report.nodes)
    if (node.fate == Fate::unsupported) nodes[{node.op, node.reason}].push_back(node.name);
  for (const auto& [what, names] : nodes)
    fmt::print("unsupported  {} ({} node{}): {}\n  {}\n", what.first, names.size(),
               names.size() == 1 ? "" : "s", fmt::join(names, ", "), what.second);
}

void print_report(const ImportedModel& model, bool summary) {
  const ImportReport& report = model.report;
  if (!summary) {
    for (const NodeReport& node : report.nodes) print_node(node);
    fmt::print("\n");
  }
  fmt::print("{:<28} {:>8} {:>8} {:>8} {:>12}\n", "type", "mapped", "folded", "cpu", "unsupported");
  for (const auto& [op, n] : counts_of(report))
    fmt::print("{:<28} {:>8} {:>8} {:>8} {:>12}\n", op, n[0], n[1], n[2], n[3]);
  fmt::print("\n");
  // Once more at the end, where one looks: what needs attention.
  if (summary)
    for (const NodeReport& node : report.nodes)
      if (node.fate == Fate::on_cpu) print_node(node);
  print_unsupported(report);
  for (const std::string& warning : model.warnings) fmt::print("warning: {}\n", warning);
  fmt::print("{}: {} mapped, {} folded, {} on the CPU only, {} unsupported\n", report.format,
             report.count(Fate::mapped), report.count(Fate::folded), report.count(Fate::on_cpu),
             report.count(Fate::unsupported));
}

Status check(const CheckArguments& a) {
  const ImportOptions options = TRY(import_options(a));
  auto progress = std::make_unique<Progress>();
  progress->stage("import " + a.model);
  ImportedModel model = TRY(import_model(a.model, options));
  progress.reset();
  nlohmann::json json = a.json ? json_of(model) : nlohmann::json();
  if (!a.json) print_report(model, a.summary || a.precision());
  if (a.precision()) json["precision"] = TRY(answer(a.precision, model));
  if (a.json) fmt::print("{}\n", to_text(json));
  const int unsupported_nodes = model.report.count(Fate::unsupported);
  if (unsupported_nodes > 0)
    return unsupported(
        fmt::format("{} nodes cannot be run; the list says why and what to do (a custom op or a "
                    "decomposition with "
                    "--custom-ops, or --outputs NAME to cut the graph before them){}",
                    unsupported_nodes,
                    model.functions.empty() ? "" : "; the other signatures compile without them"));
  return {};
}

std::string message_of(const Status& status) {
  return status.ok() ? std::string() : status.error().message;
}

}  // namespace

void add_check(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("check", "Say what becomes of every node of a model");
  auto a = std::make_shared<CheckArguments>();
  add_model_arguments(*command, *a);
  command->add_flag("--summary", a->summary, "counts by type and what needs attention only");
  auto* precision =
      command
          ->add_option(
              "--precision", a->precision.precision,
              "int8, bf16, …: whether it is faster than fp32, layer by layer, as predicted")
          ->check([](const std::string& text) {
            return message_of(check_question({.precision = text}));
          });
  command
      ->add_option("--cpu", a->precision.cpu,
                   "with --precision: avx2, avx-vnni, avx512, avx512-vnni, avx512-bf16 or amx "
                   "(default: this CPU)")
      ->check([](const std::string& text) {
        return message_of(check_question({.precision = "int8", .cpu = text}));
      });
  command->add_option("--target", a->precision.target,
                      "with --precision: cpu, or a chip (`tenon targets list`) by simulation");
  command
      ->add_option("--targets-dir", a->precision.folder,
                   "folder with machine descriptions of your own")
      ->check(CLI::ExistingDirectory);
  command->add_option("--batch", a->precision.batch, "with --precision: where it is open")
      ->check(positive_number());
  for (const char* name : {"--cpu", "--target", "--targets-dir", "--batch"})
    command->get_option(name)->needs(precision);
  command->footer(
      "Exit status 1 when a node is unsupported.\n\nExample:\n  tenon check "
      "examples/digits/saved_model\n  tenon check examples/digits/saved_model --precision int8");
  command->callback([a, &action] {
    action = [a] {
      a->precision.json = a->json;
      return check(*a);
    };
  });
}

}  // namespace tenon::tool
