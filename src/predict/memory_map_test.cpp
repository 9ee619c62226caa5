// What lives where and when, and what is counted as spilled.
#include "predict/memory_map.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "ir/text.h"
#include "isa/parse_program.h"

namespace tenon {
namespace {

const Machine& machine(const std::string& name) {
  static const MachineCatalog catalog = MachineCatalog::load().value();
  return **catalog.find(name);
}

isa::Program program_of(const std::string& body) {
  return isa::parse_program("program t target=ascend310p3 blocks=2 {\n" + body + "}\n",
                            isa::architecture_of(machine("ascend310p3")), "test")
      .value();
}

struct Case {
  std::unique_ptr<Graph> graph;
  DeviceProgram program;
  Prediction prediction;
  MemoryMap map;
};

Case lowered(std::string_view text, const std::string& chip) {
  Case c{parse_graph(text, "map").value(), {}, {}, {}};
  c.program = lower_graph(*c.graph, machine(chip), {}).value();
  c.prediction = predict(c.program, machine(chip), {}).value();
  c.map = memory_map(c.program);
  return c;
}

// Three maps one after the other, each as large as is given.
std::string chain(int64_t size) {
  const std::string type = "f32[" + std::to_string(size) + ",64]";
  return "graph @main (%x: " + type + ", %y: " + type +
         ") {\n  %a = softmax(%x)\n  %b = softmax(%a)\n  %c = add(%b, %y)\n  return (%c)\n}\n";
}

TEST(Residents, ARingIsOnePartAndNamesWhatPassesThrough) {
  const auto parts = isa::residents(program_of(R"(x: input f16 [65536]
y: output f16 [65536]
for i0 in 8 {
mte2: copy ub[i0 % 2 * 2048] f16 (1024:1) <- gm x[i0 * 2048] f16 (1024:1)
sync all
v: exp ub[8192] f16 (1024:1) <- ub[i0 % 2 * 2048] f16 (1024:1)
sync all
v: relu ub[16384] f16 (1024:1) <- ub[8192] f16 (1024:1)
sync all
mte3: copy gm y[i0 * 2048] f16 (1024:1) <- ub[16384] f16 (1024:1)
sync all
}
)"));
  ASSERT_EQ(parts.size(), 3U);
  const std::vector<std::string> names{"x", "y"};
  EXPECT_EQ(parts[0].begin, 0);
  EXPECT_EQ(parts[0].end, 4096) << "two places of the ring";
  EXPECT_EQ(contents_of(parts[0], names), "x");
  EXPECT_EQ(parts[0].first, 1);
  EXPECT_EQ(parts[0].last, 3);
  EXPECT_EQ(parts[0].loops, std::vector<int>{1});
  EXPECT_EQ(contents_of(parts[1], names), "what is made by exp");
  EXPECT_EQ(contents_of(parts[2], names), "y");
  EXPECT_EQ(parts[2].last, 7);
}

TEST(Residents, WhatIsLoadedBeforeALoopIsThereForAllItsTurns) {
  const auto parts = isa::residents(program_of(R"(w: constant f16 [1024]
y: output f16 [65536]
mte2: copy ub[0] f16 (1024:1) <- gm w[0] f16 (1024:1)
sync all
for i0 in 8 {
v: relu ub[8192] f16 (1024:1) <- ub[0] f16 (1024:1)
sync all
mte3: copy gm y[i0 * 2048] f16 (1024:1) <- ub[8192] f16 (1024:1)
sync all
}
)"));
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_TRUE(parts[0].loops.empty());
  EXPECT_EQ(parts[1].loops, std::vector<int>{1});
}

TEST(MemoryMap, TensorsShareAPlaceOnlyAtDifferentTimes) {
  const Case c = lowered(chain(256), "ascend310p3");
  int activations = 0;
  for (const TensorLife& t : c.map.tensors) {
    activations += t.role == DeviceTensor::Role::activation ? 1 : 0;
    EXPECT_LE(t.address + t.bytes, c.prediction.peak_bytes);
    for (const TensorLife& other : c.map.tensors) {
      const bool together = t.first <= other.last && other.first <= t.last;
      const bool overlap =
          t.address < other.address + other.bytes && other.address < t.address + t.bytes;
      EXPECT_TRUE(&t == &other || !together || !overlap) << t.name << " " << other.name;
    }
  }
  EXPECT_EQ(activations, 2);
  EXPECT_LE(c.map.live[c.map.fullest], c.prediction.peak_bytes);
}

// What a kernel made is fetched again from DDR exactly where it is more than the cache holds.
TEST(Spills, ActivationsBeyondTheCacheAreFetchedAgain) {
  EXPECT_EQ(lowered(chain(256), "ascend310p3").prediction.spills.refetched, 0);
  const Case large = lowered(chain(1 << 18), "ascend310p3");  // 32 MB each; the cache holds 16
  EXPECT_EQ(large.prediction.spills.refetched, 2 * (int64_t{1} << 18) * 64 * 2);
  Spills sum;
  for (const LayerPrediction& l : large.prediction.layers) sum.add(l.spills);
  EXPECT_EQ(sum.refetched, large.prediction.spills.refetched);
}

// Rows that have no room on a core are read as often as passes go over them.
TEST(Spills, RowsThatDoNotFitOnACoreAreReadAgain) {
  const auto softmax = [](int64_t width) {
    return lowered("graph @main (%x: f32[4," + std::to_string(width) +
                       "]) {\n  %a = softmax(%x)\n  return (%a)\n}\n",
                   "ascend310p3");
  };
  EXPECT_EQ(softmax(1024).prediction.spills.reread, 0);
  EXPECT_GE(softmax(1 << 22).prediction.spills.reread, 4 * (int64_t{1} << 22) * 2);
}

TEST(MemoryMap, ThePageHasEveryTensorAndNothingFromElsewhere) {
  const Case c = lowered(chain(256), "mlu370-s4");
  const std::string page = memory_page("m<1>", c.map, c.prediction);
  EXPECT_NE(page.find("m&lt;1&gt;"), std::string::npos);
  EXPECT_EQ(page.find("src="), std::string::npos);
  EXPECT_EQ(page.find("http"), std::string::npos);
  for (const TensorLife& t : c.map.tensors)
    EXPECT_EQ(page.find("<title>" + t.name) != std::string::npos,
              t.role == DeviceTensor::Role::activation)
        << t.name;
}

}  // namespace
}  // namespace tenon
