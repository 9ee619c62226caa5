// `tenon inspect`.
#include <fmt/format.h>

#include "commands.h"
#include "file_arguments.h"

namespace tenon::tool {
namespace {

Status inspect(const FileArguments& a) {
  const auto model = TRY(runtime::Model::load(a.file, {1}));
  nlohmann::json json{{"producer", model.producer()}};
  for (const auto& [key, value] : model.notes())
    if (!key.starts_with(kRulesNote)) json["notes"][key] = value;
  for (const std::string& key : model.functions()) {
    const auto f = TRY(model.function(key));
    nlohmann::json entry{{"signature", key}};
    for (const auto& port : f.inputs())
      entry["inputs"].push_back({{"name", port.name}, {"type", port.type.to_string()}});
    for (const auto& port : f.outputs())
      entry["outputs"].push_back({{"name", port.name}, {"type", port.type.to_string()}});
    json["functions"].push_back(entry);
  }
  if (a.json) {
    fmt::print("{}\n", json.dump(2));
    return {};
  }
  fmt::print("{} ({})\n", a.file, model.producer());
  for (const auto& [key, value] : model.notes())
    if (!key.starts_with(kRulesNote)) fmt::print("  {}: {}\n", key, value);
  for (const std::string& key : model.functions()) {
    const auto f = TRY(model.function(key));
    fmt::print("signature {}\n", key);
    for (const auto& port : f.inputs())
      fmt::print("  in  {}: {}\n", port.name, port.type.to_string());
    for (const auto& port : f.outputs())
      fmt::print("  out {}: {}\n", port.name, port.type.to_string());
  }
  return {};
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("inspect", "Say what a .tenon file holds");
  auto a = std::make_shared<FileArguments>();
  add_file_arguments(*command, *a);
  command->footer("Example:\n  tenon inspect digits.tenon");
  command->callback([a, &action] { action = [a] { return inspect(*a); }; });
}

}  // namespace tenon::tool
