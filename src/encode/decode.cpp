#include <fmt/format.h>

#include "encode/encode.h"
#include "ops/constant.h"

namespace tenon {
namespace {

// Rebuilds the graph in the order of the values' numbers, which is the order encode_graph met them.
class Decoder {
 public:
  explicit Decoder(const FileGraph& file)
      : file_(file), graph_(std::make_unique<Graph>(file.name)), values_(file.values.size()) {}

  Result<std::unique_ptr<Graph>> run() {
    for (const int v : file_.inputs) {
      const FileValue value = TRY(described(v));
      values_[static_cast<size_t>(v)] = graph_->add_input(value.type, value.name);
    }
    for (const FileStep& step : file_.steps) {
      const int first = step.outputs.empty() ? 0 : step.outputs[0];
      TRY(constants_before(first));
      if (Status s = this->step(step); !s.ok())
        return std::move(s).error().at(fmt::format(
            "node '{}' ({})", step.origins.empty() ? "" : step.origins[0], step.op->def().name));
    }
    TRY(constants_before(static_cast<int>(values_.size())));
    std::vector<Value*> outputs;
    for (const int v : file_.outputs) {
      outputs.push_back(TRY(value(v)));
      if (outputs.back() == nullptr) return invalid_model("an output is not defined");
    }
    graph_->set_outputs(std::move(outputs));
    return std::move(graph_);
  }

 private:
  Result<FileValue> described(int v) const {
    if (v < 0 || static_cast<size_t>(v) >= values_.size())
      return invalid_model(fmt::format("there is no value {}", v));
    return file_.values[static_cast<size_t>(v)];
  }
  // Null for an absent operand.
  Result<Value*> value(int v) const {
    if (v < 0) return static_cast<Value*>(nullptr);
    TRY(described(v));
    Value* found = values_[static_cast<size_t>(v)];
    if (found == nullptr) return invalid_model(fmt::format("value {} is used before its step", v));
    return found;
  }
  Status record(int v, Value* value) {
    FileValue described = TRY(this->described(v));
    if (!is_compatible(described.type, value->type()))
      return invalid_model(fmt::format("a result is {}, the file records {}",
                                       value->type().to_string(), described.type.to_string()));
    value->set_type(std::move(described.type));
    value->name = std::move(described.name);
    values_[static_cast<size_t>(v)] = value;
    return {};
  }

  Status constants_before(int first) {
    Builder builder(*graph_);
    for (; next_constant_ < file_.constants.size(); ++next_constant_) {
      const FileConstant& c = file_.constants[next_constant_];
      if (c.value >= first) break;
      TRY(record(c.value, builder.constant(c.tensor)));
    }
    return {};
  }

  Status step(const FileStep& step) {
    std::vector<Value*> operands;
    for (const int v : step.inputs) {
      if (v >= 0) TRY(constants_before(v + 1));
      operands.push_back(TRY(value(v)));
    }
    std::vector<std::unique_ptr<Graph>> regions;
    for (const FileGraph& region : step.regions) regions.push_back(TRY(decode_graph(region)));
    Node* node = TRY(graph_->add(step.op->clone(), std::move(operands), std::move(regions)));
    node->origins = step.origins;
    if (node->output_count() != static_cast<int>(step.outputs.size()))
      return invalid_model(fmt::format("the file records {} results, the op has {}",
                                       step.outputs.size(), node->output_count()));
    for (int i = 0; i < node->output_count(); ++i)
      TRY(record(step.outputs[static_cast<size_t>(i)], node->output(i)));
    return {};
  }

  const FileGraph& file_;
  std::unique_ptr<Graph> graph_;
  std::vector<Value*> values_;
  size_t next_constant_ = 0;
};

}  // namespace

Result<std::unique_ptr<Graph>> decode_graph(const FileGraph& file) {
  return Decoder(file).run();
}

Result<std::vector<NamedGraph>> decode_model(const FileModel& model) {
  std::vector<NamedGraph> graphs;
  for (const FileFunction& function : model.functions) {
    graphs.push_back({function.key,
                      TRY(decode_graph(function.graph)),
                      function.input_names,
                      function.output_names,
                      {}});
    for (const FileState& s : function.state)
      graphs.back().state.push_back({s.name, s.initial, s.is_written});
  }
  return graphs;
}

}  // namespace tenon
