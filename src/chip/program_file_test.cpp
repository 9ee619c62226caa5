// Programs for chips through a file and back.
#include "chip/program_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "chip/deploy.h"
#include "chip/simulated_graph.h"
#include "encode/encode.h"
#include "ir/interpret.h"
#include "ir/text.h"
#include "lower/recipe.h"
#include "tensor/compare.h"

namespace tenon {
namespace {

constexpr std::string_view kNet = R"(graph @main (%x: f32[?n,9,9,16]) {
  %w = const random(seed=1) : f32[3,3,16,24]
  %b = const random(seed=2) : f32[24]
  %d = const random(seed=3) : f32[3,3,1,24]
  %c = conv(%x, %w, %b) {pads=[1, 1, 1, 1], activation="relu"} from "first"
  %e = conv(%c, %d) {groups=24, pads=[1, 1, 1, 1]} from "second"
  %p = avg_pool(%e) {kernel=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]} from "pool"
  %m = mean(%p) {axes=[1, 2]} from "mean"
  %y = softmax(%m) from "last"
  return (%y)
}
)";

FileModel model_for_chips(const std::vector<std::string>& names) {
  const auto graph = parse_graph(kNet, "net").value();
  FileModel model;
  model.functions.push_back({"f", encode_graph(*graph), {"x"}, {"y"}, {}});
  static const MachineCatalog catalog = MachineCatalog::load().value();
  const auto chips = chips_named(catalog, names).value();
  const int64_t batches[] = {1, 4};
  const auto reports = add_chip_programs(model, chips, batches, "fp16").value();
  EXPECT_EQ(reports.size(), 2 * chips.size());
  return model;
}

Blob encoded(const FileModel& model) {
  const auto bytes = encode_model(model).value();
  const auto copy = allocate_aligned(bytes.size());
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return {{copy.get(), bytes.size()}, copy};
}

const Machine& machine(const std::string& name) {
  static const MachineCatalog catalog = MachineCatalog::load().value();
  return *catalog.find(name).value();
}

TEST(ProgramFile, ComputesWhatTheLoweredGraphDoes) {
  const Blob file = encoded(model_for_chips({"ascend310p3", "mlu370-s4"}));
  const FileModel model = read_model(file).value();
  ASSERT_EQ(model.device_sections.size(), 2U);
  const auto original = parse_graph(kNet, "net").value();
  for (const FileDeviceSection& s : model.device_sections) {
    const auto section = read_device_section(file, s.target, s.bytes).value();
    EXPECT_EQ(section.machine, machine_hash(machine(s.target)));
    ASSERT_EQ(section.programs.size(), 2U);
    for (const FileDeviceProgram& p : section.programs) {
      const StoredProgram stored = decode_program(p, machine(s.target)).value();
      Tensor x = Tensor::zeros(DType::f32, p.inputs[0].shape.sizes()).value();
      for (int64_t i = 0; i < x.elements(); ++i)
        x.mutable_data<float>()[i] = static_cast<float>(i * 37 % 101) / 50 - 1;
      const auto direct_graph = prepare_for_inputs(*original, {&x, 1}).value();
      const DeviceProgram direct =
          lower_graph(*direct_graph, machine(s.target), {.batch = p.batch}).value();
      std::vector<int64_t> peaks;
      const auto y = SimulatedGraph::load(*stored.graph, stored.program)
                         .value()
                         ->run({&x, 1}, {.peaks = &peaks})
                         .value();
      const auto z = SimulatedGraph::load(*direct_graph, direct).value()->run({&x, 1}, {}).value();
      EXPECT_TRUE(bitwise_equal(y[0], z[0])) << s.target;
      EXPECT_TRUE(compare(y[0], interpret(*original, {&x, 1}).value()[0]).within(1e-2));
      // What was predicted of the memories is what was touched.
      const Prediction prediction =
          predict(stored.program, machine(s.target), {.batch = p.batch}).value();
      EXPECT_EQ(prediction.on_chip, peaks) << s.target;
    }
  }
}

TEST(ProgramFile, WeightsAreThereOnce) {
  FileModel plain;
  const auto graph = parse_graph(kNet, "net").value();
  plain.functions.push_back({"f", encode_graph(*graph), {"x"}, {"y"}, {}});
  const auto weights = [](const Blob& file) {
    const FileLayout layout = read_layout(file.bytes).value();
    for (const FileSection& s : layout.sections)
      if (section_name(s.kind) == "weights") return s.size;
    return uint64_t{0};
  };
  const uint64_t before = weights(encoded(plain));
  const uint64_t after =
      weights(encoded(model_for_chips({"ascend310p3", "mlu370-s4", "ascend310"})));
  EXPECT_GE(after, before);
  EXPECT_LE(after, before + 4096);  // shares of the windows of the pool
}

TEST(ProgramFile, AFamilyIsAllItsChipsAndEqualInputGivesEqualBytes) {
  const FileModel model = model_for_chips({"ascend"});
  EXPECT_GT(model.device_sections.size(), 5U);
  const Blob a = encoded(model), b = encoded(model_for_chips({"ascend"}));
  EXPECT_TRUE(std::ranges::equal(a.bytes, b.bytes));
}

