#include "device/simulated/simulated_device.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <thread>

#include "device/simulated/simulated_program.h"

namespace tenon::device {
namespace {

class SimulatedDevice : public Device {
 public:
  SimulatedDevice(const Machine& machine, int threads)
      : machine_(machine),
        pool_(std::make_shared<ThreadPool>(
            threads > 0 ? threads
                        : static_cast<int>(std::max(1U, std::thread::hardware_concurrency())))) {}

  Result<std::unique_ptr<Program>> load(const Load& load) override {
    return SimulatedProgram::load(machine_, load, pool_);
  }

 private:
  const Machine& machine_;
  std::shared_ptr<ThreadPool> pool_;
};

class SimulatedBackend : public Backend {
 public:
  explicit SimulatedBackend(MachineCatalog catalog) : catalog_(std::move(catalog)) {
    for (const Machine& m : catalog_.machines()) {
      const auto memory =
          std::visit([](const auto& chip) { return static_cast<uint64_t>(chip.memory); }, m.chip);
      infos_.push_back({m.name, "simulated " + m.title, std::string(m.family()),
                        fmt::format("{}", fmt::join(m.aliases, " ")),
                        "simulated: tile programs are executed and checked here, times predicted "
                        "and compared with published measurements; nothing ran on a chip",
                        TENON_DEVICE_SIMULATED, memory});
    }
  }

  std::span<const Info> devices() const override { return infos_; }
  Result<std::unique_ptr<Device>> open(size_t index, int threads) override {
    return std::unique_ptr<Device>(
        std::make_unique<SimulatedDevice>(catalog_.machines()[index], threads));
  }

 private:
  MachineCatalog catalog_;
  std::vector<Info> infos_;
};

}  // namespace

Backend* simulated_backend() {
  static SimulatedBackend all = [] {
    auto catalog = MachineCatalog::load();
    if (!catalog.ok()) throw std::move(catalog).error();
    return SimulatedBackend(std::move(*catalog));
  }();
  return &all;
}

}  // namespace tenon::device
