#include "machine/machine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "base/nearest.h"
#include "machine/check_machine.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace tenon {
namespace {

std::string place_of(const MachineFile& file, const toml::source_region& region) {
  return fmt::format("{}:{}", file.name, region.begin.line);
}

Error bad(const MachineFile& file, const toml::node& node, std::string message) {
  return invalid_argument(std::move(message)).at(place_of(file, node.source()));
}

Result<toml::table> parse_toml(const MachineFile& file) {
  toml::parse_result parsed = toml::parse(file.text, file.name);
  if (!parsed)
    return invalid_argument(fmt::format("no TOML: {}", parsed.error().description()))
        .at(place_of(file, parsed.error().source()));
  return std::move(parsed).table();
}

using Sources = std::map<std::string, std::string, std::less<>>;
using Numbers = std::map<std::string, Number, std::less<>>;

Result<Sources> read_sources(const MachineFile& file, const toml::table& table) {
  Sources sources;
  const toml::table* listed = table["sources"].as_table();
  if (listed == nullptr) return sources;
  for (const auto& [key, node] : *listed) {
    const auto* text = node.as_string();
    if (text == nullptr) return bad(file, node, "a source is a text");
    sources.emplace(key.str(), text->get());
  }
  return sources;
}

// { value = 8, unit = "cores", confidence = "published", source = "ini" }
Result<Number> read_number(const MachineFile& file, std::string_view key, const toml::node& node,
                           Dimension dimension, const Sources& sources) {
  const toml::table* row = node.as_table();
  if (row == nullptr)
    return bad(
        file, node,
        fmt::format("{} is to be {{ value = …, unit = …, confidence = …, source = … }}", key));
  for (const auto& [name, part] : *row)
    if (name != "value" && name != "unit" && name != "confidence" && name != "source")
      return bad(file, part, fmt::format("{} has no '{}'", key, name.str()));
  Number number;
  number.key = key;
  number.place = place_of(file, node.source());
  const auto value = (*row)["value"].value<double>();
  if (!value) return bad(file, node, fmt::format("{} has no value, which is a number", key));
  const auto unit = (*row)["unit"].value<std::string>();
  const auto scale = unit ? unit_scale(dimension, *unit) : std::nullopt;
  if (!scale)
    return bad(file, node, fmt::format("{} is to be in one of: {}", key, unit_choices(dimension)));
  const auto confidence = (*row)["confidence"].value<std::string>();
  const auto level = confidence ? confidence_named(*confidence) : std::nullopt;
  if (!level)
    return bad(
        file, node,
        fmt::format("{} is to have a confidence: published, third-party, derived or assumed", key));
  const auto source = (*row)["source"].value<std::string>();
  const auto words = source ? sources.find(*source) : sources.end();
  if (words == sources.end())
    return bad(file, node, fmt::format("{} is to have a source that [sources] lists", key));
  number.written = *value;
  number.unit = *unit;
  number.value = *value * *scale;
  number.confidence = *level;
  number.source = words->second;
  return number;
}

template <typename Chip>
const NumberField<Chip>* field_named(std::string_view key) {
  for (const NumberField<Chip>& field : Chip::fields())
    if (field.key == key) return &field;
  return nullptr;
}

template <typename Chip>
Status read_numbers(const MachineFile& file, const toml::table& table, const Sources& sources,
                    Numbers& numbers) {
  const toml::table* rows = table["numbers"].as_table();
  if (rows == nullptr) return {};
  for (const auto& [key, node] : *rows) {
    const NumberField<Chip>* field = field_named<Chip>(key.str());
    if (field == nullptr) {
      std::vector<std::string> names;
      for (const NumberField<Chip>& known : Chip::fields()) names.emplace_back(known.key);
      return bad(file, node,
                 fmt::format("the {} family has no number '{}'{}", Chip::family, key.str(),
                             did_you_mean(key.str(), names)));
    }
    const Number number = TRY(read_number(file, key.str(), node, field->dimension, sources));
    const double scale = unit_scale(field->dimension, number.unit).value_or(1);
    if (!(number.value >= field->min && number.value <= field->max))
      return bad(file, node,
                 fmt::format("{} = {} {} is out of bounds, which are {:g} to {:g} {}", field->key,
                             number.written, number.unit, field->min / scale, field->max / scale,
                             number.unit));
    const bool counts =
        field->dimension == Dimension::count || field->dimension == Dimension::bytes;
    if (counts && number.value != std::floor(number.value))
      return bad(file, node,
                 fmt::format("{} = {} {} is no whole number{}", field->key, number.written,
                             number.unit, field->dimension == Dimension::bytes ? " of bytes" : ""));
    numbers.insert_or_assign(number.key, number);
  }
  return {};
}

// The numbers of the file over those of its family, all of them there.
template <typename Chip>
Result<Chip> read_chip(const MachineFile& file, const toml::table& table,
                       const MachineFile& family_file, const toml::table& family,
                       std::vector<Number>& listed) {
  const Sources common = TRY(read_sources(family_file, family));
  Sources own = TRY(read_sources(file, table));
  own.insert(common.begin(), common.end());
  Numbers numbers;
  TRY(read_numbers<Chip>(family_file, family, common, numbers));
  TRY(read_numbers<Chip>(file, table, own, numbers));
  Chip chip;
  for (const NumberField<Chip>& field : Chip::fields()) {
    const auto found = numbers.find(field.key);
    if (found == numbers.end()) {
      const toml::node* list = table.get("numbers");
      return bad(file, list == nullptr ? table : *list,
                 fmt::format("the number '{}' is missing: {}, in one of: {}", field.key, field.doc,
                             unit_choices(field.dimension)));
    }
    chip.*field.member = found->second.value;
    listed.push_back(found->second);
  }
  return chip;
}

Status read_coupling(const MachineFile& file, const toml::table& table, AscendChip& chip) {
  const toml::node* node = table.get("coupling");
  if (node == nullptr)
    return invalid_argument("'coupling' is missing: fused, auxiliary or split").at(file.name);
  const std::string word = node->value_or(std::string());
  if (word == "fused")
    chip.coupling = VectorCoupling::fused;
  else if (word == "auxiliary")
    chip.coupling = VectorCoupling::auxiliary;
  else if (word == "split")
    chip.coupling = VectorCoupling::split;
  else
    return bad(file, *node, "coupling is one of: fused, auxiliary, split");
  return {};
}

Result<std::vector<std::string>> read_texts(const MachineFile& file, const toml::table& table,
                                            std::string_view key) {
  std::vector<std::string> texts;
  const toml::node* node = table.get(key);
  if (node == nullptr) return texts;
  const toml::array* list = node->as_array();
  if (list == nullptr) return bad(file, *node, fmt::format("{} is a list of texts", key));
  for (const toml::node& item : *list) {
    const auto* text = item.as_string();
    if (text == nullptr) return bad(file, item, fmt::format("{} is a list of texts", key));
    texts.push_back(text->get());
  }
  return texts;
}

Result<std::string> read_text(const MachineFile& file, const toml::table& table,
                              std::string_view key) {
  const auto text = table[key].value<std::string>();
  if (!text || text->empty())
    return invalid_argument(fmt::format("'{}' is missing, a text", key)).at(file.name);
  return *text;
}

Status known_keys_only(const MachineFile& file, const toml::table& table) {
  const std::vector<std::string> known{"name",  "title",    "family",  "aliases",
                                       "notes", "coupling", "sources", "numbers"};
  for (const auto& [key, node] : table)
    if (std::find(known.begin(), known.end(), key.str()) == known.end())
      return bad(file, node,
                 fmt::format("there is no '{}'{}", key.str(), did_you_mean(key.str(), known)));
  return {};
}

bool is_family_file(const MachineFile& file) {
  return file.name == "ascend.toml" || file.name == "cambricon.toml";
}

// A name as find() compares it.
std::string plain(std::string_view name) {
  std::string text;
  for (const char c : name)
    if (c != '-' && c != '_' && c != ' ')
      text += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

Result<std::vector<MachineFile>> files_of(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code failed;
  std::vector<MachineFile> files;
  fs::directory_iterator entries(folder, failed);
  if (failed) return io_error(fmt::format("cannot read: {}", failed.message())).at(folder);
  for (const fs::directory_entry& entry : entries) {
    if (entry.path().extension() != ".toml") continue;
    std::ifstream stream(entry.path(), std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(stream)), {});
    if (!stream) return io_error("cannot read").at(entry.path().string());
    files.push_back({entry.path().filename().string(), std::move(text)});
  }
  std::sort(files.begin(), files.end(),
            [](const MachineFile& a, const MachineFile& b) { return a.name < b.name; });
  return files;
}

}  // namespace

