// `tenon device-test`: whether a device plug-in keeps to the interface.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "commands.h"
#include "device/suite/suite.h"
#include "number_arguments.h"

namespace tenon::tool {
namespace {

struct DeviceTestArguments {
  std::string plugin, device, list, filter;
  double tolerance = 1e-2;
  bool json = false, verbose = false;
};

constexpr const char* kOutcomes[] = {"passed", "failed", "unsupported"};

Result<device::Description> chosen(const DeviceTestArguments& a) {
  const bool is_name = a.plugin.find('/') == std::string::npos && !a.plugin.ends_with(".so");
  if (is_name && !std::filesystem::exists(a.plugin)) {
    if (device::is_cpu(a.plugin))
      return invalid_argument(
          "the CPU's plug-in is the runtime library: give its path, as in "
          "'tenon device-test build/lib/libtenon_runtime.so'");
    if (!a.device.empty())
      return invalid_argument(fmt::format(
          "--device chooses among the devices of a library; '{}' is a device", a.plugin));
    return *TRY(device::find_device(a.plugin));
  }
  const auto plugin = TRY(device::Plugin::open(a.plugin));
  const auto devices = TRY(plugin->devices());
  if (a.device.empty()) return devices.front();
  const auto found = std::ranges::find(devices, a.device, &device::Description::name);
  if (found != devices.end()) return *found;
  std::string names;
  for (const auto& d : devices) names += " " + d.name;
  return not_found(fmt::format("the plug-in has no device '{}'; it has:{}", a.device, names));
}

Status run(const DeviceTestArguments& a) {
  const device::Description device = TRY(chosen(a));
  device::SuiteOptions options;
  options.filter = a.filter;
  options.tolerance = a.tolerance;
  if (!a.list.empty()) options.list = TRY(device::read_list(a.list));
  const auto results = TRY(device::run_suite(device, options));
  const auto bad = std::ranges::count_if(results, [](const auto& r) { return !r.good; });
  if (a.json) {
    nlohmann::json json{{"device", device.name}, {"cases", nlohmann::json::array()}};
    json["good"] = bad == 0;
    for (const device::CaseResult& r : results)
      json["cases"].push_back({{"name", r.name},
                               {"outcome", kOutcomes[static_cast<size_t>(r.outcome)]},
                               {"detail", r.detail},
                               {"expected", r.expected},
                               {"good", r.good}});
    fmt::print("{}\n", to_text(json));
  } else {
    for (const device::CaseResult& r : results)
      if (!r.good || a.verbose)
        fmt::print("{} {}: {}{}{}\n", r.good ? "ok  " : "BAD ", r.name,
                   kOutcomes[static_cast<size_t>(r.outcome)], r.detail.empty() ? "" : ": ",
                   r.detail);
    fmt::print("{}: {} cases, {} as they should be, of which {} are in the list\n", device.name,
               results.size(), static_cast<int64_t>(results.size()) - bad,
               std::ranges::count_if(results, [](const auto& r) { return !r.expected.empty(); }));
  }
  if (bad == 0) return {};
  return invalid_argument(fmt::format("{} cases are not as they should be", bad));
}

}  // namespace

void add_device_test(CLI::App& app, Action& action) {
  auto* command =
      app.add_subcommand("device-test", "Test a device plug-in against include/tenon/device.h");
  auto a = std::make_shared<DeviceTestArguments>();
  command
      ->add_option("PLUGIN", a->plugin,
                   "the shared library, or the name of a device that `tenon devices` lists")
      ->required();
  command->add_option("--device", a->device, "one of its devices (default: the first)");
  command->add_option("--list", a->list,
                      "file of what the device is known not to do: lines `unsupported GLOB  "
                      "REASON` and `xfail GLOB  REASON`; what is listed and passes is an error");
  command->add_option("--filter", a->filter, "glob of cases to run, such as 'memory/*'");
  command->add_option("--tolerance", a->tolerance, "relative L2 of results (default: 0.01)")
      ->check(non_negative_number());
  command->add_flag("--verbose", a->verbose, "also list the cases that are as they should be");
  command->add_flag("--json", a->json, "machine-readable output");
  command->footer(
      "Example:\n  tenon device-test ./libtenon_device_mine.so --device mine --list mine.list\n"
      "  tenon device-test ascend310p3");
  command->callback([a, &action] { action = [a] { return run(*a); }; });
}

}  // namespace tenon::tool
