// `tenon compile`.
#include "compiler/compile.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <map>

#include "commands.h"
#include "format/model_file.h"
#include "model_arguments.h"
#include "progress.h"

namespace tenon::tool {
namespace {

struct CompileArguments : ModelArguments {
  std::string output, target = "cpu", precision = "fp32";
  std::vector<std::string> disabled;
};

int64_t file_bytes(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_size : 0;
}

nlohmann::json firings_of(const FunctionReport& f) {
  std::map<std::string, int> counts;
  for (const Firing& firing : f.firings) ++counts[std::string(firing.rule)];
  return counts;
}

// MODEL.tenon beside the model; a folder such as . goes by its real name.
std::string output_of(const CompileArguments& a) {
  if (!a.output.empty()) return a.output;
  std::error_code error;
  std::filesystem::path path = std::filesystem::path(a.model).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  if (path.filename() == "." || path.filename() == "..")
    path = std::filesystem::weakly_canonical(path, error);
  return path.string() + ".tenon";
}

// Before the work, not after it.
Status check_folder(const std::string& output) {
  std::error_code error;
  const auto folder = std::filesystem::path(output).parent_path();
  if (folder.empty() || std::filesystem::is_directory(folder, error)) return {};
  return io_error(fmt::format("cannot create '{}': there is no folder '{}'; make it first", output,
                              folder.string()));
}

std::string no_folder(const std::string& output) {
  std::error_code error;
  if (!std::filesystem::is_directory(output, error)) return {};
  return fmt::format("'{0}' is a folder; give a file, such as {0}/model.tenon", output);
}

// The message of an option that the compiler refuses; empty for one it takes.
std::string refusal(const CompileOptions& options) {
  const Status status = check_options(options);
  return status.ok() ? std::string() : status.error().message;
}

Status compile(const CompileArguments& a) {
  const auto begin = std::chrono::steady_clock::now();
  CompileOptions options;
  options.import = TRY(import_options(a));
  options.target = a.target;
  options.precision = a.precision;
  options.disabled.insert(a.disabled.begin(), a.disabled.end());
  const std::string output = output_of(a);
  TRY(check_folder(output));
  auto progress = std::make_unique<Progress>();
  options.progress = [&](const std::string& stage) { progress->stage(stage); };
  const Compiled compiled = TRY(compile_model(a.model, options));
  progress->stage("write " + output);
  TRY(write_model(output, compiled.model));
  progress.reset();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (a.json) {
    nlohmann::json json{{"output", output},
                        {"file_bytes", file_bytes(output)},
                        {"seconds", seconds},
                        {"warnings", compiled.report.warnings}};
    for (const FunctionReport& f : compiled.report.functions)
      json["functions"].push_back({{"signature", f.key},
                                   {"nodes_imported", f.nodes_imported},
                                   {"nodes_compiled", f.nodes_compiled},
                                   {"rules", firings_of(f)}});
    fmt::print("{}\n", to_text(json));
    return {};
  }
  for (const std::string& warning : compiled.report.warnings)
    fmt::print(stderr, "warning: {}\n", warning);
  for (const FunctionReport& f : compiled.report.functions)
    fmt::print("{}: {} nodes -> {} nodes\n", f.key, f.nodes_imported, f.nodes_compiled);
  fmt::print("{}: {} bytes, {:.2f} s\n", output, file_bytes(output), seconds);
  return {};
}

}  // namespace

void add_compile(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("compile", "Compile a trained model into one .tenon file");
  auto a = std::make_shared<CompileArguments>();
  add_model_arguments(*command, *a);
  command->add_option("-o,--output", a->output, "file to write (default: MODEL.tenon)")
      ->check(no_folder);
  command->add_option("--target", a->target, "cpu")->check([](const std::string& target) {
    return refusal({.target = target});
  });
  command->add_option("--precision", a->precision, "fp32")->check([](const std::string& precision) {
    return refusal({.precision = precision});
  });
  command
      ->add_option("--disable", a->disabled,
                   "switch a rule or pass off; repeatable; `tenon docs rules` lists them")
      ->allow_extra_args(false)
      ->check([](const std::string& name) { return refusal({.disabled = {name}}); });
  command->footer("Example:\n  tenon compile examples/digits/saved_model -o digits.tenon");
  command->callback([a, &action] { action = [a] { return compile(*a); }; });
}

}  // namespace tenon::tool
