// `tenon targets`: the chips that are described, and their numbers with where these are from.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "check_tile.h"
#include "commands.h"
#include "machine/machine.h"

namespace tenon::tool {
namespace {

struct TargetsArguments {
  std::string name;
  std::vector<std::string> programs;
  std::string folder;
  bool json = false;
};

constexpr std::array kLevels{Confidence::published, Confidence::third_party, Confidence::derived,
                             Confidence::assumed};

size_t count_of(const Machine& machine, Confidence level) {
  return static_cast<size_t>(std::count_if(machine.numbers.begin(), machine.numbers.end(),
                                           [&](const Number& n) { return n.confidence == level; }));
}

const Number& number_named(const Machine& machine, std::string_view key) {
  return *std::find_if(machine.numbers.begin(), machine.numbers.end(),
                       [&](const Number& n) { return n.key == key; });
}

std::string cores_text(const Machine& machine) {
  if (const auto* a = std::get_if<AscendChip>(&machine.chip))
    return a->coupling == VectorCoupling::fused
               ? fmt::format("{} AI cores", a->cube_cores)
               : fmt::format("{} cube + {} vector cores", a->cube_cores, a->vector_cores);
  const auto& c = std::get<CambriconChip>(machine.chip);
  return fmt::format("{} clusters of {} cores", c.clusters, c.cores_per_cluster);
}

double peak_of(const Machine& machine, std::string_view dtype) {
  for (const Peak& peak : peaks(machine))
    if (peak.dtype == dtype) return peak.operations_per_s / 1e12;
  return 0;
}

nlohmann::json json_of(const Machine& machine, bool with_numbers) {
  nlohmann::json json{{"name", machine.name},       {"title", machine.title},
                      {"family", machine.family()}, {"aliases", machine.aliases},
                      {"notes", machine.notes},     {"peak_tops", nlohmann::json::object()}};
  for (const Peak& peak : peaks(machine))
    json["peak_tops"][std::string(peak.dtype)] = peak.operations_per_s / 1e12;
  for (const Confidence level : kLevels)
    json["confidence"][std::string(confidence_name(level))] = count_of(machine, level);
  if (!with_numbers) return json;
  for (const Number& n : machine.numbers)
    json["numbers"][n.key] = {{"value", n.written},
                              {"unit", n.unit},
                              {"confidence", confidence_name(n.confidence)},
                              {"source", n.source},
                              {"place", n.place}};
  return json;
}

Status list(const TargetsArguments& a) {
  const MachineCatalog catalog = TRY(MachineCatalog::load(a.folder));
  if (a.json) {
    nlohmann::json json = nlohmann::json::array();
    for (const Machine& machine : catalog.machines()) json.push_back(json_of(machine, false));
    fmt::print("{}\n", to_text(json));
    return {};
  }
  fmt::print("{:<14} {:<27} {:>9} {:>9} {:>9}  {}\n", "name", "cores", "f16 TF/s", "i8 TOP/s",
             "GB/s", "numbers assumed");
  for (const Machine& machine : catalog.machines())
    fmt::print("{:<14} {:<27} {:>9.1f} {:>9.1f} {:>9.1f}  {} of {}\n", machine.name,
               cores_text(machine), peak_of(machine, "f16"), peak_of(machine, "i8"),
               number_named(machine, "memory_bandwidth").value / 1e9,
               count_of(machine, Confidence::assumed), machine.numbers.size());
  fmt::print(
      "\nAll are simulated: nothing here ran on a chip. `tenon targets show NAME` says where "
      "each number is from.\n");
  return {};
}

Status show(const TargetsArguments& a) {
  const MachineCatalog catalog = TRY(MachineCatalog::load(a.folder));
  const Machine& machine = *TRY(catalog.find(a.name));
  if (a.json) {
    fmt::print("{}\n", to_text(json_of(machine, true)));
    return {};
  }
  fmt::print("{}: {}, {} family, {}\n", machine.name, machine.title, machine.family(),
             cores_text(machine));
  if (!machine.aliases.empty()) fmt::print("also: {}\n", fmt::join(machine.aliases, ", "));
  for (const std::string& note : machine.notes) fmt::print("note: {}\n", note);
  fmt::print("peak:");
  for (const Peak& peak : peaks(machine))
    fmt::print("  {} {:.4g} T{}/s", peak.dtype, peak.operations_per_s / 1e12,
               peak.dtype.front() == 'i' ? "OP" : "FLOP");
  fmt::print("  (derived from the numbers below)\n\n{:<20} {:>10} {:<10} {:<12} {}\n", "number",
             "value", "unit", "confidence", "source");
  for (const Number& n : machine.numbers)
    fmt::print("{:<20} {:>10} {:<10} {:<12} {}\n", n.key, fmt::format("{:g}", n.written), n.unit,
               confidence_name(n.confidence), n.source);
  return {};
}

Status check(const TargetsArguments& a) {
  const MachineCatalog catalog = TRY(MachineCatalog::load(a.folder));
  nlohmann::json json = nlohmann::json::array();
  for (const std::string& file : a.programs) {
    const auto [chip, time] = TRY(check_tile(file, catalog));
    json.push_back({{"file", file},
                    {"chip", chip},
                    {"simulated", true},
                    {"seconds", time.seconds},
                    {"operations", time.operations},
                    {"bytes_read", time.read},
                    {"bytes_written", time.written}});
    if (a.json) continue;
    fmt::print("{}: {} can run it; {:.4f} ms alone, {:.2f} MFLOP, {} bytes read and {} written\n",
               file, chip, time.seconds * 1e3, time.operations / 1e6, time.read, time.written);
  }
  if (a.json)
    fmt::print("{}\n", to_text(json));
  else
    fmt::print("\nSimulated: nothing here ran on a chip.\n");
  return {};
}

}  // namespace

void add_targets(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("targets", "The chips that are described, and their numbers");
  command->require_subcommand(1);
  command->footer("Example:\n  tenon targets list\n  tenon targets show ascend310p3");
  auto a = std::make_shared<TargetsArguments>();
  const auto add = [&](const std::string& name, const std::string& summary, auto run) {
    auto* sub = command->add_subcommand(name, summary);
    sub->add_option(
           "--targets-dir", a->folder,
           "folder with machine descriptions of your own (*.toml), read after those built in")
        ->check(CLI::ExistingDirectory);
    sub->callback([a, run, &action] { action = [a, run] { return run(*a); }; });
    return sub;
  };
  auto* listed = add("list", "One line a chip", list);
  listed->footer("Example:\n  tenon targets list --json");
  auto* shown = add("show", "Every number of a chip: value, unit, confidence, source", show);
  shown->add_option("NAME", a->name, "the chip")->required();
  shown->footer("Example:\n  tenon targets show mlu370-s4");
  auto* checked = add("check",
                      "Whether a chip can run tile programs, such as those of `tenon predict "
                      "--programs` after an edit, and how long it takes",
                      check);
  checked->add_option("FILE", a->programs, "tile programs as text")
      ->required()
      ->check(CLI::ExistingFile);
  for (auto* sub : {listed, shown, checked})
    sub->add_flag("--json", a->json, "machine-readable output");
  checked->footer(
      "Each is verified, run on zeros to find races and reads of what nobody wrote, and timed.\n"
      "Example:\n"
      "  tenon predict model.onnx --target ascend310p3 --programs out\n"
      "  tenon targets check out/ascend310p3_b1/0000_conv1.tile");
}

}  // namespace tenon::tool
