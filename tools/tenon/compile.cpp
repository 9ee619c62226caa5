// `tenon compile`, `tenon check` and `tenon explain`.
#include "compiler/compile.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <map>

#include "commands.h"
#include "format/model_file.h"
#include "runtime/model.h"

namespace tenon::tool {
namespace {

struct CompileArguments {
  std::string model, output, target = "cpu", precision = "fp32", signature;
  std::vector<std::string> shapes, inputs, outputs, disabled;
  bool json = false;
};

// NAME:1,224,224,3 (or 1,224,224,3 for a model with one input); -1 or ? keeps a dimension open.
Result<std::pair<std::string, std::vector<int64_t>>> parse_shape(const std::string& text) {
  const size_t colon = text.rfind(':');
  std::string name = colon == std::string::npos ? "" : text.substr(0, colon);
  std::string_view list = text;
  if (colon != std::string::npos) list.remove_prefix(colon + 1);
  std::vector<int64_t> dims;
  while (!list.empty()) {
    const std::string_view item = list.substr(0, list.find_first_of(",x"));
    int64_t d = -1;
    const auto [p, error] = std::from_chars(item.data(), item.data() + item.size(), d);
    if (item != "?" && (error != std::errc() || p != item.data() + item.size() || d < -1))
      return invalid_argument(
          fmt::format("--input-shape '{}' is not of the form NAME:1,224,224,3", text));
    dims.push_back(d);
    list.remove_prefix(std::min(item.size() + 1, list.size()));
  }
  return std::pair{std::move(name), std::move(dims)};
}

Result<CompileOptions> options_of(const CompileArguments& a) {
  CompileOptions options;
  options.target = a.target;
  options.precision = a.precision;
  options.import.signature = a.signature;
  options.import.inputs = a.inputs;
  options.import.outputs = a.outputs;
  for (const std::string& shape : a.shapes)
    options.import.input_shapes.push_back(TRY(parse_shape(shape)));
  options.disabled.insert(a.disabled.begin(), a.disabled.end());
  return options;
}

void add_model_options(CLI::App& command, CompileArguments& a) {
  command.add_option("MODEL", a.model, "SavedModel folder, .pb, .pbtxt or .onnx")->required();
  command.add_option("--signature", a.signature, "only this signature (default: all)");
  command.add_option("--input-shape", a.shapes,
                     "NAME:1,224,224,3; repeatable; -1 keeps a dimension open");
  command.add_option("--inputs", a.inputs, "inputs of a GraphDef")->delimiter(',');
  command.add_option("--outputs", a.outputs, "outputs of a GraphDef")->delimiter(',');
  command.add_flag("--json", a.json, "machine-readable output");
}

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
  CompileOptions options = TRY(options_of(a));
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

Status check(const CompileArguments& a) {
  const CompileOptions options = TRY(options_of(a));
  const ImportedModel model = TRY(import_model(a.model, options.import));
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

void add_compile(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("compile", "Compile a trained model into one .tenon file");
  auto a = std::make_shared<CompileArguments>();
  add_model_options(*command, *a);
  command->add_option("-o,--output", a->output, "file to write (default: MODEL.tenon)");
  command->add_option("--target", a->target, "cpu");
  command->add_option("--precision", a->precision, "fp32");
  command->add_option("--disable", a->disabled, "switch a rule off; repeatable");
  command->footer("Example:\n  tenon compile examples/digits/saved_model -o digits.tenon");
  command->callback([a, &action] { action = [a] { return compile(*a); }; });
}

void add_check(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("check", "Say what becomes of every node of a model");
  auto a = std::make_shared<CompileArguments>();
  add_model_options(*command, *a);
  command->footer("Example:\n  tenon check examples/digits/saved_model");
  command->callback([a, &action] { action = [a] { return check(*a); }; });
}

}  // namespace tenon::tool