std::string_view Machine::family() const {
  return std::visit([](const auto& c) { return std::decay_t<decltype(c)>::family; }, chip);
}

Result<Machine> parse_machine(const MachineFile& file, std::span<const MachineFile> families) {
  const toml::table table = TRY(parse_toml(file));
  TRY(known_keys_only(file, table));
  Machine machine;
  machine.file = file.name;
  machine.name = TRY(read_text(file, table, "name"));
  machine.title = TRY(read_text(file, table, "title"));
  machine.aliases = TRY(read_texts(file, table, "aliases"));
  machine.notes = TRY(read_texts(file, table, "notes"));
  const std::string family = TRY(read_text(file, table, "family"));
  const auto common = std::find_if(families.begin(), families.end(), [&](const MachineFile& f) {
    return f.name == family + ".toml";
  });
  if (common == families.end())
    return bad(file, *table.get("family"), "family is one of: ascend, cambricon");
  const toml::table defaults = TRY(parse_toml(*common));
  if (family == AscendChip::family) {
    AscendChip chip = TRY(read_chip<AscendChip>(file, table, *common, defaults, machine.numbers));
    TRY(read_coupling(file, table, chip));
    machine.chip = chip;
  } else {
    machine.chip = TRY(read_chip<CambriconChip>(file, table, *common, defaults, machine.numbers));
  }
  TRY(check_machine(machine));
  return machine;
}

