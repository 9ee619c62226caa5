#include "machine/machine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace tenon {
namespace {

std::vector<MachineFile> families() {
  std::vector<MachineFile> files = built_in_machine_files();
  std::erase_if(files, [](const MachineFile& f) {
    return f.name != "ascend.toml" && f.name != "cambricon.toml";
  });
  return files;
}

MachineFile file_named(std::string_view name) {
  for (MachineFile& file : built_in_machine_files())
    if (file.name == name) return file;
  return {};
}

// The description with one text put in place of another.
Result<Machine> edited(std::string_view name, const std::string& from, const std::string& to) {
  MachineFile file = file_named(name);
  const size_t at = file.text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  file.text.replace(at, from.size(), to);
  return parse_machine(file, families());
}

double peak(std::string_view name, std::string_view dtype) {
  const MachineCatalog catalog = MachineCatalog::load().value();
  for (const Peak& p : peaks(**catalog.find(name)))
    if (p.dtype == dtype) return p.operations_per_s / 1e12;
  return 0;
}

TEST(Machine, AllThatAreBuiltInAreRead) {
  const auto catalog = MachineCatalog::load();
  ASSERT_TRUE(catalog.ok()) << catalog.error().to_string();
  EXPECT_EQ(catalog->machines().size(), built_in_machine_files().size() - 2);
  for (const Machine& machine : catalog->machines())
    for (const Number& number : machine.numbers) EXPECT_FALSE(number.source.empty());
}

// The peaks that the vendors print follow from cores, products a cycle and clock.
TEST(Machine, PeaksAgreeWithWhatIsPrinted) {
  EXPECT_NEAR(peak("ascend310p3", "f16"), 70, 1.5);
  EXPECT_NEAR(peak("ascend310p3", "i8"), 140, 3);
  EXPECT_NEAR(peak("ascend910a", "f16"), 256, 8);
  EXPECT_NEAR(peak("ascend910b3", "f16"), 295, 2);
  EXPECT_NEAR(peak("mlu270", "i8"), 128, 4);
  EXPECT_NEAR(peak("mlu290", "i8"), 512, 14);
  EXPECT_NEAR(peak("mlu370-x4", "i8"), 256, 7);
  EXPECT_NEAR(peak("mlu370-x4", "f16"), 96, 3);
  EXPECT_NEAR(peak("mlu370-s4", "f32"), 18, 1);
}

TEST(Machine, IsFoundByNameAndAliasAndSpelling) {
  const MachineCatalog catalog = MachineCatalog::load().value();
  for (const std::string_view name : {"ascend310p3", "Ascend310P3", "ascend710", "Ascend-310P3"})
    EXPECT_EQ((*catalog.find(name))->name, "ascend310p3") << name;
  EXPECT_EQ((*catalog.find("MLU370_S4"))->name, "mlu370-s4");
  const auto unknown = catalog.find("ascend310p4");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().code, Code::not_found);
  EXPECT_NE(
      unknown.error().message.find("did you mean 'ascend310b4', 'ascend310p1' or 'ascend310p3'"),
      std::string::npos)
      << unknown.error().message;
}

TEST(Machine, AFamilyIsNoChip) {
  const MachineCatalog catalog = MachineCatalog::load().value();
  const auto family = catalog.find("Cambricon");
  ASSERT_FALSE(family.ok());
  EXPECT_NE(family.error().message.find("is a family; name one of its chips: mlu220, mlu270"),
            std::string::npos)
      << family.error().message;
}

TEST(Machine, NamesAreOfOneChip) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "machines_of_one_name";
  std::filesystem::create_directories(folder);
  const auto load = [&](const std::string& name, const std::string& alias) {
    std::string text = file_named("ascend310p3.toml").text;
    const auto put = [&](const std::string& key, const std::string& value) {
      const size_t at = text.find(key + " = ");
      text.replace(at, text.find('\n', at) - at, key + " = " + value);
    };
    put("name", "\"" + name + "\"");
    put("title", "\"mine\"");
    put("aliases", "[\"" + alias + "\"]");
    std::ofstream(folder / "mine.toml") << text;
    return MachineCatalog::load(folder.string());
  };
  const auto taken = load("ascend310p9", "Ascend-310");
  ASSERT_FALSE(taken.ok());
  EXPECT_NE(taken.error().to_string().find("'Ascend-310' is the name of ascend310"),
            std::string::npos)
      << taken.error().to_string();
  // A copied file has the aliases of the first one, which keeps them.
  const auto copied = load("ascend310p9", "ascend310p");
  ASSERT_TRUE(copied.ok()) << copied.error().to_string();
  EXPECT_EQ((*copied->find("ascend310p"))->name, "ascend310p3");
  EXPECT_EQ((*copied->find("ascend310p9"))->title, "mine");
  // Another spelling of a chip that is there replaces it.
  const auto replaced = load("Ascend310_P3", "mine");
  ASSERT_TRUE(replaced.ok()) << replaced.error().to_string();
  EXPECT_EQ((*replaced->find("ascend310p3"))->title, "mine");
}

