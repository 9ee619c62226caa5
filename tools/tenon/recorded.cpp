// Comparing a model with outputs and layers that were recorded elsewhere.
#include <fmt/format.h>

#include <algorithm>

#include "runnable.h"
#include "tensor/npy.h"
#include "verify/layers.h"

namespace tenon::tool {
namespace {

std::string_view bare(std::string_view name) {
  return name.ends_with(":0") ? name.substr(0, name.size() - 2) : name;
}

Recorded::iterator find(Recorded& recorded, std::string_view name) {
  return std::ranges::find_if(recorded,
                              [&](const auto& entry) { return bare(entry.first) == bare(name); });
}

// From --input, or else from the archive, where they are then no layers any more.
Result<std::vector<Tensor>> inputs_of(const Runnable& runnable,
                                      const std::vector<std::string>& texts, Recorded& recorded) {
  std::vector<Tensor> inputs;
  if (!texts.empty()) {
    inputs = TRY(read_inputs(runnable.inputs, texts));
    for (const auto& port : runnable.inputs)
      if (const auto found = find(recorded, port.name); found != recorded.end())
        recorded.erase(found);
    return inputs;
  }
  for (const auto& port : runnable.inputs) {
    const auto found = find(recorded, port.name);
    if (found == recorded.end())
      return invalid_argument(
          fmt::format("input '{}' is neither in the archive nor given with --input; there are: {}",
                      port.name, listed(runnable.inputs)));
    if (!is_compatible(port.type, found->second.type()))
      return invalid_argument(fmt::format("input '{}' takes {}, the archive holds {}", port.name,
                                          port.type.to_string(), found->second.type().to_string()));
    inputs.push_back(std::move(found->second));
    recorded.erase(found);
  }
  return inputs;
}

}  // namespace

Status compare_with_recorded(const std::string& path, const std::string& signature,
                             const Runnable& runnable, const std::vector<std::string>& texts,
                             const std::string& archive, double tolerance, bool json,
                             const runtime::LoadOptions& options) {
  Recorded recorded = TRY(read_npz(archive));
  const auto inputs = TRY(inputs_of(runnable, texts, recorded));
  const auto outputs = TRY(runnable.run(inputs));
  std::vector<OutputDifference> at_the_end;
  for (size_t i = 0; i < outputs.size(); ++i)
    if (const auto found = find(recorded, runnable.outputs[i].name); found != recorded.end()) {
      at_the_end.push_back({runnable.outputs[i].name, compare(outputs[i], found->second)});
      recorded.erase(found);
    }
  std::vector<OutputDifference> differences;
  const LayerDifference* first = nullptr;
  RecordedComparison layers;
  if (!recorded.empty()) {
    const NamedGraph named = TRY(load_graph(path, signature, options));
    const auto all = with_initial_state(named, inputs);
    layers = compare_recorded(runnable.graph != nullptr
                                  ? TRY(layers_by_reference(*named.graph, all))
                                  : TRY(layers_by_runtime(*named.graph, all, options)),
                              recorded);
    first = first_difference(layers.layers, tolerance);
    for (const LayerDifference& layer : layers.layers)
      differences.push_back({"layer " + layer.name, layer.difference});
  }
  for (const std::string& name : layers.unknown)
    fmt::print(stderr, "not compared: '{}' is no layer of its own in {}, or inside a fused one\n",
               name, path);
  differences.insert(differences.end(), at_the_end.begin(), at_the_end.end());
  if (differences.empty())
    return invalid_argument(fmt::format(
        "nothing recorded in {} has the name of an output or a layer of {}", archive, path));
  Status status = report_differences(differences, tolerance, json);
  if (status.ok() || first == nullptr) return status;
  return std::move(status).error().at(
      fmt::format("node '{}', the first that differs", first->name));
}

}  // namespace tenon::tool
