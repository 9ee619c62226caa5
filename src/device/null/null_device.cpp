#include "device/null/null_device.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>

#include "format/model_file.h"

namespace tenon::device {
namespace {

class NullProgram : public Program {
 public:
  // The types of a function's inputs, outputs and of what behind them are variables.
  NullProgram(TensorTypes inputs, TensorTypes outputs)
      : inputs_(std::move(inputs)), outputs_(std::move(outputs)) {}

  Result<std::vector<Tensor>> execute(std::span<const Tensor> inputs,
                                      const Interrupted& interrupted) override {
    const auto begin = std::chrono::steady_clock::now();
    if (interrupted && interrupted()) return Error(Code::cancelled, "the run was cancelled");
    if (inputs.size() != inputs_.size())
      return invalid_argument("the function takes " + std::to_string(inputs_.size()) + " inputs, " +
                              std::to_string(inputs.size()) + " were given");
    std::map<std::string, int64_t, std::less<>> sizes;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i].defined() && inputs_[i].is_none()) continue;
      if (!is_compatible(inputs_[i], inputs[i].type()))
        return invalid_argument("input " + std::to_string(i) + " must be " +
                                inputs_[i].to_string() + ", got " + inputs[i].type().to_string());
      if (!inputs_[i].shape.ranked()) continue;
      for (int axis = 0; axis < inputs[i].rank(); ++axis)
        if (const Dim d = inputs_[i].shape[axis]; d.is_symbol())
          sizes.emplace(d.name(), inputs[i].dim(axis));
    }
    std::vector<Tensor> results;
    uint64_t bytes = 0;
    for (const TensorType& type : outputs_) {
      // What the sizes of the inputs do not say is 1.
      std::vector<int64_t> dims;
      for (int axis = 0; type.shape.ranked() && axis < type.shape.rank(); ++axis) {
        const Dim d = type.shape[axis];
        const auto known = d.is_symbol() ? sizes.find(d.name()) : sizes.end();
        dims.push_back(known != sizes.end() ? known->second : d.size_or(1));
      }
      if (type.is_list) return unsupported("a result of the function is a list");
      results.push_back(TRY(Tensor::zeros(type.dtype, dims)));
      bytes += results.back().byte_size();
    }
    const std::lock_guard lock(mutex_);
    last_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    seconds_ += last_;
    ++executions_;
    memory_ = std::max(memory_, static_cast<double>(bytes));
    return results;
  }

  std::vector<Counter> counters() override {
    const std::lock_guard lock(mutex_);
    return {{"executions", "", executions_},
            {"launches", "", 0},
            {"host_nodes", "", 0},
            {"memory_bytes", "bytes", memory_},
            {"seconds", "seconds", seconds_},
            {"last_seconds", "seconds", last_}};
  }

  std::vector<std::string> notices() override {
    return {"device 'null' computes nothing: all results are zeros"};
  }

 private:
  TensorTypes inputs_, outputs_;
  std::mutex mutex_;
  double executions_ = 0, memory_ = 0, seconds_ = 0, last_ = 0;
};

class NullDevice : public Device {
 public:
  Result<std::unique_ptr<Program>> load(const Load& load) override {
    const FileModel model = TRY(read_model(load.model, {.verify_weights = load.verify_weights}));
    const auto found = std::ranges::find(model.functions, load.function, &FileFunction::key);
    if (found == model.functions.end())
      return not_found("the model has no function '" + load.function + "'");
    const FileGraph& graph = found->graph;
    const auto types = [&](const std::vector<int>& values) {
      TensorTypes all;
      for (const int v : values) all.push_back(graph.values[static_cast<size_t>(v)].type);
      return all;
    };
    return std::unique_ptr<Program>(
        std::make_unique<NullProgram>(types(graph.inputs), types(graph.outputs)));
  }
};

class NullBackend : public Backend {
 public:
  std::span<const Info> devices() const override { return infos_; }
  Result<std::unique_ptr<Device>> open(size_t, int) override {
    return std::unique_ptr<Device>(std::make_unique<NullDevice>());
  }

 private:
  std::vector<Info> infos_{
      {"null", "Nothing: results are zeros", "null", "", "computes nothing by design",
       TENON_DEVICE_SIMULATED | TENON_DEVICE_COMPUTES_NOTHING, uint64_t{1} << 34}};
};

}  // namespace

Backend* null_backend() {
  static NullBackend all;
  return &all;
}

}  // namespace tenon::device
