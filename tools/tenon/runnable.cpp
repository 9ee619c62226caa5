#include "runnable.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "file_arguments.h"
#include "format/container.h"
#include "ir/interpret.h"
#include "run_arguments.h"
#include "tensor/npy.h"
#include "verify/sample_inputs.h"

namespace tenon::tool {
namespace {

Result<Runnable> with_runtime(runtime::Model model, const std::string& signature,
                              const runtime::DeviceChoice& device) {
  const auto function = TRY(model.function(signature, nullptr, device));
  Runnable runnable;
  runnable.key = function.key();
  runnable.inputs.assign(function.inputs().begin(), function.inputs().end());
  runnable.outputs.assign(function.outputs().begin(), function.outputs().end());
  runnable.state = function.state();
  runnable.function = std::make_shared<const runtime::Function>(function);
  runnable.run = [function](std::span<const Tensor> inputs) { return function.run(inputs, {}); };
  return runnable;
}

// Compiled files are known by how they begin, whatever their name.
bool is_compiled(const std::string& path) {
  const auto file = MappedFile::open(path);
  return file.ok() && (*file)->bytes().size() >= sizeof container::kMagic &&
         std::memcmp((*file)->bytes().data(), container::kMagic, sizeof container::kMagic) == 0;
}

// TensorFlow's name of a node's first result is also that of the node.
std::string_view bare(std::string_view name) {
  return name.ends_with(":0") ? name.substr(0, name.size() - 2) : name;
}

}  // namespace

std::string listed(std::span<const runtime::PortInfo> ports) {
  std::string text;
  for (const runtime::PortInfo& port : ports)
    text += fmt::format("{}'{}' {}", text.empty() ? "" : ", ", port.name, port.type.to_string());
  return text.empty() ? "none" : text;
}

std::vector<std::string> file_names(std::span<const runtime::PortInfo> ports) {
  constexpr size_t kLongest = 200;
  std::vector<std::string> names;
  for (const runtime::PortInfo& port : ports) {
    std::string name = port.name;
    if (name.ends_with(":0")) name.resize(name.size() - 2);
    for (char& c : name)
      if (std::string_view("/\\:*?\"<>|").find(c) != std::string_view::npos ||
          static_cast<unsigned char>(c) < 0x20)
        c = '_';
    if (name.empty() || name[0] == '.') name.insert(0, "_");
    name.resize(std::min(name.size(), kLongest));
    std::string unique = name;
    for (int i = 1; std::ranges::find(names, unique) != names.end(); ++i)
      unique = fmt::format("{}_{}", name, i);
    names.push_back(unique);
  }
  return names;
}

Result<std::vector<NamedGraph>> load_graphs(const std::string& path, const ImportOptions& options,
                                            const CustomOpOptions& code) {
  if (is_compiled(path)) {
    FileModel file = TRY(read_model_file(path));
    if (Status s = bind_custom_ops(file, code); !s.ok()) return std::move(s).error().at(path);
    return decode_model(file);
  }
  ImportedModel model = TRY(import_model(path, options));
  if (model.functions.empty())
    return unsupported(fmt::format("{} nodes of the model cannot be run; see `tenon check {}`",
                                   model.report.count(Fate::unsupported), path));
  return std::move(model.functions);
}

Result<NamedGraph> load_graph(const std::string& path, const std::string& signature,
                              const runtime::LoadOptions& options) {
  ImportOptions import;
  if (!is_compiled(path)) import = TRY(import_options(options));
  std::vector<NamedGraph> graphs = TRY(load_graphs(path, import, options.custom_ops));
  const std::string wanted = signature.empty() ? "serving_default" : signature;
  auto found = std::ranges::find(graphs, wanted, &NamedGraph::key);
  if (found == graphs.end() && signature.empty()) found = graphs.begin();
  if (found != graphs.end()) return std::move(*found);
  std::string keys;
  for (const NamedGraph& g : graphs) keys += " " + g.key;
  return not_found(fmt::format("there is no signature '{}'; there are:{}", signature, keys));
}

Result<Runnable> open_file(const std::string& path, const std::string& signature,
                           const runtime::LoadOptions& options,
                           const runtime::DeviceChoice& device) {
  return with_runtime(TRY(runtime::Model::load(path, options)), signature, device);
}

Result<Runnable> open_runnable(const std::string& path, const std::string& signature, Engine engine,
                               const runtime::LoadOptions& options,
                               const runtime::DeviceChoice& device) {
  if (engine == Engine::kReference) {
    NamedGraph named = TRY(load_graph(path, signature, options));
    Runnable runnable;
    runnable.key = named.key;
    for (size_t i = 0; i < named.input_names.size(); ++i)
      runnable.inputs.push_back({named.input_names[i], named.graph->inputs()[i]->type()});
    for (size_t i = 0; i < named.output_names.size(); ++i)
      runnable.outputs.push_back({named.output_names[i], named.graph->outputs()[i]->type()});
    std::vector<runtime::PortInfo> variables;
    std::vector<Tensor> initial;
    std::vector<size_t> written;
    for (size_t i = 0; i < named.state.size(); ++i) {
      const Value& input = *named.graph->inputs()[named.input_names.size() + i];
      variables.push_back({named.state[i].name, input.type()});
      initial.push_back(named.state[i].initial);
      if (named.state[i].is_written) written.push_back(i);
    }
    runnable.state = std::make_shared<runtime::State>(variables, initial);
    std::shared_ptr<const Graph> graph = std::move(named.graph);
    runnable.graph = graph;
    InterpretOptions limits;
    if (options.max_loop_iterations > 0) limits.max_loop_iterations = options.max_loop_iterations;
    runnable.run = [graph, limits, written, state = runnable.state](
                       std::span<const Tensor> inputs) -> Result<std::vector<Tensor>> {
      std::vector<Tensor> all(inputs.begin(), inputs.end());
      for (size_t i = 0; i < state->variables().size(); ++i) all.push_back(TRY(state->get(i)));
      auto outputs = TRY(interpret(*graph, all, limits));
      const size_t count = outputs.size() - written.size();
      for (size_t i = 0; i < written.size(); ++i) TRY(state->set(written[i], outputs[count + i]));
      outputs.resize(count);
      return outputs;
    };
    return runnable;
  }
  if (is_compiled(path)) return open_file(path, signature, options, device);
  CompileOptions compile;
  compile.import = TRY(import_options(options));
  const Compiled compiled = TRY(compile_model(path, compile));
  auto bytes = std::make_shared<std::vector<std::byte>>(TRY(encode_model(compiled.model)));
  return with_runtime(TRY(runtime::Model::load(Blob{*bytes, bytes}, options)), signature, device);
}

Result<std::vector<Tensor>> read_inputs(std::span<const runtime::PortInfo> ports,
                                        const std::vector<std::string>& texts, int64_t batch,
                                        uint32_t seed) {
  if (texts.empty()) return sample_inputs(ports, {batch, 1, kUsualImage}, seed);
  std::vector<std::vector<Tensor>> given(ports.size());
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos && ports.size() != 1)
      return invalid_argument(fmt::format(
          "--input '{}' is not of the form NAME=FILE.npy; there are: {}", text, listed(ports)));
    const std::string name = equals == std::string::npos ? ports[0].name : text.substr(0, equals);
    auto port = std::ranges::find(ports, name, &runtime::PortInfo::name);
    if (port == ports.end())
      port = std::ranges::find(ports, bare(name), [](const auto& p) { return bare(p.name); });
    if (port == ports.end())
      return not_found(fmt::format("there is no input '{}'; there are: {}", name, listed(ports)));
    const std::string path = text.substr(equals == std::string::npos ? 0 : equals + 1);
    Tensor t = TRY(read_npy(path));
    TensorType wanted = port->type;
    wanted.is_list = false;  // the element's
    if (!is_compatible(wanted, t.type()))
      return invalid_argument(fmt::format("input '{}' takes {}, '{}' holds {}{}", name,
                                          wanted.to_string(), path, t.type().to_string(),
                                          wanted.dtype == t.dtype()
                                              ? ""
                                              : fmt::format("; convert it with array.astype('{}')",
                                                            dtype_long_name(wanted.dtype))));
    auto& values = given[static_cast<size_t>(port - ports.begin())];
    if (!values.empty() && !port->type.is_list)
      return invalid_argument(fmt::format("--input for '{}' is given twice", name));
    values.push_back(std::move(t));
  }
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < ports.size(); ++i) {
    if (given[i].empty() && ports[i].type.dtype != DType::none)
      return invalid_argument(fmt::format("no --input for '{}' was given; there are: {}",
                                          ports[i].name, listed(ports)));
    if (ports[i].type.is_list)
      inputs.push_back(Tensor::list(ports[i].type.dtype, std::move(given[i])));
    else
      inputs.push_back(given[i].empty() ? Tensor() : std::move(given[i][0]));
  }
  return inputs;
}

