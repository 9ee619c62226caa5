// `tenon run`.
#include <fmt/format.h>
#include <sys/stat.h>

#include "commands.h"
#include "file_arguments.h"
#include "runnable.h"
#include "tensor/npy.h"

namespace tenon::tool {
namespace {

struct RunArguments : FileArguments {
  std::string output_dir, compare;
  std::vector<std::string> inputs;
  double tolerance = 1e-4;
  bool reference = false;
};

// Names may hold slashes and colons; file names must not.
std::string file_name_of(std::string name) {
  for (char& c : name)
    if (c == '/' || c == ':') c = '_';
  return name + ".npy";
}

// Runs the same inputs through the reference and shows how far its outputs are.
Status compare_with_reference(const RunArguments& a, const Runnable& runnable,
                              std::span<const Tensor> inputs, std::span<const Tensor> outputs) {
  const Runnable reference = TRY(open_runnable(a.file, a.signature, Engine::kReference));
  const auto expected = TRY(reference.run(inputs));
  std::vector<OutputDifference> differences;
  for (size_t i = 0; i < outputs.size() && i < expected.size(); ++i)
    differences.push_back({runnable.outputs[i].name, compare(outputs[i], expected[i])});
  return report_differences(differences, a.tolerance, a.json);
}

Status run(const RunArguments& a) {
  if (!a.compare.empty() && a.compare != "reference")
    return invalid_argument("--compare takes: reference");
  const bool file_only = !a.reference && a.compare.empty();
  const Engine engine = a.reference ? Engine::kReference : Engine::kRuntime;
  const Runnable runnable = file_only ? TRY(open_file(a.file, a.signature, a.threads))
                                      : TRY(open_runnable(a.file, a.signature, engine, a.threads));
  if (a.inputs.empty() && a.compare.empty() && !runnable.inputs.empty())
    return invalid_argument(fmt::format("no --input for '{}' was given", runnable.inputs[0].name));
  const auto inputs = TRY(read_inputs(runnable.inputs, a.inputs));
  const auto begin = std::chrono::steady_clock::now();
  const auto outputs = TRY(runnable.run(inputs));
  const double ms = milliseconds_since(begin);
  if (!a.compare.empty()) return compare_with_reference(a, runnable, inputs, outputs);
  nlohmann::json json{{"run_ms", ms}, {"outputs", nlohmann::json::object()}};
  if (!a.output_dir.empty()) ::mkdir(a.output_dir.c_str(), 0777);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = runnable.outputs[i].name;
    const Tensor& tensor = outputs[i];
    std::string path;
    if (!a.output_dir.empty()) {
      path = a.output_dir + "/" + file_name_of(name);
      TRY(write_npy(path, tensor));
    }
    json["outputs"][name] = {
        {"dtype", dtype_long_name(tensor.dtype())}, {"shape", tensor.dims()}, {"file", path}};
    if (!a.json)
      fmt::print("{}: {}{}{}\n", name, tensor.type().to_string(), path.empty() ? "" : " -> ", path);
  }
  if (a.json) fmt::print("{}\n", json.dump(2));
  return {};
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("run", "Run a .tenon file on .npy inputs");
  auto a = std::make_shared<RunArguments>();
  add_file_arguments(*command, *a);
  command->add_option("--input", a->inputs, "NAME=FILE.npy; repeatable");
  command->add_option("--output-dir", a->output_dir, "write one .npy per output there");
  command->add_flag("--reference", a->reference,
                    "interpret the file, or a model, with the reference of each op");
  command->add_option("--compare", a->compare,
                      "reference: say how far the outputs are from the reference's; made-up "
                      "inputs where none are given");
  command->add_option("--tolerance", a->tolerance, "relative L2 that --compare allows");
  command->footer(
      "Example:\n  tenon run digits.tenon --input images=digits.npy --output-dir out\n"
      "  tenon run digits.tenon --compare reference");
  command->callback([a, &action] { action = [a] { return run(*a); }; });
}

}  // namespace tenon::tool
