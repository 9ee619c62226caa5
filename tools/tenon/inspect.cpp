// `tenon inspect`.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>

#include "base/bytes.h"
#include "commands.h"
#include "file_arguments.h"
#include "format/container.h"
#include "format/model_file.h"
#include "inspect_chips.h"
#include "number_arguments.h"

namespace tenon::tool {
namespace {

struct InspectArguments {
  std::string file, signature, target;
  size_t largest = 10;
  bool json = false, memory = false;
};

struct Weight {
  std::string name;  // of the value, or of the first layer that reads it
  TensorType type;
  size_t bytes;
};

// Sizes by what lies in the file: a tensor that several signatures share counts once.
struct Weights {
  std::vector<Weight> tensors;  // largest first
  std::map<std::string, size_t> bytes_by_dtype;
  size_t bytes = 0;
  std::set<const void*> seen;

  void add(const FileGraph& graph) {
    std::map<int, const FileStep*> readers;
    for (const FileStep& step : graph.steps) {
      for (const int value : step.inputs) readers.emplace(value, &step);
      for (const FileGraph& region : step.regions) add(region);
    }
    for (const FileConstant& c : graph.constants) {
      if (!seen.insert(c.tensor.raw()).second) continue;
      size_t size = c.tensor.byte_size();
      if (c.tensor.dtype() == DType::string) {
        size = 0;
        for (const std::string& s : c.tensor.span<std::string>())
          size += sizeof(uint64_t) + s.size();
      }
      std::string name = graph.values[static_cast<size_t>(c.value)].name;
      const auto reader = readers.find(c.value);
      if (name.empty() && reader != readers.end())
        name = fmt::format("of {} {}", reader->second->op->def().name,
                           reader->second->origins.empty() ? "" : reader->second->origins[0]);
      tensors.push_back({std::move(name), c.tensor.type(), size});
      bytes += size;
      bytes_by_dtype[std::string(dtype_name(c.tensor.dtype()))] += size;
    }
  }
};

void count_ops(const FileGraph& graph, std::map<std::string, int>& ops) {
  for (const FileStep& step : graph.steps) {
    ++ops[std::string(step.op->def().name)];
    for (const FileGraph& region : step.regions) count_ops(region, ops);
  }
}

nlohmann::json port_json(const std::string& name, const TensorType& type) {
  nlohmann::json shape;
  if (type.shape.ranked()) {
    shape = nlohmann::json::array();
    for (const Dim d : type.shape.dims()) {
      const int64_t size = d.size_or(-1);
      shape.push_back(size < 0 ? nlohmann::json() : nlohmann::json(size));
    }
  }
  return {{"name", name},
          {"type", type.to_string()},
          {"dtype", dtype_long_name(type.dtype)},
          {"shape", shape},
          {"list", type.is_list}};
}

nlohmann::json function_json(const FileFunction& f) {
  nlohmann::json json{{"signature", f.key},
                      {"inputs", nlohmann::json::array()},
                      {"outputs", nlohmann::json::array()},
                      {"dynamic", nlohmann::json::array()}};
  std::set<std::string> dynamic;
  for (size_t i = 0; i < f.input_names.size(); ++i) {
    const TensorType& type = f.graph.values[static_cast<size_t>(f.graph.inputs[i])].type;
    json["inputs"].push_back(port_json(f.input_names[i], type));
    if (!type.shape.ranked()) {
      dynamic.insert(f.input_names[i] + " (any shape)");
      continue;
    }
    for (int axis = 0; axis < type.shape.rank(); ++axis)
      if (type.shape[axis].size_or(-1) < 0)
        dynamic.insert(fmt::format("{}[{}]", f.input_names[i], axis));
  }
  for (size_t i = 0; i < f.output_names.size(); ++i)
    json["outputs"].push_back(
        port_json(f.output_names[i], f.graph.values[static_cast<size_t>(f.graph.outputs[i])].type));
  for (const std::string& dimension : dynamic) json["dynamic"].push_back(dimension);
  json["state"] = nlohmann::json::array();
  for (size_t i = 0; i < f.state.size(); ++i) {
    const int v = f.graph.inputs[f.input_names.size() + i];
    json["state"].push_back(
        port_json(f.state[i].name, f.graph.values[static_cast<size_t>(v)].type));
    json["state"].back()["written"] = f.state[i].is_written;
  }
  std::map<std::string, int> ops;
  count_ops(f.graph, ops);
  int steps = 0;
  for (const auto& [op, n] : ops) steps += n;
  json["steps"] = steps;
  json["ops"] = ops;
  return json;
}

nlohmann::json weights_json(Weights weights, size_t shown) {
  std::ranges::stable_sort(weights.tensors, std::greater<>(), &Weight::bytes);
  nlohmann::json json{{"bytes", weights.bytes},
                      {"tensors", weights.tensors.size()},
                      {"bytes_by_dtype", weights.bytes_by_dtype},
                      {"largest", nlohmann::json::array()}};
  for (const Weight& w : std::span(weights.tensors).first(std::min(shown, weights.tensors.size())))
    json["largest"].push_back({{"name", w.name}, {"type", w.type.to_string()}, {"bytes", w.bytes}});
  return json;
}

std::string text_of(const nlohmann::json& json) {
  return json.get<std::string>();
}

void print_text(const nlohmann::json& json) {
  fmt::print("{}: format {}, {} bytes, by {}\n", text_of(json["file"]), text_of(json["format"]),
             json["file_bytes"].get<size_t>(), text_of(json["producer"]));
  for (const auto& [key, value] : json["notes"].items())
    fmt::print("  {}: {}\n", key, text_of(value));
  fmt::print("sections\n");
  for (const auto& s : json["sections"])
    fmt::print("  {:<10} offset {:<10} {:>12} bytes  checksum {}\n", text_of(s["name"]),
               s["offset"].get<uint64_t>(), s["bytes"].get<uint64_t>(), text_of(s["checksum"]));
  const auto& weights = json["weights"];
  fmt::print("weights: {} bytes in {} tensors", weights["bytes"].get<size_t>(),
             weights["tensors"].get<size_t>());
  for (const auto& [dtype, bytes] : weights["bytes_by_dtype"].items())
    fmt::print(", {} {}", dtype, bytes.get<size_t>());
  fmt::print("\n");
  for (const auto& w : weights["largest"])
    fmt::print("  {:>12} bytes  {:<24} {}\n", w["bytes"].get<size_t>(), text_of(w["type"]),
               text_of(w["name"]));
  for (const auto& p : json["prepacked"])
    fmt::print("prepacked {:>12} bytes  {}\n", p["bytes"].get<size_t>(), text_of(p["form"]));
  for (const auto& f : json["functions"]) {
    fmt::print("signature {}\n", text_of(f["signature"]));
    for (const auto& port : f["inputs"])
      fmt::print("  in  {}: {}\n", text_of(port["name"]), text_of(port["type"]));
    for (const auto& port : f["outputs"])
      fmt::print("  out {}: {}\n", text_of(port["name"]), text_of(port["type"]));
    for (const auto& variable : f["state"])
      fmt::print("  state {}: {}{}\n", text_of(variable["name"]), text_of(variable["type"]),
                 variable["written"].get<bool>() ? "" : ", only read");
    if (!f["dynamic"].empty())
      fmt::print("  open dimensions: {}\n",
                 fmt::join(f["dynamic"].get<std::vector<std::string>>(), ", "));
    fmt::print("  {} steps:", f["steps"].get<int>());
    for (const auto& [op, n] : f["ops"].items()) fmt::print(" {}×{}", n.get<int>(), op);
    fmt::print("\n");
  }
  print_chips(json["targets"]);
}

Status inspect(const InspectArguments& a) {
  const auto file = TRY(container::map_file(a.file));
  auto read = read_layout(file->bytes());
  if (!read.ok()) return std::move(read).error().at(a.file);
  const FileLayout layout = std::move(*read);
  const Blob blob{file->bytes(), file};
  auto opened = read_model(blob);
  if (!opened.ok()) return std::move(opened).error().at(a.file);
  const FileModel model = std::move(*opened);
  nlohmann::json json{{"file", a.file},
                      {"file_bytes", file->bytes().size()},
                      {"format", fmt::format("{}.{}", layout.major, layout.minor)},
                      {"producer", model.producer},
                      {"notes", nlohmann::json::object()},
                      {"sections", nlohmann::json::array()},
                      {"functions", nlohmann::json::array()}};
  for (const auto& [key, value] : model.notes)
    if (!key.starts_with(kRulesNote)) json["notes"][key] = value;
  for (const FileSection& s : layout.sections)
    json["sections"].push_back({{"name", section_name(s.kind)},
                                {"kind", s.kind},
                                {"required", s.required},
                                {"offset", s.offset},
                                {"bytes", s.size},
                                {"checksum", fmt::format("{:016x}", s.hash)}});
  Weights weights;
  std::string keys;
  for (const FileFunction& f : model.functions) {
    keys += " " + f.key;
    if (!a.signature.empty() && f.key != a.signature) continue;
    json["functions"].push_back(function_json(f));
    weights.add(f.graph);
  }
  if (json["functions"].empty() && !model.functions.empty())
    return not_found(fmt::format("there is no signature '{}'; there are:{}", a.signature, keys));
  auto chips = chips_json(blob, model, a.target, a.memory);
  if (!chips.ok()) return std::move(chips).error().at(a.file);
  json["targets"] = std::move(*chips);
  json["weights"] = weights_json(std::move(weights), a.largest);
  json["prepacked"] = nlohmann::json::array();
  for (const PrepackedWeight& p : model.prepacked)
    json["prepacked"].push_back({{"form", p.form}, {"bytes", p.bytes.bytes.size()}});
  if (a.json)
    fmt::print("{}\n", to_text(json));
  else
    print_text(json);
  return {};
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("inspect", "Say what a .tenon file holds");
  auto a = std::make_shared<InspectArguments>();
  command->add_option("FILE", a->file, ".tenon file")->required();
  command->add_option("--signature", a->signature, "only this signature (default: all)");
  command->add_option("--largest", a->largest, "how many of the largest weights to list")
      ->check(non_negative_number());
  command->add_option("--target", a->target, "of the programs for chips, only those for this one");
  command->add_flag("--memory", a->memory,
                    "what each layer takes of a chip's memories and moves (simulated)");
  command->add_flag("--json", a->json, "machine-readable output");
  command->footer(
      "Example:\n  tenon inspect digits.tenon\n"
      "  tenon inspect digits.tenon --memory --target ascend310p3");
  command->callback([a, &action] { action = [a] { return inspect(*a); }; });
}

}  // namespace tenon::tool
