// Weights that a file holds packed: what the compiler chooses is what kernels ask for, and results
// are those of a dense file, bit by bit, whatever layout a weight is in and whoever reads it.
#include "compiler/stored_layouts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "format/container.h"
#include "verify/file_test_support.h"

namespace tenon {
namespace {

using namespace file_test;

constexpr const char* kProducts =
    R"(graph @f (%x: f32[5,48], %i: f32[1,9,9,12], %u: u8[3,50], %v: u8[1,5,5,8],
                %s: f32[6,2,8]) {
  %w0 = const random(seed=1) : f32[48,40]
  %w1 = const random(seed=2) : f32[24,40]
  %w2 = const random(seed=3) : f32[1,1,12,20]
  %w3 = const random(seed=4) : f32[3,3,20,33]
  %a = matmul(%x, %w0) : f32[5,40]
  %b = matmul(%a, %w1) {transpose_b=true} : f32[5,24]
  %c = conv(%i, %w2) : f32[1,9,9,20]
  %d = conv(%c, %w3) {strides=[2, 2]} : f32[1,4,4,33]
  %l0 = const random(seed=6) : f32[2,8,32]
  %l1 = const random(seed=7) : f32[2,8,32]
  %h, %h1, %c1 = lstm(%s, %l0, %l1) {direction="bidirectional"}
  %w4 = const random(seed=8) : i8[50,24]
  %w5 = const random(seed=9) : i8[3,3,8,20]
  %q = quantized_matmul(%u, %w4)
  %r = quantized_conv(%v, %w5)
  return (%b, %d, %h, %q, %r)
})";

TEST(StoredLayouts, KernelsReadWhatTheCompilerChose) {
  FileModel model = model_of(kProducts);
  const Outcome dense = run(model);
  EXPECT_GT(dense.packed_bytes, 0);
  choose_layouts(model.functions[0].graph, true);
  for (const FileConstant& c : model.functions[0].graph.constants)
    EXPECT_NE(c.layout, "") << c.tensor.type().to_string();
  const Outcome packed = run(model);
  EXPECT_EQ(packed.packed_bytes, 0);
  expect_same(packed.outputs, dense.outputs, "packed");
}

TEST(StoredLayouts, OthersReadThemDense) {
  FileModel model = model_of(kProducts);
  choose_layouts(model.functions[0].graph, true);
  const FileModel read = read_model(blob_of(encode_model(model).value())).value();
  const auto& before = model.functions[0].graph.constants;
  const auto& after = read.functions[0].graph.constants;
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(bitwise_equal(before[i].tensor, after[i].tensor));
    EXPECT_EQ(before[i].layout, after[i].layout);
  }
  EXPECT_EQ(encode_model(read).value(), encode_model(model).value());
}

TEST(StoredLayouts, AnyLayoutGivesTheSameResults) {
  FileModel model = model_of(kProducts);
  const Outcome dense = run(model);
  for (const bool transposed : {false, true})
    for (FileConstant& c : model.functions[0].graph.constants) {
      const int64_t n = c.tensor.elements() / 4;
      const int64_t unit = c.tensor.dtype() == DType::i8 ? 4 : 1;
      c.layout =
          PanelLayout{.batch = 2, .k = 2, .n = n, .transposed = transposed, .unit = unit}.name();
      expect_same(run(model).outputs, dense.outputs, c.layout);
    }
}

// Weights of f32 that are multiples of bytes, of layers of every kind.
TEST(StoredLayouts, MultiplesOfBytesAreStoredAsBytes) {
  FileModel model = model_of(
      R"(graph @f (%x: f32[5,48], %i: f32[1,9,9,12], %s: f32[6,2,8], %j: i64[3]) {
  %w0 = const random(seed=1) : f32[48,40]
  %w1 = const random(seed=2) : f32[24,40]
  %w2 = const random(seed=3) : f32[3,3,12,24]
  %w3 = const random(seed=4) : f32[5,5,1,24]
  %w4 = const random(seed=5) : f32[2,2,7,24]
  %w5 = const random(seed=8) : f32[60,20]
  %a = matmul(%x, %w0) : f32[5,40]
  %b = matmul(%a, %w1) {transpose_b=true} : f32[5,24]
  %c = conv(%i, %w2) : f32[1,7,7,24]
  %d = conv(%c, %w3) {groups=24} : f32[1,3,3,24]
  %e = conv_transpose(%d, %w4) {strides=[2, 2]}
  %l0 = const random(seed=6) : f32[2,8,64]
  %l1 = const random(seed=7) : f32[2,16,64]
  %h, %h1, %c1 = lstm(%s, %l0, %l1) {direction="bidirectional"}
  %g = gather(%w5, %j)
  %t = tanh(%w5)
  return (%b, %e, %h, %g, %t)
})");
  for (FileConstant& c : model.functions[0].graph.constants)
    for (int64_t i = 0; i < c.tensor.elements(); ++i) {
      float& v = c.tensor.mutable_data<float>()[i];
      v = std::nearbyint(std::clamp(v, -1.0f, 1.0f) * 127) * 0.0021f + 0.0f;
    }
  const Outcome dense = run(model);
  const size_t dense_bytes = encode_model(model).value().size();
  choose_layouts(model.functions[0].graph);
  for (const FileConstant& c : model.functions[0].graph.constants)
    EXPECT_TRUE(c.layout.starts_with("scaled/")) << c.tensor.type().to_string();
  EXPECT_LT(encode_model(model).value().size(), dense_bytes / 2);
  expect_same(run(model).outputs, dense.outputs, "scaled");
  // A layout that does not hold the numbers is not used.
  FileConstant& first = model.functions[0].graph.constants[0];
  first.tensor.mutable_data<float>()[5] = 0.1234567f;
  const Outcome other = run(model);
  first.layout.clear();
  expect_same(other.outputs, run(model).outputs, "not scaled");
}