// The error of the first program after an edit of it.
std::string trouble(const std::function<void(FileDeviceProgram&)>& edit) {
  FileModel model = model_for_chips({"ascend310p3"});
  edit(model.device_sections[0].programs[0]);
  const Blob file = encoded(model);
  const FileModel read = read_model(file).value();
  const auto section = read_device_section(file, "ascend310p3", read.device_sections[0].bytes);
  if (!section.ok()) return section.error().to_string();
  const auto stored = decode_program(section->programs[0], machine("ascend310p3"));
  return stored.ok() ? "" : stored.error().to_string();
}

bool names(const std::string& text, const std::vector<std::string>& words) {
  return std::ranges::all_of(
      words, [&](const std::string& w) { return text.find(w) != std::string::npos; });
}

TEST(ProgramFile, DamageNamesTheLayerAndTheInstruction) {
  EXPECT_EQ(trouble([](FileDeviceProgram&) {}), "");
  const auto replace = [](std::string& text, std::string_view what, std::string_view by) {
    const size_t at = text.find(what);
    ASSERT_NE(at, std::string::npos);
    text.replace(at, what.size(), by);
  };
  std::string text =
      trouble([&](FileDeviceProgram& p) { replace(p.steps[0].code, "mte2: copy", "mte2: cope"); });
  EXPECT_TRUE(names(text, {"first", "cope"})) << text;
  // Beyond the memory.
  text = trouble([&](FileDeviceProgram& p) { replace(p.steps[0].code, "l1[", "l1[9999360 + "); });
  EXPECT_TRUE(names(text, {"first", "l1", "mte"})) << text;
  text = trouble([](FileDeviceProgram& p) { p.steps[0].operands.pop_back(); });
  EXPECT_TRUE(names(text, {"first", "operands"})) << text;
  text = trouble([](FileDeviceProgram& p) { p.tensors[0].address = int64_t{1} << 60; });
  EXPECT_TRUE(names(text, {"beyond the chip's memory"})) << text;
  text = trouble([](FileDeviceProgram& p) { p.tensors[0].elements -= 1; });
  EXPECT_TRUE(names(text, {"first", "elements"})) << text;
  text = trouble([](FileDeviceProgram& p) { p.steps[0].node = 1000; });
  EXPECT_TRUE(names(text, {"damaged"})) << text;
}

TEST(ProgramFile, RecipesReadWhatIsThere) {
  using lower::recipe_of;
  const Tensor w = Tensor::zeros(DType::f32, std::vector<int64_t>{3, 3, 8, 4}).value();
  // kernel, channels, columns, transposed, k0, n0, groups, planes, winograd.
  std::vector<int64_t> good{3, 3, 8, 4, 0, 16, 16, 1, 1, 0};
  const int64_t elements = 9 * 256;
  ASSERT_TRUE(recipe_of("fractals", w, good, elements).ok());
  EXPECT_FALSE(recipe_of("fractals", w, good, elements + 1).ok());
  EXPECT_FALSE(recipe_of("powder", w, good, elements).ok());
  for (size_t i = 0; i < good.size(); ++i)
    for (const int64_t bad : {int64_t{-1}, int64_t{7}, int64_t{1} << 40}) {
      std::vector<int64_t> numbers = good;
      numbers[i] = bad;
      EXPECT_FALSE(recipe_of("fractals", w, numbers, elements).ok()) << i << " " << bad;
    }
  EXPECT_FALSE(recipe_of("convert", w, {}, 7).ok());
  // Sixteen positions of F(2x2).
  const std::vector<int64_t> winograd{1, 1, 8, 4, 0, 16, 16, 1, 16, 2};
  ASSERT_TRUE(recipe_of("fractals", w, winograd, 16 * 256).ok());
  EXPECT_EQ(lower::make_constant(recipe_of("fractals", w, winograd, 16 * 256).value(), DType::f16)
                .value()
                .elements(),
            16 * 256);
  // A depthwise filter as that of two groups of two channels.
  const Tensor each = Tensor::zeros(DType::f32, std::vector<int64_t>{3, 3, 1, 4}).value();
  const std::vector<int64_t> diagonal{3, 3, 2, 2, 0, 16, 16, 2, 1, 0, 2};
  ASSERT_TRUE(recipe_of("fractals", each, diagonal, 2 * 9 * 256).ok());
  for (const int64_t bad : {int64_t{-1}, int64_t{0}, int64_t{3}, int64_t{4}, int64_t{1} << 40}) {
    std::vector<int64_t> numbers = diagonal;
    numbers.back() = bad;
    EXPECT_FALSE(recipe_of("fractals", each, numbers, 2 * 9 * 256).ok()) << bad;
  }
  EXPECT_FALSE(recipe_of("fractals", w, diagonal, 2 * 9 * 256).ok());
  EXPECT_TRUE(recipe_of("convert", w, std::vector<int64_t>{4}, 36 * 32).ok());
  EXPECT_FALSE(recipe_of("convert", w, std::vector<int64_t>{3}, 25 * 32).ok());
}

}  // namespace
}  // namespace tenon