TEST(Machine, UnitsAreConverted) {
  const MachineCatalog catalog = MachineCatalog::load().value();
  const auto& chip = std::get<AscendChip>((*catalog.find("ascend310p3"))->chip);
  EXPECT_EQ(chip.l1, 1 << 20);
  EXPECT_EQ(chip.cube_clock, 1.06e9);
  EXPECT_EQ(chip.memory_bandwidth, 204.8e9);
  EXPECT_DOUBLE_EQ(chip.unaligned_rate, 0.95);
  EXPECT_NEAR(chip.launch, 2e-6, 1e-6);  // fitted
  EXPECT_EQ(chip.coupling, VectorCoupling::auxiliary);
}

struct Broken {
  const char* name;
  const char* file;
  const char* from;
  const char* to;
  const char* message;
};
class BrokenMachine : public testing::TestWithParam<Broken> {};

TEST_P(BrokenMachine, IsRefusedWithTheLine) {
  const Broken& b = GetParam();
  const auto machine = edited(b.file, b.from, b.to);
  ASSERT_FALSE(machine.ok());
  const std::string text = machine.error().to_string();
  EXPECT_NE(text.find(b.message), std::string::npos) << text;
  EXPECT_NE(text.find(b.file), std::string::npos) << text;
  EXPECT_NE(machine.error().where.find(':'), std::string::npos) << text;
}

constexpr Broken kBroken[] = {
    {"missing", "ascend310p3.toml", "l0c = {", "# l0c = {", "'l0c' is missing"},
    {"small_l0c", "ascend310p3.toml", "l0c = { value = 256, unit = \"KiB\"",
     "l0c = { value = 512, unit = \"B\"", "out of bounds"},
    {"partial_fractal", "ascend310p3.toml", "l0c = { value = 256, unit = \"KiB\"",
     "l0c = { value = 1500, unit = \"B\"", "whole fractals of sums"},
    {"small_l1", "ascend310p3.toml", "l1 = { value = 1024", "l1 = { value = 64",
     "smaller than l0a and l0b together"},
    {"unit", "ascend310p3.toml", "unit = \"MHz\"", "unit = \"KiB\"", "is to be in one of: Hz"},
    {"confidence", "ascend310p3.toml", "\"published\"", "\"sure\"", "published, third-party"},
    {"source", "ascend310p3.toml", "source = \"platform\"", "source = \"press\"",
     "that [sources] lists"},
    {"unknown_number", "ascend310p3.toml",
     "cube_cores =", "cube_core =", "did you mean 'cube_cores'"},
    {"negative", "ascend310p3.toml", "value = 8,", "value = -8,", "out of bounds"},
    {"not_a_number", "ascend310p3.toml", "value = 8,", "value = nan,", "out of bounds"},
    {"text", "ascend310p3.toml", "value = 8,", "value = \"8\",", "has no value"},
    {"family", "ascend310p3.toml", "family = \"ascend\"", "family = \"tpu\"", "family is one of"},
    {"coupling", "ascend310p3.toml", "\"auxiliary\"", "\"loose\"", "coupling is one of"},
    {"cut_off", "ascend310p3.toml", "[numbers]", "[numbers", "no TOML"},
    {"key", "ascend310p3.toml", "aliases", "alias", "did you mean 'aliases'"},
    {"bandwidth", "mlu370-s4.toml", "value = 128, unit = \"GB/s\"", "value = 500, unit = \"GB/s\"",
     "more than memory_bandwidth"},
    {"part_of_a_core", "ascend310p3.toml", "value = 8,", "value = 7.5,", "is no whole number"},
    {"wram", "mlu370-s4.toml", "wram = { value = 1024", "wram = { value = 1022",
     "local_tables parts"},
};
INSTANTIATE_TEST_SUITE_P(Machine, BrokenMachine, testing::ValuesIn(kBroken),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tenon
