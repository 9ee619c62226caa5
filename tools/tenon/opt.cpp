// `tenon opt`: runs a pipeline on a text graph.
#include <fmt/format.h>

#include <map>

#include "commands.h"
#include "compiler/compile.h"
#include "import/custom_ops.h"
#include "passes/pipeline_text.h"
#include "run_arguments.h"
#include "text_output.h"

namespace tenon::tool {
namespace {

struct OptArguments : TextArguments {
  std::string file, pipeline;
  std::vector<std::string> custom_ops;
  bool json = false;
};

Status opt(const OptArguments& a) {
  const std::string text = TRY(read_text_file(a.file));
  const std::string pipeline = TRY(pipeline_for(a.pipeline, text));
  const auto steps = TRY(parse_pipeline(pipeline));
  ImportOptions options;
  if (!a.custom_ops.empty()) options.custom_ops = TRY(CustomOps::load(a.custom_ops));
  ImportedModel model = TRY(import_text(text, a.file, options));
  nlohmann::json json{{"pipeline", pipeline_text(steps)}, {"functions", nlohmann::json::array()}};
  for (NamedGraph& g : model.functions) {
    PassContext context;
    auto changed = run_pipeline(*g.graph, steps, context);
    if (!changed.ok()) return write_reproducer(std::move(changed).error(), context);
    std::map<std::string, int> rules;
    for (const Firing& firing : context.firings) ++rules[std::string(firing.rule)];
    json["functions"].push_back({{"signature", g.key}, {"changed", *changed}, {"rules", rules}});
  }
  if (!a.json || !a.output.empty()) TRY(write_text(a, model.functions));
  if (!a.json) return {};
  json["text"] = print_graphs(model.functions, a.full ? TextForm::kFull : TextForm::kShort);
  fmt::print("{}\n", to_text(json));
  return {};
}

}  // namespace

void add_opt(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("opt", "Run passes on a graph in text form and print it");
  auto a = std::make_shared<OptArguments>();
  command->add_option("FILE", a->file, ".tn file")->required();
  command
      ->add_option("-p,--pipeline", a->pipeline,
                   "passes and rules, or default (default: the first line of the file)")
      ->check(pipeline_error);
  command->add_flag("--json", a->json, "machine-readable output");
  add_custom_ops(*command, a->custom_ops);
  add_text_arguments(*command, *a);
  command->footer(
      "Example:\n  tenon opt -p 'fold-constants,fuse{disable=fuse-bias;fuse-pad}' graph.tn");
  command->callback([a, &action] { action = [a] { return opt(*a); }; });
}

}  // namespace tenon::tool
