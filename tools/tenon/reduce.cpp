// `tenon reduce`: the smallest graph on which a pipeline still fails.
#include "passes/reduce.h"

#include <fmt/format.h>

#include "commands.h"
#include "file_arguments.h"
#include "ir/interpret.h"
#include "number_arguments.h"
#include "passes/pipeline_text.h"
#include "progress.h"
#include "run_arguments.h"
#include "runnable.h"
#include "text_output.h"
#include "verify/sample_inputs.h"

namespace tenon::tool {
namespace {

struct ReduceArguments : TextArguments {
  std::vector<std::string> custom_ops;
  std::string file, pipeline;
  double tolerance = 1e-4;
  uint32_t seed = 1;
  bool json = false;
};

// How a graph fails under the pipeline; empty when it does not.
std::string failure(const Graph& graph, const std::vector<PipelineStep>& steps,
                    const ReduceArguments& a) {
  auto after = graph.clone();
  PassContext context;
  if (auto ran = run_pipeline(*after, steps, context); !ran.ok())
    return fmt::format("error {}", code_name(ran.error().code));
  std::vector<runtime::PortInfo> ports;
  for (const auto& input : graph.inputs()) ports.push_back({input->name, input->type()});
  const auto inputs = sample_inputs(ports, {1, 1, kUsualImage}, a.seed);
  if (!inputs.ok()) return {};
  const auto expected = interpret(graph, *inputs);
  if (!expected.ok()) return {};
  const auto actual = interpret(*after, *inputs);
  if (!actual.ok()) return "error when run";
  for (size_t i = 0; i < expected->size(); ++i)
    if (!compare((*actual)[i], (*expected)[i]).within(a.tolerance)) return "other results";
  return {};
}

Status reduce(const ReduceArguments& a) {
  const std::string text = TRY(read_text_file(a.file));
  const std::string pipeline = TRY(pipeline_for(a.pipeline, text));
  const auto steps = TRY(parse_pipeline(pipeline));
  runtime::LoadOptions options;
  options.custom_ops.libraries = a.custom_ops;
  NamedGraph named = TRY(load_graph(a.file, {}, options));
  const std::string wanted = failure(*named.graph, steps, a);
  if (wanted.empty())
    return invalid_argument(
        fmt::format("'{}' does not fail on this graph: there is nothing to reduce", pipeline));
  const size_t before = named.graph->node_count();
  auto progress = std::make_unique<Progress>();
  const int taken = reduce_graph(named.graph, [&](const Graph& graph) {
    const bool fails = failure(graph, steps, a) == wanted;
    if (fails) progress->stage(fmt::format("reduce, {} nodes left", graph.node_count()));
    return fails;
  });
  progress.reset();
  named.input_names.clear();
  named.output_names.clear();
  named.state.clear();
  named.key = named.graph->name;
  if (!a.json || !a.output.empty())
    TRY(write_text(a, std::span(&named, 1), fmt::format("// opt: {}\n", pipeline_text(steps))));
  if (a.json)
    fmt::print("{}\n",
               to_text(nlohmann::json{{"failure", wanted},
                                      {"steps", taken},
                                      {"nodes_before", before},
                                      {"nodes", named.graph->node_count()},
                                      {"text", print_graph(*named.graph, TextForm::kFull)}}));
  else
    fmt::print(stderr, "{}: {} nodes of {} left\n", wanted, named.graph->node_count(), before);
  return {};
}

}  // namespace

void add_reduce(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("reduce", "Make a graph smaller on which a pipeline fails");
  auto a = std::make_shared<ReduceArguments>();
  command->add_option("FILE", a->file, ".tn file")->required();
  command
      ->add_option("-p,--pipeline", a->pipeline,
                   "passes and rules (default: the first line of the file)")
      ->check(pipeline_error);
  command->add_option("--tolerance", a->tolerance, "relative L2 that is no difference")
      ->check(non_negative_number());
  command->add_option("--seed", a->seed, "of the made-up inputs");
  command->add_flag("--json", a->json, "machine-readable output");
  add_custom_ops(*command, a->custom_ops);
  add_text_arguments(*command, *a);
  command->footer("Example:\n  tenon reduce repro.tn -o small.tn");
  command->callback([a, &action] { action = [a] { return reduce(*a); }; });
}

}  // namespace tenon::tool
