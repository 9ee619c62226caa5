// Loading a model; running its functions is function.cpp.
#include "runtime/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <thread>

#include "base/cpu_features.h"
#include "device/plugin/plugin.h"
#include "format/container.h"
#include "runtime/execute.h"
#include "runtime/model_state.h"
#include "runtime/state.h"

namespace tenon::runtime {
namespace {

void add_weights(const FileGraph& graph, std::set<const void*>& seen, int64_t& bytes) {
  for (const FileConstant& c : graph.constants)
    if (seen.insert(c.tensor.raw()).second) bytes += static_cast<int64_t>(c.tensor.byte_size());
  for (const FileStep& step : graph.steps)
    for (const FileGraph& region : step.regions) add_weights(region, seen, bytes);
}

// Kernels read the constants of sub-graphs that they compute as one themselves.
void make_fused_dense(const cpu::PackStore& packs, const FileGraph& graph, bool fused = false) {
  if (fused)
    for (const FileConstant& c : graph.constants) packs.make_dense(c.tensor);
  for (const FileStep& step : graph.steps)
    for (const FileGraph& region : step.regions)
      make_fused_dense(packs, region, fused || step.op->def().name == "fused");
}

// Gives the variables of a function their places among those of the model.
Status add_variables(ModelState& model, FunctionState& function) {
  const FileFunction& f = *function.file;
  for (size_t i = 0; i < f.state.size(); ++i) {
    const FileState& variable = f.state[i];
    const int v = f.graph.inputs[f.input_names.size() + i];
    const TensorType& type = f.graph.values[static_cast<size_t>(v)].type;
    size_t at = 0;
    while (at < model.variables.size() && model.variables[at].name != variable.name) ++at;
    if (at == model.variables.size()) {
      model.variables.push_back({variable.name, type});
      model.initial.push_back(variable.initial);
    } else if (model.variables[at].type != type ||
               !bitwise_equal(model.initial[at], variable.initial)) {
      return invalid_model(fmt::format(
          "the functions of the file differ in state variable '{}'; compile the model again",
          variable.name));
    }
    function.reads.push_back(at);
    function.inputs.push_back({variable.name, type});
    if (!variable.is_written) continue;
    function.writes.push_back(at);
    const int out = f.graph.outputs[f.output_names.size() + function.writes.size() - 1];
    function.outputs.push_back({variable.name, f.graph.values[static_cast<size_t>(out)].type});
  }
  return {};
}

// What the caller says, or else what was measured on this processor.
std::optional<cpu::Tuning> tuning_for(const FileModel& file, const LoadOptions& options) {
  if (options.tuning) return options.tuning;
  for (const auto& [key, value] : file.notes) {
    if (!key.starts_with(kTuningNote)) continue;
    cpu::Tuning tuning = cpu::tuning_from_note(value);
    if (tuning.processor == processor_name()) return tuning;
  }
  return std::nullopt;
}

// What the caller says, or else the compiler's note, or else the default.
Result<int64_t> loop_limit(const FileModel& file, const LoadOptions& options) {
  if (options.max_loop_iterations < 0)
    return invalid_argument(fmt::format(
        "a loop cannot be ended after {} iterations; give 1 or more", options.max_loop_iterations));
  if (options.max_loop_iterations > 0) return options.max_loop_iterations;
  for (const auto& [key, value] : file.notes)
    if (key == kMaxLoopIterationsNote) {
      const int64_t limit = std::strtoll(value.c_str(), nullptr, 10);
      if (limit > 0) return limit;
    }
  return RunControl::kDefaultMaxLoopIterations;
}

Result<std::shared_ptr<ModelState>> make_state(FileModel file, Blob bytes,
                                               const LoadOptions& options) {
  if (file.functions.empty())
    return invalid_model("the model has no functions; compile it again and name a signature");
  if (options.threads < 0 || options.threads > 1024)
    return invalid_argument(
        fmt::format("{} threads were asked for; give 0 (one per core) to 1024", options.threads));
  TRY(bind_custom_ops(file, options.custom_ops));
  auto state = std::make_shared<ModelState>();
  state->bytes = std::move(bytes);
  state->options = options;
  state->file = std::move(file);
  for (auto& weight : state->file.packed) state->packs.add_stored(weight);
  for (auto& weight : state->file.prepacked) state->packs.add_prepacked(std::move(weight));
  state->file.prepacked.clear();
  state->max_loop_iterations = TRY(loop_limit(state->file, options));
  state->tuning = tuning_for(state->file, options);
  for (const auto& [key, value] : state->file.notes) state->strict |= key == kStrictNote;
  for (const FileFunction& f : state->file.functions) {
    FunctionState& function = state->functions.emplace_back();
    function.file = &f;
    auto graph = prepare(f.graph);
    if (!graph.ok())
      return std::move(graph).error().note(fmt::format("while loading function '{}'", f.key));
    function.graph = std::move(*graph);
    const auto port = [&](const std::string& name, int v) {
      return PortInfo{name, f.graph.values[static_cast<size_t>(v)].type};
    };
    for (size_t i = 0; i < f.input_names.size(); ++i)
      function.inputs.push_back(port(f.input_names[i], f.graph.inputs[i]));
    for (size_t i = 0; i < f.output_names.size(); ++i)
      function.outputs.push_back(port(f.output_names[i], f.graph.outputs[i]));
    TRY(add_variables(*state, function));
    make_fused_dense(state->packs, f.graph);
    std::set<const void*> seen;
    add_weights(f.graph, seen, function.weight_bytes);
  }
  // How many cores there are is in a file of the system's.
  const auto cores = [] { return static_cast<int>(std::thread::hardware_concurrency()); };
  state->pool = std::make_unique<ThreadPool>(options.threads == 0 ? cores() : options.threads);
  return state;
}

// The function on a device that is a plug-in.
Result<std::shared_ptr<device::LoadedProgram>> load_program(const ModelState& model,
                                                            const std::string& key,
                                                            const DeviceChoice& choice) {
  const device::Description& device = *TRY(device::find_device(choice.name));
  device::Load load;
  load.model = model.bytes;
  for (const FileDeviceSection& section : model.file.device_sections)
    if (section.target == device.name) load.section = section.bytes;
  load.function = key;
  load.precision = choice.precision;
  load.verify_weights = false;  // done, where it was asked for
  load.max_loop_iterations = model.options.max_loop_iterations;
  load.custom_ops = model.options.custom_ops.libraries;
  load.allow_embedded_code = model.options.custom_ops.allow_embedded_code;
  return device::LoadedProgram::load(device, model.options.threads, load);
}

}  // namespace

Result<Model> Model::load(const std::string& path, LoadOptions options) {
  const auto mapping = TRY(container::map_file(path));
  const Blob bytes{mapping->bytes(), mapping};
  auto file =
      read_model(bytes, {.verify_weights = options.verify, .keep_packed = true, .is_mapped = true});
  if (!file.ok()) return std::move(file).error().at(path);
  auto state = make_state(std::move(*file), bytes, options);
  if (!state.ok()) return std::move(state).error().at(path);
  (*state)->packs.release_pages_of(mapping->bytes());
  return Model(std::move(*state));
}

Result<Model> Model::load(Blob bytes, LoadOptions options) {
  // Kernels want aligned weights; a mapped file has them, other memory may not.
  if (reinterpret_cast<uintptr_t>(bytes.bytes.data()) % 64 != 0) {
    auto copy = allocate_aligned(bytes.bytes.size());
    if (copy == nullptr) return resource_exhausted("out of memory reading the model");
    std::memcpy(copy.get(), bytes.bytes.data(), bytes.bytes.size());
    bytes = {{copy.get(), bytes.bytes.size()}, copy};
  }
  auto file = TRY(read_model(bytes, {.verify_weights = options.verify, .keep_packed = true}));
  return Model(TRY(make_state(std::move(file), std::move(bytes), options)));
}

std::vector<std::string> Model::functions() const {
  std::vector<std::string> keys;
  for (const FunctionState& f : state_->functions) keys.push_back(f.file->key);
  return keys;
}

Result<Function> Model::function(std::string_view key, std::shared_ptr<State> state,
                                 const DeviceChoice& device) const {
  const auto& all = state_->functions;
  const auto index = TRY(find(key));
  if (state == nullptr) state = std::make_shared<State>(state_->variables, state_->initial);
  if (state->variables().size() != state_->variables.size())
    return invalid_argument("the state is that of another model");
  if (device::is_cpu(device.name) && !device.precision.empty() && device.precision != "fp32")
    return unsupported("the precision of the CPU is that of the file; there is no choice at load");
  Function function(state_, static_cast<int>(index), std::move(state));
  if (!device::is_cpu(device.name))
    function.program_ = TRY(load_program(*state_, all[index].file->key, device));
  return function;
}

Result<size_t> Model::find(std::string_view key) const {
  const std::string_view wanted = key.empty() ? "serving_default" : key;
  for (size_t i = 0; i < state_->functions.size(); ++i)
    if (state_->functions[i].file->key == wanted) return i;
  if (key.empty()) return size_t{0};
  return not_found(fmt::format("the model has no signature '{}'; it has: {}", key,
                               fmt::join(functions(), ", ")));
}

const std::vector<std::pair<std::string, std::string>>& Model::notes() const {
  return state_->file.notes;
}
const std::string& Model::producer() const {
  return state_->file.producer;
}

std::vector<PrepackedWeight> Model::prepacked() const {
  return state_->packs.lasting();
}

int64_t Model::plans_made() const {
  int64_t made = 0;
  for (const FunctionState& f : state_->functions) made += f.graph->plans_made();
  return made;
}

}  // namespace tenon::runtime