// Each of these reads a constant in a way that has nothing to do with packing.
TEST(StoredLayouts, WhoeverReadsThemFindsThem) {
  const std::string head =
      "graph @f (%x: f32[4,8], %p: bool[]) {\n"
      "  %w = const random(seed=1) : f32[8,16]\n"
      "  %y = matmul(%x, %w) : f32[4,16]\n";
  for (const std::string rest :
       {"%z = tanh(%w) : f32[8,16] return (%y, %z)", "return (%y, %w)",
        "%s = const dense<[16, 8]> : i64[2] %z = reshape(%w, %s) : f32[16,8] return (%y, %z)",
        "%z = matmul(%w, %y) {transpose_b=true} : f32[8,4] return (%y, %z)",
        "%q = matmul(%x, %w) {alpha=0.5} : f32[4,16] return (%y, %q)",
        "%z = if(%p, %x, %w) with {\n"
        "graph @then (%x: f32[4,8], %w: f32[8,16]) { %y = matmul(%x, %w) return (%y) }\n"
        "graph @else (%x: f32[4,8], %w: f32[8,16]) { %y = matmul(%x, %w) {alpha=2.0} return (%y) "
        "}\n"
        "} : f32[4,16] return (%z)"}) {
    FileModel model = model_of(head + rest + "\n}");
    const Outcome dense = run(model);
    for (FileConstant& c : model.functions[0].graph.constants)
      if (c.tensor.dtype() == DType::f32) c.layout = "panels/1x8x16";
    expect_same(run(model).outputs, dense.outputs, rest);
  }
}

TEST(StoredLayouts, AreOfWeightsThatOneKindOfKernelReads) {
  const auto layout_of_weight = [](const std::string& rest) {
    FileModel model = model_of(
        "graph @f (%x: f32[4,128]) {\n"
        "  %w = const random(seed=1) : f32[128,128]\n" +
        rest + "\n}");
    choose_layouts(model.functions[0].graph);
    return model.functions[0].graph.constants.at(0).layout;
  };
  const std::string product = "%y = matmul(%x, %w) : f32[4,128] ";
  EXPECT_EQ(layout_of_weight(product + "return (%y)"), "panels/1x128x128");
  EXPECT_EQ(layout_of_weight(product + "%z = matmul(%y, %w) : f32[4,128] return (%z)"),
            "panels/1x128x128");
  EXPECT_EQ(layout_of_weight(product + "return (%y, %w)"), "");
  EXPECT_EQ(layout_of_weight(product + "%z = matmul(%y, %w) {transpose_b=true} : f32[4,128] "
                                       "return (%z)"),
            "");
  EXPECT_EQ(layout_of_weight("%z = tanh(%w) : f32[128,128] return (%z)"), "");
  // Kernels fill up each row of a window.
  FileModel odd = model_of(R"(graph @f (%x: u8[1,9,9,3]) {
    %w = const random(seed=1) : i8[3,3,3,64]
    %y = quantized_conv(%x, %w) : i32[1,7,7,64]
    return (%y)
  })");
  choose_layouts(odd.functions[0].graph, true);
  EXPECT_EQ(odd.functions[0].graph.constants.at(0).layout, "");
}

TEST(StoredLayouts, DamagedNamesAreRefused) {
  FileModel model = model_of(
      "graph @f (%x: f32[4,80]) { %w = const random(seed=1) : f32[80,80] "
      "%y = matmul(%x, %w) : f32[4,80] return (%y) }");
  choose_layouts(model.functions[0].graph);
  const auto file = encode_model(model).value();
  const auto refusal = [&](std::string_view to) {
    const auto read = read_model(blob_of(patched(file, "panels/1x80x80", to)));
    return read.ok() ? std::string() : read.error().to_string();
  };
  EXPECT_EQ(refusal("panels/1x80x80"), "");
  EXPECT_NE(refusal("blocks/1x80x80").find("'blocks/1x80x80', which this runtime does not know"),
            std::string::npos);
  for (const std::string_view name : {"panels/1x80x81", "panels/2x40x81", "panels/9x99x99"})
    EXPECT_NE(refusal(name).find("is damaged"), std::string::npos) << name;
  // A reader without packed weights finds a section that it must not pass over.
  const FileLayout layout = read_layout(file).value();
  EXPECT_EQ(layout.sections.at(2).kind, container::kPacked);
  EXPECT_TRUE(layout.sections.at(2).required);
}

}  // namespace
}  // namespace tenon