std::vector<Tensor> with_initial_state(const NamedGraph& graph, std::span<const Tensor> inputs) {
  std::vector<Tensor> all(inputs.begin(), inputs.end());
  for (const auto& variable : graph.state) all.push_back(variable.initial);
  return all;
}

Status read_state(const Runnable& runnable, const std::string& folder) {
  if (folder.empty()) return {};
  bool any = false;
  const auto variables = runnable.state->variables();
  const auto files = file_names(variables);
  for (size_t i = 0; i < variables.size(); ++i) {
    const auto path = std::filesystem::path(folder) / (files[i] + ".npy");
    std::error_code error;
    if (!std::filesystem::exists(path, error)) continue;
    any = true;
    TRY(runnable.state->set(i, TRY(read_npy(path.string()))));
  }
  if (!any)
    return not_found(fmt::format("'{}' holds no value of a state variable; there are: {}", folder,
                                 listed(variables)));
  return {};
}

Status write_state(const Runnable& runnable, const std::string& folder) {
  if (folder.empty()) return {};
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    return io_error(fmt::format("cannot make the folder '{}': {}", folder, error.message()));
  const auto files = file_names(runnable.state->variables());
  for (size_t i = 0; i < files.size(); ++i)
    TRY(write_npy((std::filesystem::path(folder) / (files[i] + ".npy")).string(),
                  TRY(runnable.state->get(i))));
  return {};
}

Status report_differences(std::span<const OutputDifference> differences, double tolerance,
                          bool json) {
  bool good = true;
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [name, d] : differences) {
    const bool within = d.within(tolerance);
    good &= within;
    if (json)
      list.push_back({{"name", name},
                      {"within", within},
                      {"mismatch", d.mismatch},
                      {"max_abs", d.max_abs},
                      {"relative_l2", d.relative_l2},
                      {"cosine", d.cosine},
                      {"differing", d.differing}});
    else
      fmt::print("{} {}: {}\n", within ? "same  " : "DIFFER", name, d.to_string());
  }
  if (json) fmt::print("{}\n", to_text(nlohmann::json{{"same", good}, {"outputs", list}}));
  if (good) return {};
  return invalid_model(fmt::format("the outputs differ by more than --tolerance {:g}", tolerance));
}

}  // namespace tenon::tool
