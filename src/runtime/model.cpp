#include "runtime/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "runtime/executor.h"

namespace tenon::runtime {

struct ModelState {
  FileModel file;
  std::unique_ptr<ThreadPool> pool;
  std::vector<std::unique_ptr<Executor>> executors;
  std::vector<std::vector<PortInfo>> inputs;
  std::vector<std::vector<PortInfo>> outputs;
};

namespace {

std::vector<PortInfo> ports(const FileGraph& graph, const std::vector<std::string>& names,
                            const std::vector<int>& values) {
  std::vector<PortInfo> infos;
  for (size_t i = 0; i < names.size(); ++i)
    infos.push_back({names[i], graph.values[static_cast<size_t>(values[i])].type});
  return infos;
}

Result<std::shared_ptr<ModelState>> prepare(FileModel file, const LoadOptions& options) {
  if (file.functions.empty()) return invalid_model("the file holds no function to run");
  auto state = std::make_shared<ModelState>();
  state->file = std::move(file);
  int threads = options.threads;
  if (threads <= 0) threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  state->pool = std::make_unique<ThreadPool>(threads);
  for (const FileFunction& f : state->file.functions) {
    state->executors.push_back(std::make_unique<Executor>(f.graph, *state->pool));
    state->inputs.push_back(ports(f.graph, f.input_names, f.graph.inputs));
    state->outputs.push_back(ports(f.graph, f.output_names, f.graph.outputs));
  }
  return state;
}

// `x` and `x:0` name the same tensor.
std::string_view bare(std::string_view name) {
  return name.ends_with(":0") ? name.substr(0, name.size() - 2) : name;
}

Status check_input(const PortInfo& port, const Tensor& given) {
  if (!given.defined()) return invalid_argument(fmt::format("input '{}' is missing", port.name));
  const TensorType type = given.type();
  if (type.dtype != port.type.dtype || type.is_list != port.type.is_list)
    return invalid_argument(fmt::format("input '{}' must be {}, {} was given", port.name,
                                        dtype_long_name(port.type.dtype),
                                        dtype_long_name(type.dtype)));
  if (!is_compatible(port.type, type))
    return invalid_argument(fmt::format("input '{}' must have shape {}, {} was given", port.name,
                                        port.type.shape.to_string(), type.shape.to_string()));
  return {};
}

// Moves a result to where the caller wants it.
Status place_output(const PortInfo& port, Tensor wanted, Tensor& result) {
  if (!wanted.defined()) return {};
  if (wanted.dtype() != result.dtype() || wanted.dims() != result.dims() || result.is_list())
    return invalid_argument(fmt::format("the buffer for output '{}' is {}, the result is {}",
                                        port.name, wanted.type().to_string(),
                                        result.type().to_string()));
  if (result.dtype() == DType::string)
    std::copy_n(result.data<std::string>(), result.elements(), wanted.mutable_data<std::string>());
  else if (result.elements() > 0)
    std::memcpy(wanted.mutable_raw(), result.raw(), result.byte_size());
  result = std::move(wanted);
  return {};
}

}  // namespace

Result<Model> Model::load(const std::string& path, LoadOptions options) {
  return Model(TRY(prepare(TRY(read_model_file(path, {options.verify})), options)));
}

Result<Model> Model::load(Blob bytes, LoadOptions options) {
  return Model(TRY(prepare(TRY(read_model(std::move(bytes), {options.verify})), options)));
}

std::vector<std::string> Model::functions() const {
  std::vector<std::string> keys;
  for (const FileFunction& f : state_->file.functions) keys.push_back(f.key);
  return keys;
}

Result<Function> Model::function(std::string_view key) const {
  const auto keys = functions();
  const std::string_view wanted = key.empty() ? "serving_default" : key;
  for (size_t i = 0; i < keys.size(); ++i)
    if (keys[i] == wanted) return Function(state_, static_cast<int>(i));
  if (key.empty()) return Function(state_, 0);
  return not_found(
      fmt::format("the model has no signature '{}'; it has: {}", key, fmt::join(keys, ", ")));
}

const std::vector<std::pair<std::string, std::string>>& Model::notes() const {
  return state_->file.notes;
}
const std::string& Model::producer() const {
  return state_->file.producer;
}

const std::string& Function::key() const {
  return state_->file.functions[static_cast<size_t>(index_)].key;
}
std::span<const PortInfo> Function::inputs() const {
  return state_->inputs[static_cast<size_t>(index_)];
}
std::span<const PortInfo> Function::outputs() const {
  return state_->outputs[static_cast<size_t>(index_)];
}

Result<std::vector<Tensor>> Function::run(std::span<const Tensor> inputs,
                                          std::span<const Tensor> outputs,
                                          PlanReport* profile) const {
  const auto ports = this->inputs();
  if (inputs.size() != ports.size())
    return invalid_argument(
        fmt::format("{} inputs are expected, {} were given", ports.size(), inputs.size()));
  for (size_t i = 0; i < ports.size(); ++i) TRY(check_input(ports[i], inputs[i]));
  auto results = TRY(state_->executors[static_cast<size_t>(index_)]->run(inputs, profile));
  for (size_t i = 0; i < std::min(outputs.size(), results.size()); ++i)
    TRY(place_output(this->outputs()[i], outputs[i], results[i]));
  return results;
}

Result<std::map<std::string, Tensor>> Function::run(const std::map<std::string, Tensor>& inputs,
                                                    const RunOptions& options) const {
  const auto ports = this->inputs();
  std::vector<Tensor> ordered(ports.size());
  for (const auto& [name, tensor] : inputs) {
    size_t i = 0;
    while (i < ports.size() && bare(ports[i].name) != bare(name)) ++i;
    if (i == ports.size()) {
      std::string names;
      for (const PortInfo& port : ports) names += (names.empty() ? "" : ", ") + port.name;
      return not_found(fmt::format("the model has no input '{}'; it has: {}", name, names));
    }
    ordered[i] = tensor;
  }
  std::vector<Tensor> wanted(this->outputs().size());
  if (options.outputs != nullptr)
    for (size_t i = 0; i < wanted.size(); ++i)
      if (const auto it = options.outputs->find(this->outputs()[i].name);
          it != options.outputs->end())
        wanted[i] = it->second;
  auto results = TRY(run(ordered, wanted, options.profile));
  std::map<std::string, Tensor> named;
  for (size_t i = 0; i < results.size(); ++i)
    named[this->outputs()[i].name] = std::move(results[i]);
  return named;
}

Result<PlanReport> Function::explain(std::span<const TensorType> inputs) const {
  return state_->executors[static_cast<size_t>(index_)]->explain(inputs);
}

}  // namespace tenon::runtime
