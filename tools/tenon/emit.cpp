// `tenon emit`: a model as readable sources for a chip vendor's compiler.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "base/half.h"
#include "commands.h"
#include "compiler/compile.h"
#include "emit/bang_c.h"
#include "emit/build_files.h"
#include "emit/folder.h"
#include "ir/interpret.h"
#include "model_arguments.h"
#include "number_arguments.h"
#include "predict/predict.h"
#include "progress.h"
#include "runnable.h"

namespace tenon::tool {
namespace {

namespace fs = std::filesystem;

struct EmitArguments : ModelArguments {
  std::string target, output, precision = "fp16", folder;
  std::vector<std::string> data;
  int64_t batch = 1;
  double tolerance = 0;
  bool check = false, force = false;
};

// What a folder of ours has in folders: of an earlier model, it would be built with this one.
constexpr std::string_view kOwnFolders[] = {"kernels", "check", "shim", "build"};

Status prepare_folder(const std::string& path, bool force) {
  std::error_code error;
  if (fs::exists(path, error) && !fs::is_directory(path, error))
    return invalid_argument(fmt::format("'{}' is there and is no folder", path));
  if (fs::is_directory(path, error) && !fs::is_empty(path, error)) {
    if (!force)
      return invalid_argument(
          fmt::format("the folder '{}' is not empty; name another, or give --force", path));
    if (fs::exists(fs::path(path) / "tenon_target.h", error))
      for (const std::string_view own : kOwnFolders) fs::remove_all(fs::path(path) / own, error);
  }
  fs::create_directories(path, error);
  if (error) return io_error(fmt::format("cannot make the folder '{}': {}", path, error.message()));
  return {};
}

Status write_files(const std::string& folder, const std::vector<emit::EmittedFile>& files) {
  for (const emit::EmittedFile& file : files) {
    const fs::path path = fs::path(folder) / file.path;
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    if (error)
      return io_error(fmt::format("cannot make the folder '{}': {}", path.parent_path().string(),
                                  error.message()));
    TRY(write_file_atomically(path.string(), std::as_bytes(std::span(file.bytes))));
    if (file.path.ends_with(".sh"))
      fs::permissions(path, fs::perms::owner_exec | fs::perms::group_exec | fs::perms::others_exec,
                      fs::perm_options::add, error);
  }
  return {};
}

std::string quoted_for_shell(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

struct CheckResult {
  bool passed = false;
  bool has_compiler = true;
  std::string output;
};

// Runs check.sh of the folder, which says what it finds.
Result<CheckResult> run_check(const std::string& folder) {
  const std::string script = (fs::absolute(folder) / "check.sh").string();
  const std::string command = "sh " + quoted_for_shell(script) + " 2>&1";
  std::FILE* pipe = popen(command.c_str(), "r");  // NOLINT(cert-env33-c): our own script
  if (pipe == nullptr) return io_error("cannot start a shell for check.sh");
  CheckResult result;
  std::array<char, 4096> part{};
  for (size_t n = 0; (n = std::fread(part.data(), 1, part.size(), pipe)) > 0;)
    result.output.append(part.data(), n);
  const int status = pclose(pipe);
  constexpr int kNoCompiler = 3 << 8;
  result.passed = status == 0;
  result.has_compiler = status != kNoCompiler;
  return result;
}

Result<NamedGraph> chosen(std::vector<NamedGraph> graphs, const std::string& signature) {
  const std::string wanted = signature.empty() ? "serving_default" : signature;
  auto found = std::ranges::find(graphs, wanted, &NamedGraph::key);
  return std::move(found == graphs.end() ? graphs.front() : *found);
}

std::vector<runtime::PortInfo> ports(const std::vector<std::string>& names,
                                     const std::vector<Value*>& values) {
  std::vector<runtime::PortInfo> out;
  for (size_t i = 0; i < values.size(); ++i)
    out.push_back({i < names.size() ? names[i] : fmt::format("state_{}", i), values[i]->type()});
  return out;
}

// Made-up numbers as the chip has them: those that are equal there are so for the reference, too,
// and have the same places in an order.
void round_to_half(Tensor& t) {
  if (!t.defined() || t.is_list() || t.dtype() != DType::f32) return;
  for (int64_t i = 0; i < t.elements(); ++i) {
    float& x = t.mutable_data<float>()[i];
    x = static_cast<float>(Half(x));
  }
}

// What the folder is made of: the model for the chip, data for its check, the reference's results.
struct Prepared {
  NamedGraph named;
  std::unique_ptr<Graph> graph;
  DeviceProgram program;
  emit::EmitRequest request;
};

Status prepare(const EmitArguments& a, const Machine& machine, Prepared& p) {
  const DType real = TRY(device_real(a.precision));
  if (real == DType::bf16) return unsupported("kernels are written in fp16 or fp32");
  p.named = TRY(chosen(TRY(load_graphs(a.model, TRY(import_options(a)))), a.signature));
  p.graph = TRY(prepare_for_batch(*p.named.graph, a.batch));
  Machine smaller = machine;
  if (auto* chip = std::get_if<CambriconChip>(&smaller.chip))
    chip->nram_reserved += static_cast<double>(emit::kWindowRoom);
  p.program = TRY(lower_graph(*p.graph, smaller, {.real = real, .batch = a.batch}));
  std::vector<Value*> inputs;
  for (const auto& v : p.graph->inputs()) inputs.push_back(v.get());
  const std::vector<Value*> outputs(p.graph->outputs().begin(), p.graph->outputs().end());
  const auto in = ports(p.named.input_names, inputs), out = ports(p.named.output_names, outputs);
  p.request.program = &p.program;
  p.request.model = fs::path(a.model).filename().string();
  if (p.request.model.empty())
    p.request.model = fs::path(a.model).parent_path().filename().string();
  p.request.title = machine.title;
  p.request.precision = real == DType::f32 ? "fp32" : "fp16";
  p.request.batch = a.batch;
  // As the simulated chips are compared with the reference.
  p.request.tolerance = a.tolerance > 0                ? a.tolerance
                        : real == DType::f32           ? 1e-4
                        : rounds_to_integers(*p.graph) ? 5e-2
                                                       : 2e-2;
  p.request.input_names = file_names(in);
  p.request.output_names = file_names(out);
  const size_t free = p.named.input_names.size();
  p.request.inputs =
      TRY(read_inputs(std::span(in).first(std::min(free, in.size())), a.data, a.batch));
  if (real == DType::f16 && a.data.empty())
    for (Tensor& t : p.request.inputs) round_to_half(t);
  for (const auto& variable : p.named.state) p.request.inputs.push_back(variable.initial);
  p.request.expected = TRY(interpret(*p.graph, p.request.inputs));
  return {};
}

void report(const EmitArguments& a, const emit::EmittedModel& model, const std::string& target,
            const std::string& status, const CheckResult& check) {
  if (a.json) {
    nlohmann::json json{{"target", target},
                        {"folder", a.output},
                        {"kernels", model.kernels},
                        {"layers", model.layers},
                        {"checked", check.passed},
                        {"status", status},
                        {"check_output", check.output},
                        {"host_layers", nlohmann::json::array()},
                        {"files", nlohmann::json::array()}};
    for (const auto& h : model.host)
      json["host_layers"].push_back({{"name", h.name}, {"reason", h.reason}});
    for (const auto& f : model.files) json["files"].push_back(f.path);
    fmt::print("{}\n", to_text(json));
    return;
  }
  fmt::print("wrote {} kernels for {} layers to {}\n", model.kernels, model.layers, a.output);
  for (const auto& h : model.host) fmt::print("left to the host: '{}': {}\n", h.name, h.reason);
  if (!check.output.empty()) fmt::print("{}", check.output);
  fmt::print("{}\n", status);
}

Status run(const EmitArguments& a) {
  const MachineCatalog catalog = TRY(MachineCatalog::load(a.folder));
  const Machine* machine = TRY(catalog.find(a.target));
  TRY(prepare_folder(a.output, a.force));
  auto progress = std::make_unique<Progress>();
  progress->stage("import and lower");
  Prepared p;
  TRY(prepare(a, *machine, p));
  progress->stage("write");
  emit::EmittedModel model = TRY(emit::emit_model(p.request));
  TRY(write_files(a.output, model.files));
  CheckResult check;
  if (a.check && model.host.empty()) {
    progress->stage("check");
    check = TRY(run_check(a.output));
    if (check.passed) {
      p.request.checked = true;
      model = TRY(emit::emit_model(p.request));
      TRY(write_files(a.output, model.files));
    }
  }
  progress.reset();
  const std::string status(emit::status_text(check.passed));
  report(a, model, machine->name, status, check);
  if (!a.check || check.passed) return {};
  if (!model.host.empty())
    return unsupported(fmt::format(
        "not checked: {} layers are left to the host, to be written in {}/host_layers.cpp; the "
        "first is '{}': {}",
        model.host.size(), a.output, model.host[0].name, model.host[0].reason));
  if (!check.has_compiler)
    return io_error(
        "not checked: there is no C++ compiler here; set CXX, or run check.sh of the "
        "folder where there is one");
  return internal_error(fmt::format("the check of '{}' failed: {}", a.output, check.output));
}

}  // namespace

void add_emit(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "emit", "Write a model as Ascend C or BANG C sources for the chip vendor's compiler");
  auto a = std::make_shared<EmitArguments>();
  add_model_arguments(*command, *a);
  command->add_option("--target", a->target, "the chip, see `tenon targets list`")->required();
  command->add_option("-o,--output", a->output, "folder to write; must be new or empty")
      ->required();
  command->add_option("--batch", a->batch, "size of the first dimension, where it is open")
      ->check(positive_number());
  command->add_option("--precision", a->precision, "fp16 or fp32");
  command->add_flag("--check", a->check,
                    "build the sources with the host's compiler (CXX) against a shim, run them and "
                    "compare with the reference");
  command
      ->add_option("--input", a->data,
                   "NAME=FILE.npy: what the check runs on (default: made-up numbers)")
      ->allow_extra_args(false);
  command
      ->add_option("--tolerance", a->tolerance,
                   "of the check, in relative L2 (default: 2e-2 for fp16, 5e-2 where the "
                   "model is quantised, 1e-4 for fp32)")
      ->check(positive_number());
  command->add_flag("--force", a->force, "write into a folder that is not empty");
  command->add_option("--targets-dir", a->folder, "folder with machine descriptions of your own")
      ->check(CLI::ExistingDirectory);
  command->footer("Example:\n  tenon emit saved_model --target ascend910b3 -o kernels --check");
  command->callback([a, &action] { action = [a] { return run(*a); }; });
}

}  // namespace tenon::tool
