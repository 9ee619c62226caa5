// `tenon bisect`: the first pass, and the rule in it, that changes what a model computes.
#include <fmt/format.h>

#include "commands.h"
#include "file_arguments.h"
#include "ir/interpret.h"
#include "number_arguments.h"
#include "passes/passes.h"
#include "passes/pipeline_text.h"
#include "progress.h"
#include "runnable.h"
#include "text_output.h"

namespace tenon::tool {
namespace {

struct BisectArguments : RunLimits {
  std::string model, signature, pipeline = "default";
  std::vector<std::string> inputs;
  double tolerance = 1e-4;
  int64_t batch = 1;
  uint32_t seed = 1;
  bool json = false;
};

// The output furthest from what is expected, or what failed; empty when all agree.
std::string disagreement(const Graph& graph, std::span<const Tensor> inputs,
                         std::span<const Tensor> expected, double tolerance) {
  const auto actual = interpret(graph, inputs);
  if (!actual.ok()) return actual.error().to_string();
  for (size_t i = 0; i < expected.size(); ++i) {
    const Difference d = compare((*actual)[i], expected[i]);
    if (!d.within(tolerance)) return fmt::format("output {}: {}", i, d.to_string());
  }
  return {};
}

// The rule without which the pass leaves the outputs as they are; empty when it is no single one.
std::string guilty_rule(const Graph& before, const std::string& pass,
                        std::span<const Tensor> inputs, std::span<const Tensor> expected,
                        double tolerance) {
  PassContext all;
  auto whole = before.clone();
  if (!run_pipeline(*whole, {{pass, {}}}, all).ok()) return {};
  std::set<std::string> fired;
  for (const Firing& firing : all.firings) fired.emplace(firing.rule);
  for (const std::string& rule : fired) {
    PassContext context;
    auto graph = before.clone();
    if (run_pipeline(*graph, {{pass, {rule}}}, context).ok() &&
        disagreement(*graph, inputs, expected, tolerance).empty())
      return rule;
  }
  return {};
}

Status bisect(const BisectArguments& a) {
  auto progress = std::make_unique<Progress>();
  progress->stage("import " + a.model);
  const NamedGraph named = TRY(load_graph(a.model, a.signature, load_options(a)));
  std::vector<runtime::PortInfo> ports;
  for (size_t i = 0; i < named.input_names.size(); ++i)
    ports.push_back({named.input_names[i], named.graph->inputs()[i]->type()});
  auto inputs = TRY(read_inputs(ports, a.inputs, a.batch, a.seed));
  for (const StateVariable& s : named.state) inputs.push_back(s.initial);
  progress->stage("run the reference");
  const auto expected = TRY(interpret(*named.graph, inputs));
  const auto steps = TRY(parse_pipeline(a.pipeline));

  auto before = named.graph->clone();
  std::string pass, what;
  int passes = 0;
  PassContext context;
  context.observer = [&](const Pass& p, const Graph& graph, bool changed) -> Status {
    progress->stage(fmt::format("compare after pass {}, {}", ++passes, p.name));
    if (!changed) return {};
    what = disagreement(graph, inputs, expected, a.tolerance);
    if (what.empty()) {
      before = graph.clone();
      return {};
    }
    pass = p.name;
    return Error(Code::cancelled, "found");
  };
  auto graph = named.graph->clone();
  auto ran = run_pipeline(*graph, steps, context);
  if (!ran.ok() && pass.empty()) return write_reproducer(std::move(ran).error(), context);
  const std::string rule =
      pass.empty() ? "" : guilty_rule(*before, pass, inputs, expected, a.tolerance);
  progress.reset();
  if (a.json)
    fmt::print("{}\n", to_text(nlohmann::json{{"same", pass.empty()},
                                              {"passes", passes},
                                              {"pass", pass},
                                              {"rule", rule},
                                              {"difference", what}}));
  else if (pass.empty())
    fmt::print("{} passes ran, the outputs stayed within {:g}\n", passes, a.tolerance);
  else
    fmt::print("pass '{}' (run {}){} changes {}\n", pass, passes,
               rule.empty() ? "" : ", rule '" + rule + "',", what);
  if (pass.empty()) return {};
  return internal_error(fmt::format("pass '{}' changes what the model computes", pass));
}

}  // namespace

void add_bisect(CLI::App& app, Action& action) {
  auto* command =
      app.add_subcommand("bisect", "Find the pass and the rule that change a model's outputs");
  auto a = std::make_shared<BisectArguments>();
  command->add_option("MODEL", a->model, "a model, .tn or .tenon file")->required();
  command->add_option("--signature", a->signature, "signature (default: serving_default)");
  command->add_option("-p,--pipeline", a->pipeline, "passes and rules (default: default)")
      ->check(pipeline_error);
  add_run_limits(*command, *a);
  command->add_option("--input", a->inputs, "NAME=FILE.npy; made-up inputs where none is given")
      ->allow_extra_args(false);
  command->add_option("--batch", a->batch, "size of an open first dimension of made-up inputs")
      ->check(positive_number())
      ->excludes(command->get_option("--input"));
  command->add_option("--seed", a->seed, "of made-up inputs");
  command->add_option("--tolerance", a->tolerance, "relative L2 that is no difference")
      ->check(non_negative_number());
  command->add_flag("--json", a->json, "machine-readable output");
  command->footer("Example:\n  tenon bisect model.onnx --tolerance 1e-3");
  command->callback([a, &action] { action = [a] { return bisect(*a); }; });
}

}  // namespace tenon::tool
