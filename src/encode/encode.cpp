#include "encode/encode.h"

#include <unordered_map>

#include "ops/constant.h"

namespace tenon {

FileGraph encode_graph(const Graph& graph) {
  FileGraph file;
  file.name = graph.name;
  std::unordered_map<const Value*, int> index;
  const auto number = [&](const Value* value) {
    index.emplace(value, static_cast<int>(file.values.size()));
    file.values.push_back({value->type(), value->name});
    return static_cast<int>(file.values.size()) - 1;
  };
  for (const auto& input : graph.inputs()) file.inputs.push_back(number(input.get()));
  for (const auto& node : graph.nodes()) {
    if (const auto* constant = node->as<Constant>()) {
      file.constants.push_back({number(node->output()), constant->value});
      continue;
    }
    FileStep step;
    step.op = node->op().clone();
    for (const Value* v : node->inputs()) step.inputs.push_back(v == nullptr ? -1 : index.at(v));
    for (int i = 0; i < node->output_count(); ++i) step.outputs.push_back(number(node->output(i)));
    for (const auto& region : node->regions()) step.regions.push_back(encode_graph(*region));
    step.origins = node->origins;
    file.steps.push_back(std::move(step));
  }
  for (const Value* output : graph.outputs()) file.outputs.push_back(index.at(output));
  return file;
}

}  // namespace tenon
