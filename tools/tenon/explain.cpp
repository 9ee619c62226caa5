// `tenon explain`.
#include <fmt/format.h>

#include "commands.h"
#include "file_arguments.h"

namespace tenon::tool {
namespace {

struct ExplainArguments : FileArguments {
  int64_t batch = 1;
};

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
  if (a.json)
    fmt::print("{}\n", json.dump(2));
  else
    fmt::print("arena {} bytes, weights {} bytes\n", report.arena_bytes, report.weight_bytes);
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
