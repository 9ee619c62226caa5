// The CPU behind the device interface: for hosts that want one interface for all devices, and so
// that the suite of devices runs on it. The runtime itself takes the shorter way.
#include <algorithm>
#include <chrono>
#include <mutex>

#include "device/abi/backend.h"
#include "runtime/execute.h"
#include "runtime/model.h"
#include "runtime/state.h"

namespace tenon::runtime {
namespace {

class CpuProgram : public device::Program {
 public:
  CpuProgram(Model model, Function function) : model_(std::move(model)), function_(function) {}

  Result<std::vector<Tensor>> execute(std::span<const Tensor> inputs,
                                      const device::Interrupted& interrupted) override {
    // A handle of its own: what ends one execution does not end the others.
    Function function = TRY(model_.function(function_.key(), function_.state()));
    // A run too short to ask does not go unasked.
    if (interrupted && interrupted()) return RunControl::cancelled();
    if (interrupted) function.set_interrupt_check(interrupted);
    const auto begin = std::chrono::steady_clock::now();
    std::vector<Tensor> results = TRY(function.run(inputs, {}));
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    TensorTypes types;
    for (const Tensor& t : inputs) types.push_back(t.type());
    const PlanReport report = TRY(function.explain(types));
    const std::lock_guard lock(mutex_);
    executions_ += 1;
    launches_ += static_cast<double>(report.steps.size());
    memory_ = std::max(memory_, static_cast<double>(report.arena_bytes + report.weight_bytes +
                                                    report.packed_bytes));
    seconds_ += seconds;
    last_ = seconds;
    return results;
  }

  std::vector<device::Counter> counters() override {
    const std::lock_guard lock(mutex_);
    return {{"executions", "", executions_},
            {"launches", "", launches_},
            {"host_nodes", "", 0},
            {"memory_bytes", "bytes", memory_},
            {"seconds", "seconds", seconds_},
            {"last_seconds", "seconds", last_}};
  }
  std::vector<std::string> notices() override { return {}; }

 private:
  Model model_;
  Function function_;
  std::mutex mutex_;
  double executions_ = 0, launches_ = 0, memory_ = 0, seconds_ = 0, last_ = 0;
};

class CpuDevice : public device::Device {
 public:
  explicit CpuDevice(int threads) : threads_(threads) {}

  Result<std::unique_ptr<device::Program>> load(const device::Load& load) override {
    LoadOptions options;
    options.threads = threads_;
    options.verify = load.verify_weights;
    options.max_loop_iterations = load.max_loop_iterations;
    options.custom_ops = {load.custom_ops, load.allow_embedded_code};
    Model model = TRY(Model::load(load.model, options));
    Function function = TRY(model.function(load.function, nullptr, {"cpu", load.precision}));
    if (!function.state()->variables().empty())
      return unsupported("models that assign variables run on the CPU by the runtime itself");
    return std::unique_ptr<device::Program>(
        std::make_unique<CpuProgram>(std::move(model), std::move(function)));
  }

 private:
  int threads_;
};

class CpuBackend : public device::Backend {
 public:
  std::span<const device::Info> devices() const override { return infos_; }
  Result<std::unique_ptr<device::Device>> open(size_t, int threads) override {
    return std::unique_ptr<device::Device>(std::make_unique<CpuDevice>(threads));
  }

 private:
  std::vector<device::Info> infos_{{"cpu", "CPU of this machine", "cpu", "",
                                    "compared with TensorFlow and ONNX Runtime on this processor",
                                    0, uint64_t{1} << 40}};
};

device::Backend* backend() {
  static CpuBackend all;
  return &all;
}

}  // namespace
}  // namespace tenon::runtime

const tenon_device_api* tenon_device_plugin(uint32_t) noexcept {
  return tenon::device::make_api("cpu", tenon::runtime::backend);
}
