#include "chip/deploy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/nearest.h"
#include "chip/program_file.h"
#include "encode/encode.h"
#include "lower/lowering.h"

namespace tenon {
namespace {

std::string types_of(const Graph& graph) {
  std::string text;
  for (const auto& input : graph.inputs())
    text += (text.empty() ? "" : ", ") + (input->name.empty() ? "" : input->name + " ") +
            input->type().to_string();
  return text;
}

bool same_types(const FileDeviceProgram& a, const FileDeviceProgram& b) {
  return a.function == b.function && a.inputs == b.inputs;
}

// One function for one chip and batch.
Result<FileDeviceProgram> program_for(const Graph& graph, const Machine& machine, int64_t batch,
                                      std::string_view precision, ChipReport& report) {
  const auto bound = TRY(prepare_for_batch(graph, batch));
  report.inputs = types_of(*bound);
  LowerOptions options{TRY(device_real(precision))};
  for (const auto& input : bound->inputs())
    if (options.batch == 0 && input->type().shape.rank() > 0)
      options.batch = std::max<int64_t>(input->type().shape[0].size_or(1), 1);
  const DeviceProgram program = TRY(lower_graph(*bound, machine, options));
  report.prediction = TRY(predict(program, machine, options));
  for (size_t i = 0; i < program.steps.size(); ++i) {
    const DeviceStep& step = program.steps[i];
    if (step.program)
      ++report.kernels;
    else
      report.host.push_back({lower::layer_of(*step.node), std::string(step.node->def().name),
                             step.reason, crossing_bytes(program, step),
                             report.prediction.layers[i].seconds});
  }
  FileDeviceProgram file = TRY(encode_program(*bound, program));
  file.precision = report.prediction.precision;
  file.batch = options.batch;
  return file;
}

}  // namespace

Result<std::vector<const Machine*>> chips_named(const MachineCatalog& catalog,
                                                std::span<const std::string> names) {
  std::vector<const Machine*> chips;
  const auto add = [&](const Machine* machine) {
    if (std::ranges::find(chips, machine) == chips.end()) chips.push_back(machine);
  };
  for (const std::string& name : names) {
    if (name == "cpu") continue;
    bool is_family = false;
    for (const Machine& machine : catalog.machines())
      if (machine.family() == name) {
        is_family = true;
        add(&machine);
      }
    if (is_family) continue;
    auto found = catalog.find(name);
    if (!found.ok())
      return unsupported(found.error().message + "; families: ascend, cambricon; and cpu");
    add(*found);
  }
  return chips;
}

Result<std::vector<ChipReport>> add_chip_programs(FileModel& model,
                                                  std::span<const Machine* const> machines,
                                                  std::span<const int64_t> batches,
                                                  std::string_view precision) {
  std::vector<ChipReport> reports;
  std::vector<std::unique_ptr<Graph>> graphs;
  for (const FileFunction& f : model.functions) graphs.push_back(TRY(decode_graph(f.graph)));
  std::vector<FileDeviceSection> sections;
  for (const Machine* machine : machines) {
    FileDeviceSection& section = sections.emplace_back();
    section.target = machine->name;
    section.machine = machine_hash(*machine);
    for (size_t f = 0; f < graphs.size(); ++f)
      for (const int64_t batch : batches) {
        ChipReport report;
        report.target = machine->name;
        report.function = model.functions[f].key;
        auto program = program_for(*graphs[f], *machine, batch, precision, report);
        if (!program.ok()) {
          Error error = std::move(program).error();
          // Open sizes and sequences: the sizes of a run say more.
          if (error.code != Code::invalid_argument && error.code != Code::unsupported)
            return std::move(error).note(fmt::format("for {} at batch {}, signature '{}'",
                                                     machine->name, batch, model.functions[f].key));
          report.missing = error.message;
          if (!error.where.empty()) report.missing = error.where + ": " + report.missing;
          reports.push_back(std::move(report));
          break;
        }
        program->function = model.functions[f].key;
        const bool is_there = std::ranges::any_of(
            section.programs, [&](const auto& p) { return same_types(p, *program); });
        if (is_there) break;  // the batch is not open
        section.programs.push_back(std::move(*program));
        reports.push_back(std::move(report));
      }
  }
  model.device_sections = std::move(sections);
  return reports;
}

}  // namespace tenon
