#include "format/custom_ops.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/custom_kernel.h"

namespace tenon {
namespace {

template <typename F>
Status for_each_custom(const FileGraph& graph, F&& f) {
  for (const FileStep& step : graph.steps) {
    if (auto* custom = step.op->as<Custom>()) TRY(f(*custom, step));
    for (const FileGraph& region : step.regions) TRY(for_each_custom(region, f));
  }
  return {};
}

template <typename F>
Status for_each_custom(const FileModel& model, F&& f) {
  for (const FileFunction& function : model.functions) TRY(for_each_custom(function.graph, f));
  for (const FileDeviceSection& section : model.device_sections)
    for (const FileDeviceProgram& p : section.programs) TRY(for_each_custom(p.graph, f));
  return {};
}

Error missing(const FileModel& model, const std::vector<CustomOpUse>& uses) {
  std::string list, libraries;
  for (const CustomOpUse& use : uses) {
    list += fmt::format("\n  custom op '{}' at node '{}', from library '{}'", use.op, use.node,
                        use.library);
    const std::string option = " --custom-ops " + use.library;
    if (libraries.find(option) == std::string::npos) libraries += option;
  }
  std::string advice = fmt::format("give what it was compiled with:{}", libraries);
  if (!model.libraries.empty())
    advice +=
        "; or, since the file carries libraries itself and you trust it, --allow-embedded-code "
        "(allow_embedded_code in C and Python), which runs them";
  return not_found(
      fmt::format("the file needs ops that no loaded library has:{}\n  {}", list, advice));
}

}  // namespace

std::vector<CustomOpUse> custom_ops_of(const FileModel& model) {
  std::vector<CustomOpUse> uses;
  // Nothing in it fails.
  (void)for_each_custom(model, [&](const Custom& custom, const FileStep& step) -> Status {
    if (std::ranges::find(uses, custom.op, &CustomOpUse::op) == uses.end())
      uses.push_back({custom.op, custom.library,
                      step.origins.empty() ? std::string() : step.origins[0],
                      !custom.source.empty()});
    return {};
  });
  return uses;
}

Status bind_custom_ops(FileModel& model, const CustomOpOptions& options) {
  CustomLibraries libraries;
  // What a decomposition says is in the file already.
  for (const std::string& path : options.libraries)
    if (!path.ends_with(".tn")) TRY(libraries.add(path));
  std::vector<CustomOpUse> open = custom_ops_of(model);
  if (open.empty()) return {};
  if (options.allow_embedded_code)
    for (const FileLibrary& library : model.libraries)
      libraries.all.push_back(TRY(CustomLibrary::load(library.bytes.bytes, library.name)));
  std::erase_if(open, [&](const CustomOpUse& use) { return use.carried || libraries.has(use.op); });
  if (!open.empty()) return missing(model, open);
  // Kernels that the file carries, each read once.
  std::vector<std::shared_ptr<const bang::Kernel>> carried;
  const auto bind_carried = [&](Custom& custom) -> Status {
    if (custom.source.empty() || libraries.has(custom.op)) return bind(custom, libraries);
    auto known = std::ranges::find(
        carried, custom.source, [](const auto& k) -> const std::string& { return k->source.text; });
    if (known == carried.end()) {
      carried.push_back(TRY(bang::parse_kernel(custom.source, custom.library)));
      known = carried.end() - 1;
    }
    custom.kernel = TRY(CustomKernel::make(*known, custom.attributes));
    return {};
  };
  return for_each_custom(model, [&](Custom& custom, const FileStep& step) -> Status {
    Status status = bind_carried(custom);
    if (status.ok()) return status;
    return std::move(status).error().at(
        fmt::format("node '{}' (custom)", step.origins.empty() ? "" : step.origins[0]));
  });
}

}  // namespace tenon
