// `tenon import` and `tenon dump`: a model or a file as text.
#include <fmt/format.h>

#include "commands.h"
#include "compiler/compile.h"
#include "model_arguments.h"
#include "progress.h"
#include "run_arguments.h"
#include "runnable.h"
#include "text_output.h"

namespace tenon::tool {
namespace {

struct ImportArguments : ModelArguments, TextArguments {
  bool allow_embedded_code = false;
};

Status print(const ImportArguments& a, std::span<const NamedGraph> graphs) {
  if (!a.json || !a.output.empty()) TRY(write_text(a, graphs));
  if (!a.json) return {};
  nlohmann::json json = nlohmann::json::array();
  for (const NamedGraph& g : graphs)
    json.push_back(
        {{"signature", g.key},
         {"inputs", g.input_names},
         {"outputs", g.output_names},
         {"nodes", g.graph->node_count()},
         {"text", print_graphs(std::span(&g, 1), a.full ? TextForm::kFull : TextForm::kShort)}});
  fmt::print("{}\n", to_text(json));
  return {};
}

Status import(const ImportArguments& a) {
  auto progress = std::make_unique<Progress>();
  progress->stage("import " + a.model);
  const std::vector<NamedGraph> graphs = TRY(load_graphs(a.model, TRY(import_options(a))));
  progress.reset();
  return print(a, graphs);
}

Status dump(const ImportArguments& a) {
  FileModel file = TRY(read_model_file(a.model));
  TRY(bind_custom_ops(file, {a.custom_ops, a.allow_embedded_code}));
  std::vector<NamedGraph> graphs = TRY(decode_model(file));
  if (!a.signature.empty())
    std::erase_if(graphs, [&](const NamedGraph& g) { return g.key != a.signature; });
  if (graphs.empty())
    return not_found(fmt::format("there is no signature '{}' in {}", a.signature, a.model));
  return print(a, graphs);
}

}  // namespace

void add_import(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("import", "Print the graph of a model, before any pass");
  auto a = std::make_shared<ImportArguments>();
  add_model_arguments(*command, *a);
  add_text_arguments(*command, *a);
  command->footer("Example:\n  tenon import model.onnx\n  tenon import saved_model -o model.tn");
  command->callback([a, &action] { action = [a] { return import(*a); }; });
}

void add_dump(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("dump", "Print the graph that a .tenon file holds");
  auto a = std::make_shared<ImportArguments>();
  command->add_option("FILE", a->model, ".tenon file")->required();
  command->add_option("--signature", a->signature, "only this signature (default: all)");
  add_custom_ops(*command, a->custom_ops);
  add_embedded_code(*command, a->allow_embedded_code);
  command->add_flag("--json", a->json, "machine-readable output");
  add_text_arguments(*command, *a);
  command->footer("Example:\n  tenon dump digits.tenon");
  command->callback([a, &action] { action = [a] { return dump(*a); }; });
}

}  // namespace tenon::tool
