#include "inspect_chips.h"

#include <fmt/format.h>

#include "chip/program_file.h"
#include "memory_report.h"

namespace tenon::tool {
namespace {

// What lives where and when, and what each layer moves.
Result<nlohmann::json> memory_of(const FileDeviceProgram& file, const Machine& machine) {
  const StoredProgram stored = TRY(decode_program(file, machine));
  const Prediction p =
      TRY(predict(stored.program, machine, {TRY(device_real(file.precision)), file.batch}));
  return memory_json(memory_map(stored.program), p);
}

std::string sizes_of(const nlohmann::json& memories) {
  std::string text;
  for (const auto& [name, bytes] : memories.items())
    if (bytes.get<int64_t>() > 0)
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, bytes.get<int64_t>());
  return text;
}

std::string traffic_of(const nlohmann::json& m) {
  const auto& spills = m["spills"];
  return fmt::format(
      "DDR {} bytes, moved {}; spills: read again {}, between its kernels {}, fetched again {}",
      m["ddr_bytes"].get<int64_t>(), m["moved_bytes"].get<int64_t>(),
      spills["reread_bytes"].get<int64_t>(), spills["between_kernels_bytes"].get<int64_t>(),
      spills["refetched_bytes"].get<int64_t>());
}

}  // namespace

Result<nlohmann::json> chips_json(const Blob& file, const FileModel& model,
                                  const std::string& target, bool memory) {
  const MachineCatalog catalog = TRY(MachineCatalog::load());
  const std::string wanted = target.empty() ? "" : TRY(catalog.find(target))->name;
  nlohmann::json chips = nlohmann::json::array();
  std::string names;
  for (const FileDeviceSection& s : model.device_sections) {
    names += " " + s.target;
    if (!wanted.empty() && s.target != wanted) continue;
    nlohmann::json chip{
        {"target", s.target}, {"bytes", s.bytes.size()}, {"programs", nlohmann::json::array()}};
    const auto machine = catalog.find(s.target);
    chip["usable"] = false;  // what another device keeps for itself
    if (machine.ok()) {
      const FileDeviceSection section = TRY(read_device_section(file, s.target, s.bytes));
      chip["usable"] = section.machine == machine_hash(**machine);
      for (const FileDeviceProgram& p : section.programs) {
        std::string inputs;
        size_t kernels = 0;
        for (const TensorType& t : p.inputs) inputs += (inputs.empty() ? "" : ", ") + t.to_string();
        for (const FileDeviceStep& step : p.steps) kernels += step.code.empty() ? 0 : 1;
        nlohmann::json program{{"signature", p.function},
                               {"precision", p.precision},
                               {"inputs", inputs},
                               {"kernels", kernels},
                               {"host_nodes", p.steps.size() - kernels},
                               {"peak_bytes", p.peak_bytes}};
        if (memory) program["memory"] = TRY(memory_of(p, **machine));
        chip["programs"].push_back(std::move(program));
      }
    }
    chips.push_back(std::move(chip));
  }
  if (!wanted.empty() && chips.empty())
    return not_found(fmt::format("the file has no programs for {}; it has some for:{}", wanted,
                                 names.empty() ? " none" : names));
  return chips;
}

void print_chips(const nlohmann::json& chips) {
  for (const auto& chip : chips) {
    fmt::print("programs for {}: {} bytes{}\n", chip["target"].get<std::string>(),
               chip["bytes"].get<size_t>(),
               chip["usable"].get<bool>() ? "" : ", not usable here: made for another description");
    for (const auto& p : chip["programs"]) {
      fmt::print("  {} ({}), {}: {} kernels, {} nodes on the host, {} bytes of memory\n",
                 p["signature"].get<std::string>(), p["inputs"].get<std::string>(),
                 p["precision"].get<std::string>(), p["kernels"].get<size_t>(),
                 p["host_nodes"].get<size_t>(), p["peak_bytes"].get<int64_t>());
      if (!p.contains("memory")) continue;
      const auto& m = p["memory"];
      fmt::print("    of a core at most: {}; {}\n", sizes_of(m["on_chip_bytes"]), traffic_of(m));
      for (const auto& l : m["layers"])
        fmt::print("    {:<10} {}: {}; {}\n", l["algorithm"].get<std::string>(),
                   l["name"].get<std::string>(), sizes_of(l["on_chip_bytes"]), traffic_of(l));
    }
  }
}

}  // namespace tenon::tool
