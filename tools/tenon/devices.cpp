// `tenon devices`: what models can be run on here.
#include <fmt/format.h>

#include "commands.h"
#include "device/plugin/plugin.h"

namespace tenon::tool {
namespace {

Status list(bool as_json) {
  const device::Installed& all = device::installed();
  nlohmann::json json = nlohmann::json::array();
  json.push_back({{"name", "cpu"}, {"title", "CPU of this machine"}, {"simulated", false}});
  for (const device::Description& d : all.devices)
    json.push_back({{"name", d.name},
                    {"title", d.title},
                    {"family", d.family},
                    {"simulated", (d.flags & TENON_DEVICE_SIMULATED) != 0},
                    {"checked", d.checked},
                    {"memory_bytes", d.memory_bytes},
                    {"plugin", d.plugin->path()}});
  if (as_json) {
    fmt::print("{}\n", to_text(json));
  } else {
    for (const auto& d : json)
      fmt::print("{:<14} {}\n", d["name"].get<std::string>(), d["title"].get<std::string>());
    fmt::print("\nWhat is simulated never ran on a chip.\n");
  }
  for (const std::string& problem : all.problems)
    fmt::print(stderr, "warning: a plug-in is of no use: {}\n", problem);
  return {};
}

}  // namespace

void add_devices(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("devices", "The devices that models can be run on here");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "machine-readable output");
  command->footer(
      "Plug-ins are found beside the program and in TENON_DEVICE_PATH (folders or files, separated "
      "by colons).\nExample:\n  tenon devices\n  tenon run digits.tenon --device ascend310p3 "
      "--input images=digits.npy");
  command->callback([json, &action] { action = [json] { return list(*json); }; });
}

}  // namespace tenon::tool
