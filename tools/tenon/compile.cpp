// `tenon compile`.
#include "compiler/compile.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <map>

#include "commands.h"
#include "format/model_file.h"
#include "model_arguments.h"

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

Status compile(const CompileArguments& a) {
  const auto begin = std::chrono::steady_clock::now();
  CompileOptions options;
  options.import = TRY(import_options(a));
  options.target = a.target;
  options.precision = a.precision;
  options.disabled.insert(a.disabled.begin(), a.disabled.end());
  if (!a.json && ::isatty(STDERR_FILENO) != 0)
    options.progress = [](const std::string& stage) { fmt::print(stderr, "\r\x1b[K{} …", stage); };
  Compiled compiled = TRY(compile_model(a.model, options));
  std::string output = a.output;
  if (output.empty()) {
    output = a.model;
    while (output.ends_with("/")) output.pop_back();
    output += ".tenon";
  }
  if (options.progress) fmt::print(stderr, "\r\x1b[K");
  TRY(write_model(output, compiled.model));
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
    fmt::print("{}\n", json.dump(2));
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
  command->add_option("-o,--output", a->output, "file to write (default: MODEL.tenon)");
  command->add_option("--target", a->target, "cpu");
  command->add_option("--precision", a->precision, "fp32");
  command->add_option("--disable", a->disabled, "switch a rule off; repeatable");
  command->footer("Example:\n  tenon compile examples/digits/saved_model -o digits.tenon");
  command->callback([a, &action] { action = [a] { return compile(*a); }; });
}

}  // namespace tenon::tool