Result<MachineCatalog> MachineCatalog::load(const std::string& folder) {
  std::vector<MachineFile> families, chips;
  const auto sort_in = [&](std::vector<MachineFile> files) {
    for (MachineFile& file : files)
      (is_family_file(file) ? families : chips).push_back(std::move(file));
  };
  sort_in(built_in_machine_files());
  // For programs that take no folder, such as plug-ins.
  const char* named = std::getenv("TENON_TARGETS_DIR");
  const std::string own = folder.empty() && named != nullptr ? named : folder;
  if (!own.empty()) sort_in(TRY(files_of(own)));
  std::reverse(families.begin(), families.end());  // the folder's own come first
  MachineCatalog catalog;
  for (const MachineFile& file : chips) {
    Machine machine = TRY(parse_machine(file, families));
    const auto same = std::ranges::find(catalog.machines_, plain(machine.name),
                                        [](const Machine& m) { return plain(m.name); });
    if (same == catalog.machines_.end())
      catalog.machines_.push_back(std::move(machine));
    else
      *same = std::move(machine);
  }
  TRY(catalog.check_names());
  return catalog;
}

// Aliases may be shared: a file that was copied has those of the first one, which keeps them.
Status MachineCatalog::check_names() const {
  std::map<std::string, const Machine*> named;
  for (const Machine& machine : machines_) {
    for (const std::string& alias : machine.aliases)
      if (const auto other = named.find(plain(alias)); other != named.end())
        return invalid_argument(fmt::format("'{}' is the name of {}, which {} describes; it cannot "
                                            "be another chip's alias",
                                            alias, other->second->name, other->second->file))
            .at(machine.file);
    named.emplace(plain(machine.name), &machine);
  }
  return {};
}

Result<const Machine*> MachineCatalog::find(std::string_view name) const {
  std::vector<std::string> names, of_family;
  for (const Machine& machine : machines_) {
    names.push_back(machine.name);
    if (machine.family() == plain(name)) of_family.push_back(machine.name);
    if (plain(machine.name) == plain(name)) return &machine;
  }
  for (const Machine& machine : machines_)
    for (const std::string& alias : machine.aliases)
      if (plain(alias) == plain(name)) return &machine;
  if (!of_family.empty())
    return not_found(fmt::format("'{}' is a family; name one of its chips: {}", name,
                                 fmt::join(of_family, ", ")));
  return not_found(fmt::format("there is no chip '{}'{}; known: {}", name,
                               did_you_mean(plain(name), names), fmt::join(names, ", ")));
}

}  // namespace tenon
