// `tenon check`.
#include <fmt/format.h>

#include "commands.h"
#include "compiler/compile.h"
#include "model_arguments.h"

namespace tenon::tool {
namespace {

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

Status check(const ModelArguments& a) {
  const ImportOptions options = TRY(import_options(a));
  const ImportedModel model = TRY(import_model(a.model, options));
  const ImportReport& report = model.report;
  if (a.json) {
    nlohmann::json json{{"format", report.format}, {"nodes", nlohmann::json::array()}};
    for (const NodeReport& node : report.nodes)
      json["nodes"].push_back({{"name", node.name},
                               {"op", node.op},
                               {"fate", fate_name(node.fate)},
                               {"reason", node.reason}});
    fmt::print("{}\n", json.dump(2));
  } else {
    for (const NodeReport& node : report.nodes)
      fmt::print("{:<12} {:<24} {}{}{}\n", fate_name(node.fate), node.op, node.name,
                 node.reason.empty() ? "" : "  — ", node.reason);
    fmt::print("{}: {} mapped, {} folded, {} on the CPU only, {} unsupported\n", report.format,
               report.count(Fate::mapped), report.count(Fate::folded), report.count(Fate::on_cpu),
               report.count(Fate::unsupported));
    for (const std::string& warning : model.warnings) fmt::print("warning: {}\n", warning);
  }
  if (model.functions.empty())
    return unsupported(fmt::format("{} nodes cannot be run; the list above says why",
                                   report.count(Fate::unsupported)));
  return {};
}

}  // namespace

void add_check(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("check", "Say what becomes of every node of a model");
  auto a = std::make_shared<ModelArguments>();
  add_model_arguments(*command, *a);
  command->footer("Example:\n  tenon check examples/digits/saved_model");
  command->callback([a, &action] { action = [a] { return check(*a); }; });
}

}  // namespace tenon::tool
